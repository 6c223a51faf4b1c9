// Package console is the operators' pages: payouts with all that belongs to
// them, balances, alarms and reports. It reads and changes nothing but logins.
//
// Pages are made here and need no script: their policy allows none, so that
// whatever a partner has written into a name or into metadata stays text.
package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/store"
)

// Root is the path of the console, with its slash.
const Root = "/console/"

//go:embed pages assets
var files embed.FS

// Options are what the console shows. Store and Record are required.
type Options struct {
	Store store.Store
	// Record writes down what an operator did. Without it nothing is done.
	Record func(ctx context.Context, p id.Project, actor, what, subject, text string) error
	Now    func() time.Time // the product's clock; nil: time.Now
	Log    *slog.Logger     // nil: none
	// Proxies are believed when they name the caller in X-Forwarded-For.
	Proxies limit.Proxies
	// Sandbox says on each page that no money moves.
	Sandbox bool
}

// Server serves the console under Root. It is safe for concurrent use.
type Server struct {
	store   store.Store
	record  func(ctx context.Context, p id.Project, actor, what, subject, text string) error
	now     func() time.Time
	real    func() time.Time // that logins go by
	log     *slog.Logger
	proxies limit.Proxies
	sandbox bool
	mux     *http.ServeMux
	pages   map[string]*template.Template
	style   []byte
	version string // of the style, in its address
	gate    *gate
}

// routes are all pages, with who may see them.
func (s *Server) routes() []route {
	return []route{
		{"GET " + Root + "{$}", operator.Viewer, s.home},
		{"GET " + Root + "payouts", operator.Viewer, s.payouts},
		{"GET " + Root + "payouts/{project}/{session}", operator.Viewer, s.session},
		{"GET " + Root + "balances", operator.Viewer, s.balances},
		{"GET " + Root + "alarms", operator.Viewer, s.alarms},
		{"GET " + Root + "reports", operator.Accountant, s.reports},
		{"GET " + Root + "reports/{project}/{day}/{format}", operator.Accountant, s.download},
		{"GET " + Root + "audit", operator.Admin, s.audit},
		{"GET " + Root + "operators", operator.Admin, s.operators},
		{"POST " + Root + "logout", operator.Viewer, s.logout},
	}
}

// route is a page and the least role that may see it.
type route struct {
	pattern string
	role    operator.Role
	serve   func(http.ResponseWriter, *http.Request, *visit) error
}

// New makes the server.
func New(o Options) *Server {
	s := &Server{
		store: o.Store, record: o.Record, now: o.Now, real: time.Now, log: o.Log, proxies: o.Proxies, sandbox: o.Sandbox,
		mux: http.NewServeMux(), pages: map[string]*template.Template{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.gate = newGate(func() time.Time { return s.real() })
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		panic(err) // the pattern is right
	}
	for _, name := range names {
		if page := strings.TrimSuffix(path.Base(name), ".html"); page != "frame" {
			s.pages[page] = template.Must(template.ParseFS(files, "pages/frame.html", name))
		}
	}
	if s.style, err = files.ReadFile("assets/console.css"); err != nil {
		panic(err) // the binary was built without it
	}
	sum := sha256.Sum256(s.style)
	s.version = hex.EncodeToString(sum[:8])

	s.mux.HandleFunc("GET "+Root+"assets/{version}/console.css", s.stylesheet)
	s.mux.HandleFunc("GET "+Root+"login", s.loginForm)
	s.mux.HandleFunc("POST "+Root+"login", s.login)
	for _, r := range s.routes() {
		s.mux.Handle(r.pattern, s.guarded(r))
	}
	s.mux.Handle(Root, s.guarded(route{role: operator.Viewer, serve: func(http.ResponseWriter, *http.Request, *visit) error {
		return fault.New(fault.NotFound, "no such page")
	}}))
	s.mux.Handle("/{$}", http.RedirectHandler(Root, http.StatusSeeOther))
	return s
}

// policy lets a page have our style and send its forms here, and nothing else.
const policy = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	if limit.Ambiguous(r) { // no browser sends that
		h.Set("Connection", "close")
	}
	s.mux.ServeHTTP(w, r)
}

// The time-outs of the console's listener. A report may take long; see download.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
)

// HTTPServer is a server for a listener of the console's own.
func HTTPServer(s *Server) *http.Server {
	return &http.Server{
		Handler: s, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

func (s *Server) stylesheet(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("version") != s.version {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(s.style) // whoever has left needs no answer
}

func (s *Server) home(w http.ResponseWriter, r *http.Request, _ *visit) error {
	http.Redirect(w, r, Root+"payouts", http.StatusSeeOther)
	return nil
}

// show writes a page. Of a card number in it, whoever has put it into a name,
// metadata or the words of a rail, the middle is left out.
func (s *Server) show(w http.ResponseWriter, status int, page string, v *visit, data any) error {
	v.Page, v.Data = page, data
	var body bytes.Buffer
	if err := s.pages[page].ExecuteTemplate(&body, "frame.html", v); err != nil {
		return fmt.Errorf("page %s: %w", page, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", v.Lang)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, instrument.MaskText(body.String())) // whoever has left needs no answer
	return nil
}

// refuse shows a page that says what was wrong.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	status := http.StatusInternalServerError
	problem := "internal"
	switch fault.CodeOf(err) {
	case fault.NotFound:
		status, problem = http.StatusNotFound, "missing"
	case fault.WrongState:
		status, problem = http.StatusGone, "archived"
	case fault.Invalid:
		status, problem = http.StatusBadRequest, "invalid"
	case fault.Unauthorized:
		status, problem = http.StatusForbidden, "forbidden"
	case fault.Busy:
		status, problem = http.StatusServiceUnavailable, "busy"
	}
	text := ""
	if e, ok := errors.AsType[*fault.Error](err); ok && (status == http.StatusBadRequest || status == http.StatusGone) {
		text = e.Text
	}
	if status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.log.ErrorContext(r.Context(), "a page of the console could not be shown", "path", r.URL.Path, "error", err)
	}
	if err := s.show(w, status, "problem", v, struct{ Name, Text string }{problem, text}); err != nil {
		s.log.ErrorContext(r.Context(), "a page of the console could not be made", "error", err)
		http.Error(w, "internal failure", http.StatusInternalServerError)
	}
}
