// Package shop is a partner in small: a site where people get their money, and
// the server behind it. The page shows beside the form what the two say to each
// other and to payoutd, so that an integrator sees the API at work. It belongs
// to a sandbox and knows payoutd from outside only: signed requests one way,
// webhooks the other.
package shop

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"encoding/json"
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

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/sign"
)

//go:embed page.html assets
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// Options are what the partner works with.
type Options struct {
	API     string // where payoutd is, without a slash at the end
	Widget  string // the origin of the widgets
	Digests map[string]string
	Project string
	Key     sign.PrivateKey
	// Decide is the person's answer in the tax service's app.
	Decide func(ctx context.Context, inn string, allow bool) error
	Now    func() time.Time // time.Now by default
	Log    *slog.Logger
}

// Server serves /demo/. It is safe for concurrent use.
type Server struct {
	o      Options
	http   *http.Client
	events *events
	mux    *http.ServeMux
}

// callTimeout bounds one call of the API.
const callTimeout = 15 * time.Second

// Bounds of bodies: what our own page sends, and what payoutd answers.
const (
	stepBytesMax   = 4 << 10
	answerBytesMax = 1 << 20
)

// New makes the server.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, http: &http.Client{Timeout: callTimeout}, events: newEvents(), mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /{$}", home)
	s.mux.HandleFunc("GET /demo/{$}", s.page)
	s.mux.HandleFunc("GET /demo/assets/{name}", s.asset)
	s.mux.Handle("GET /demo/events", s.events)
	for name, step := range map[string]func(context.Context, request) (any, error){
		"token": s.token, "destination": s.destination, "payout": s.payout, "confirm": s.confirm, "cancel": s.cancel, "tax": s.tax,
	} {
		s.mux.HandleFunc("POST /demo/"+name, s.step(step))
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	s.mux.ServeHTTP(w, r)
}

// Close ends the streams of events, which would keep a server from ending.
func (s *Server) Close() { s.events.close() }

// Webhook shows a delivery that came to the partner's inbox.
func (s *Server) Webhook(kind string, verified bool, body json.RawMessage) {
	s.events.publish(event{Kind: "webhook", Name: kind, Request: body, Verified: verified})
}

// home says at the root of the sandbox what there is.
func home(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!doctype html>
<html lang="en">
<meta name="color-scheme" content="light dark">
<title>payoutd sandbox</title>
<h1>payoutd sandbox</h1>
<ul>
<li><a href="/demo/">Demo</a>: a payout from the recipient's side, with the calls and webhooks behind it
<li><a href="/console/">Console</a>: what operators see
<li><a href="/sandbox/values">Values</a> that are paid, declined, lost or late
<li><a href="/sandbox/inbox">Webhooks</a> that came
</ul>
<p>The API is below <code>/api/</code>: README.md has a signed request, docs/wire.md all operations.
`)
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	var b [18]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	nonce := base64.StdEncoding.EncodeToString(b[:])
	var body bytes.Buffer
	err := page.Execute(&body, map[string]any{"Nonce": nonce, "Widget": s.o.Widget, "Digests": s.o.Digests, "Project": s.o.Project})
	if err != nil {
		s.o.Log.Error("the demo page could not be made", "error", err)
		http.Error(w, "internal failure", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'",
		"script-src 'nonce-" + nonce + "'",
		"style-src 'nonce-" + nonce + "'",
		"connect-src 'self'",
		"img-src data:",
		"frame-src " + s.o.Widget,
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; "))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = body.WriteTo(w) // whoever has left needs no answer
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	body, err := fs.ReadFile(files, "assets/"+r.PathValue("name"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	kind := "text/javascript; charset=utf-8"
	if path.Ext(r.PathValue("name")) == ".css" {
		kind = "text/css; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body) // #nosec G705 -- a file of ours; whoever has left needs no answer
}

// request is what our page sends to our server; each step looks at its own
// members.
type request struct {
	Widget  string `json:"widget"` // "tokenize" or "self_employed"
	INN     string `json:"inn"`
	Hash    string `json:"hash"`  // of a card
	Token   string `json:"token"` // of an account
	Amount  int64  `json:"amount"`
	Session string `json:"session_id"`
	Allow   bool   `json:"allow"`
}

// step is the handler of one step of the scenario.
func (s *Server) step(do func(context.Context, request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := func() (any, error) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, stepBytesMax))
			if err != nil {
				return nil, fault.Wrap(fault.Invalid, err, "the body could not be read")
			}
			var in request
			if err := json.Unmarshal(body, &in); err != nil {
				return nil, fault.New(fault.Invalid, "the body is no step of the demo")
			}
			return do(r.Context(), in)
		}()
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			row := fault.Lookup(fault.CodeOf(err))
			text := row.Text
			if e, ok := errors.AsType[*fault.Error](err); ok {
				text = e.Text
			}
			w.WriteHeader(max(row.HTTP, http.StatusBadRequest))
			answer = map[string]any{"status": "error", "error": map[string]any{"code": fault.CodeOf(err), "description": text}}
		}
		_ = json.NewEncoder(w).Encode(answer) // whoever has left needs no answer
	}
}

func (s *Server) token(ctx context.Context, in request) (any, error) {
	if in.Widget == "self_employed" {
		return s.call(ctx, "/api/v1/token", map[string]any{"self_employed_widget": map[string]any{"tax_reference": in.INN}})
	}
	return s.call(ctx, "/api/v1/token", map[string]any{"tokenize_widget": map[string]any{"access": true}})
}

// destination asks what may be shown of a hash or token.
func (s *Server) destination(ctx context.Context, in request) (any, error) {
	if in.Token != "" {
		return s.call(ctx, "/api/v1/token/info", map[string]any{"type": "bank_account_ru", "bank_account_ru": map[string]any{"token": in.Token}})
	}
	return s.call(ctx, "/api/v1/token/info", map[string]any{"type": "card", "card": card(in.Hash)})
}

func card(hash string) any {
	return map[string]any{"type": "encrypted_card", "encrypted_card": map[string]any{"number_hash": hash}}
}

// recipient is whom the demo pays.
const recipient = "Anna Petrova"

// payout asks for a payout; the rest comes by webhooks.
func (s *Server) payout(ctx context.Context, in request) (any, error) {
	details := map[string]any{"type": "card", "card": card(in.Hash)}
	if in.Token != "" {
		details = map[string]any{"type": "bank_account", "bank_account": map[string]any{"system_type": "ru", "ru": map[string]any{
			"token": in.Token, "full_name": recipient, "description": "Earnings of March, VAT exempt",
		}}}
	}
	return s.call(ctx, "/api/v2/session/init/payout", map[string]any{
		"payout_details":      details,
		"amount_details":      map[string]any{"amount": in.Amount, "currency": "rub"},
		"participant_details": map[string]any{"recipient": map[string]any{"full_name": recipient}},
	})
}

func (s *Server) confirm(ctx context.Context, in request) (any, error) {
	return s.call(ctx, "/api/v2/session/confirm", map[string]any{"session_id": in.Session})
}

func (s *Server) cancel(ctx context.Context, in request) (any, error) {
	return s.call(ctx, "/api/v2/session/cancel", map[string]any{"session_id": in.Session})
}

// tax is what the person does in the tax service's app.
func (s *Server) tax(ctx context.Context, in request) (any, error) {
	if err := s.o.Decide(ctx, in.INN, in.Allow); err != nil {
		return nil, err
	}
	return map[string]string{"status": "ok"}, nil
}

// call signs and sends one request as every partner does, and shows it with its
// answer. A refusal of payoutd is an answer; an error is that none came.
func (s *Server) call(ctx context.Context, to string, body any) (json.RawMessage, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", to, err)
	}
	signature, err := s.o.Key.Sign(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", to, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.API+to, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", to, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(sign.HeaderProject, s.o.Project)
	r.Header.Set(sign.HeaderSign, signature)
	start := s.o.Now()
	response, err := s.http.Do(r)
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "payoutd did not answer")
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "payoutd did not answer to the end")
	}
	if !json.Valid(answer) {
		return nil, fault.New(fault.Internal, "payoutd answered something that is not JSON")
	}
	s.events.publish(event{
		Kind: "call", Name: "POST " + to, Status: response.StatusCode, Millis: s.o.Now().Sub(start).Milliseconds(),
		Request: raw, Response: answer,
	})
	return answer, nil
}
