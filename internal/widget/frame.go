package widget

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
)

//go:embed page.html
var pages embed.FS

var page = template.Must(template.ParseFS(pages, "page.html"))

// kinds are the widgets by the name that a partner's page gives, each with the
// script that runs its form.
var kinds = map[string]struct {
	script string
	door   func(Grant) Door
}{
	"card":          {"card.js", func(g Grant) Door { return g.Tokenize }},
	"bank_account":  {"account.js", func(g Grant) Door { return g.Tokenize }},
	"self_employed": {"link.js", func(g Grant) Door { return g.SelfEmployed }},
}

// A notice stands in a frame instead of the form.
type notice struct {
	status int
	code   string // of the error event
	text   string // key of its words: "used" for "used_head" and "used_text"
}

var (
	noticeUnknown   = notice{http.StatusNotFound, "token_unknown", "unknown"}
	noticeExpired   = notice{http.StatusGone, "token_expired", "expired"}
	noticeUsed      = notice{http.StatusGone, "token_used", "used"}
	noticeWrong     = notice{http.StatusForbidden, "token_other_widget", "wrong"}
	noticeAcquiring = notice{http.StatusForbidden, "acquiring_not_offered", "acquiring"}
	noticePage      = notice{http.StatusForbidden, "origin_not_allowed", "page"}
	noticeThrottled = notice{http.StatusTooManyRequests, "throttled", "busy"}
	noticeBusy      = notice{http.StatusServiceUnavailable, "unavailable", "busy"}
)

// view is what the template shows, and the part of it that the script reads.
type view struct {
	Lang, Theme, Kind, Base, Script, Nonce string
	Text                                   words
	Notice                                 string // "" for the form
	Config                                 config
}

type config struct {
	Widget string `json:"widget"` // names the source of the frame's messages
	Kind   string `json:"kind"`
	Token  string `json:"token,omitempty"`
	Origin string `json:"origin"` // of the page around the frame
	Error  string `json:"error,omitempty"`
	Text   words  `json:"text"`
	Stage  string `json:"stage,omitempty"` // of linking, as far as it went
}

// frame serves the page of a widget's frame. What the token is good for decides
// between the form and a notice. The form may stand only in pages of the
// project's origins; a notice may stand in the page that asked, for it has
// nothing to be tricked into.
func (s *Server) frame(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	v := view{Theme: q.Get("theme"), Base: "/assets/" + s.files.version, Nonce: nonce()}
	v.Lang, v.Text = speak(q.Get("locale"), r.Header.Get("Accept-Language"))
	// What is not one of ours goes no further: it would stand in the log.
	if _, ok := kinds[q.Get("widget")]; ok {
		v.Kind = q.Get("widget")
	}
	if v.Theme != "dark" && v.Theme != "auto" {
		v.Theme = "light"
	}
	asked := q.Get("origin")
	if !partner.IsOrigin(asked) {
		asked = "" // it would enter a header
	}
	v.Config = config{Widget: "bank131-tokenize", Kind: v.Kind, Origin: asked, Text: v.Text}
	if v.Kind == "self_employed" {
		v.Config.Widget = "bank131-self-employed"
	}

	ancestors, why := s.admit(r, &v, asked)
	status := http.StatusOK
	if why != nil {
		status = why.status
		v.Notice, v.Script, v.Config.Error, v.Config.Token = why.text, "notice.js", why.code, ""
		ancestors = append(ancestors, asked)
	}
	s.frames.WithLabelValues(v.Kind, v.Config.Error).Inc()
	s.log.InfoContext(r.Context(), "widget frame", "widget", v.Kind, "status", status, "error", v.Config.Error)
	s.show(w, status, &v, ancestors)
}

// admit returns the origins that may show the frame, and the notice that it has
// to show instead of the form, nil for none.
func (s *Server) admit(r *http.Request, v *view, asked string) ([]string, *notice) {
	token := r.URL.Query().Get("token")
	kind, ok := kinds[v.Kind]
	switch {
	case !ok || !wellFormed(token):
		return nil, &noticeUnknown
	case !s.callers.allow(s.caller(r)) || !s.tokens.allow(token):
		return nil, &noticeThrottled
	}
	grant, err := s.desk.Open(r.Context(), token)
	switch {
	case fault.CodeOf(err) == fault.NotFound && err != nil:
		return nil, &noticeUnknown
	case err != nil:
		s.log.ErrorContext(r.Context(), "a public token could not be looked up", "error", err)
		return nil, &noticeBusy
	}
	if s.loopback {
		grant.Origins = append(slices.Clone(grant.Origins), loopbackOrigins...)
	}
	door := kind.door(grant)
	switch {
	case asked == "" || !slices.ContainsFunc(grant.Origins, func(o string) bool { return covers(o, asked) }):
		return grant.Origins, &noticePage
	case door == Shut && grant.Acquiring != Shut:
		return grant.Origins, &noticeAcquiring
	case door == Shut:
		return grant.Origins, &noticeWrong
	case door == Used:
		return grant.Origins, &noticeUsed
	case grant.Expired(s.now()):
		return grant.Origins, &noticeExpired
	}
	v.Script, v.Config.Token = kind.script, token
	if v.Kind == "self_employed" {
		state, err := s.desk.LinkState(r.Context(), token)
		switch {
		case err != nil && fault.CodeOf(err) == fault.TokenUsed:
			return grant.Origins, &noticeUsed
		case err != nil:
			s.log.WarnContext(r.Context(), "the tax service could not be asked", "error", err)
		default:
			v.Config.Stage = string(state)
		}
	}
	return grant.Origins, nil
}

// show writes a page with its policy: only what bears this page's nonce runs,
// and it may call nobody but us.
func (s *Server) show(w http.ResponseWriter, status int, v *view, ancestors []string) {
	var body bytes.Buffer
	if err := page.Execute(&body, v); err != nil {
		s.log.Error("a widget's page could not be made", "error", err)
		http.Error(w, "internal failure", http.StatusInternalServerError)
		return
	}
	allowed := strings.Join(slices.DeleteFunc(ancestors, func(o string) bool { return o == "" }), " ")
	if allowed == "" {
		allowed = "'none'"
	}
	h := w.Header()
	h.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'",
		"script-src 'nonce-" + v.Nonce + "'",
		"style-src 'nonce-" + v.Nonce + "'",
		"connect-src 'self'",
		"img-src data:", // the empty icon, lest a browser ask for one
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors " + allowed,
		"require-trusted-types-for 'script'",
		"trusted-types 'none'",
	}, "; "))
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Lang)
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // whoever has left needs no answer
}

// acquiring says to whoever comes with a token for incoming payments that there
// are none, in a page of its own.
func (s *Server) acquiring(w http.ResponseWriter, r *http.Request) {
	v := view{Kind: "acquiring", Theme: "auto", Base: "/assets/" + s.files.version, Script: "notice.js", Nonce: nonce(), Notice: noticeAcquiring.text}
	v.Lang, v.Text = speak(r.URL.Query().Get("locale"), r.Header.Get("Accept-Language"))
	v.Config = config{Widget: "bank131-acquiring", Kind: v.Kind, Error: noticeAcquiring.code, Text: v.Text}
	s.show(w, noticeAcquiring.status, &v, nil)
}

// loopbackOrigins are the pages of this machine, at any port. A policy can name
// no IPv6 address.
var loopbackOrigins = []string{"http://localhost:*", "http://127.0.0.1:*"}

// covers reports whether an allowed origin is the one that asks. Only a port
// may be left open, by "*".
func covers(allowed, asked string) bool {
	stem, open := strings.CutSuffix(allowed, ":*")
	if !open {
		return allowed == asked
	}
	u, err := url.Parse(asked)
	return err == nil && u.Scheme+"://"+strings.TrimSuffix(u.Host, ":"+u.Port()) == stem
}
