package console

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/operator"
)

const (
	cookieLogin = "payoutd_console"
	cookieLang  = "payoutd_lang"
	// keepGap is how much of its time a login loses before that is written down.
	keepGap = time.Minute
	// formBytesMax bounds a form: a name, a password, a path.
	formBytesMax = 4 << 10
)

// actor is an operator's name in the audit, which has users of the machine too.
func actor(o *operator.Operator) string { return "console/" + o.Name }

// secure reports whether the browser came by TLS, to us or to a proxy. A proxy
// is believed: the worst that a false claim does is that no cookie comes back.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

func cookie(r *http.Request, name, value string, age time.Duration) *http.Cookie {
	return &http.Cookie{ // #nosec G124 -- secure wherever the browser came by TLS
		Name: name, Value: value, Path: Root, MaxAge: int(age.Seconds()), HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteStrictMode,
	}
}

// guarded lets those see a page who may. Who has not logged in comes to the form
// and from there to the page.
func (s *Server) guarded(to route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.visit(w, r)
		if v == nil {
			return
		}
		err := s.identify(r, v)
		switch {
		case fault.CodeOf(err) == fault.NotFound && err != nil:
			if r.Method != http.MethodGet {
				http.Redirect(w, r, Root+"login", http.StatusSeeOther)
				return
			}
			http.Redirect(w, r, Root+"login?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
			return
		case err != nil:
		case !v.Me.Role.Covers(to.role):
			err = fault.New(fault.Unauthorized, "the role %s does not show this page", v.Me.Role)
		case r.Method == http.MethodPost:
			r.Body = http.MaxBytesReader(w, r.Body, formBytesMax)
			if subtle.ConstantTimeCompare([]byte(r.PostFormValue("form")), []byte(v.Form)) != 1 {
				err = fault.New(fault.Unauthorized, "the form is not of this login")
			}
		}
		if err == nil {
			err = to.serve(w, r, v)
		}
		if err != nil {
			s.refuse(w, r, v, err)
		}
	})
}

// identify finds the operator; fault.NotFound if nobody has logged in.
func (s *Server) identify(r *http.Request, v *visit) error {
	c, err := r.Cookie(cookieLogin)
	if err != nil {
		return fault.New(fault.NotFound, "no login")
	}
	login, of, err := s.store.Login(r.Context(), operator.TokenHash(c.Value))
	if err != nil {
		return err
	}
	now := s.real()
	if !now.Before(login.EndsAt) {
		return fault.New(fault.NotFound, "the login has ended")
	}
	if until := login.Until(now); until.Sub(login.EndsAt).Abs() >= keepGap {
		if err := s.store.KeepLogin(r.Context(), login.Hash, until); err != nil { // it ends the sooner
			s.log.WarnContext(r.Context(), "a console login could not be prolonged", "operator", of.Name, "error", err)
		}
	}
	v.Me, v.Form = &of, operator.FormToken(c.Value)
	return nil
}

// loginView is what the form shows.
type loginView struct {
	Name, Next, Problem string
}

func (s *Server) loginForm(w http.ResponseWriter, r *http.Request) {
	if v := s.visit(w, r); v != nil {
		s.showLogin(w, r, v, http.StatusOK, loginView{Next: r.URL.Query().Get("next")})
	}
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, v *visit, status int, form loginView) {
	if err := s.show(w, status, "login", v, form); err != nil {
		s.refuse(w, r, v, err)
	}
}

// login takes a name and a password. What is wrong with them it does not tell.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r)
	if v == nil {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, formBytesMax)
	in := loginView{Name: r.PostFormValue("name"), Next: r.PostFormValue("next")}
	again := func(status int, problem string) {
		in.Problem = problem
		s.showLogin(w, r, v, status, in)
	}
	if http.NewCrossOriginProtection().Check(r) != nil {
		again(http.StatusForbidden, "login_foreign")
		return
	}
	from := s.proxies.Caller(r)
	address := from.String()
	if !s.gate.allow(limit.Key(from), in.Name) {
		s.log.WarnContext(r.Context(), "console login throttled", "address", address)
		again(http.StatusTooManyRequests, "login_throttled")
		return
	}
	o, err := s.store.Operator(r.Context(), in.Name)
	found := &o
	if err != nil {
		if found = nil; fault.CodeOf(err) != fault.NotFound {
			s.refuse(w, r, v, err)
			return
		}
	}
	if !s.gate.check(r.Context(), found, r.PostFormValue("password")) {
		s.log.WarnContext(r.Context(), "console login refused", "address", address)
		again(http.StatusUnauthorized, "login_wrong")
		return
	}
	s.gate.right(in.Name)
	now := s.real()
	login, token := operator.NewLogin(o.Name, now)
	err = s.record(r.Context(), "", actor(&o), "console_login", "", "from "+address)
	if err == nil {
		err = s.store.AddLogin(r.Context(), login, now)
	}
	if err != nil {
		s.refuse(w, r, v, err)
		return
	}
	http.SetCookie(w, cookie(r, cookieLogin, token, operator.LoginLife))
	http.Redirect(w, r, inside(in.Next), http.StatusSeeOther)
}

// inside is where to go after the login: a page of ours, whatever was asked for.
func inside(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, Root) || strings.Contains(next, "\\") {
		return Root
	}
	return u.RequestURI()
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request, v *visit) error {
	c, err := r.Cookie(cookieLogin)
	if err == nil {
		err = s.store.EndLogin(r.Context(), operator.TokenHash(c.Value))
	}
	if err == nil {
		err = s.record(r.Context(), "", actor(v.Me), "console_logout", "", "")
	}
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie(r, cookieLogin, "", -time.Second))
	http.Redirect(w, r, Root+"login", http.StatusSeeOther)
	return nil
}

// How often passwords may be tried: so many at once under a name and from an
// address, and then one in each time.
const (
	nameBurst    = 5
	nameEvery    = 15 * time.Second
	addressBurst = 20
	addressEvery = 3 * time.Second
	// triersMax bounds how many are remembered; above it those are forgotten who
	// could come as often as a stranger.
	triersMax = 10_000
	// checksMax bounds how many passwords are hashed at a time, 19 MiB each.
	checksMax = 2
)

// gate slows down who tries passwords. It is safe for concurrent use.
type gate struct {
	now    func() time.Time
	checks chan struct{}

	mu     sync.Mutex
	triers map[string]*rate.Limiter
}

func newGate(now func() time.Time) *gate {
	return &gate{now: now, checks: make(chan struct{}, checksMax), triers: map[string]*rate.Limiter{}}
}

// allow counts a try and reports whether it may be made.
func (g *gate) allow(address, name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := g.one("a "+address, addressBurst, addressEvery)
	return from && g.one("n "+strings.ToLower(name), nameBurst, nameEvery)
}

// right says that a try was: it is not held against the name. The address could
// be somebody's who has a password of his own, and tries others'.
func (g *gate) right(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.triers, "n "+strings.ToLower(name))
}

func (g *gate) one(key string, burst int, every time.Duration) bool {
	now := g.now()
	l, ok := g.triers[key]
	if !ok {
		if len(g.triers) >= triersMax {
			for k, one := range g.triers {
				if one.TokensAt(now) >= float64(one.Burst()) {
					delete(g.triers, k)
				}
			}
			if len(g.triers) >= triersMax {
				return false // a flood
			}
		}
		l = rate.NewLimiter(rate.Every(every), burst)
		g.triers[key] = l
	}
	return l.AllowN(now, 1)
}

// check is operator.Check, a few at a time; false if ctx ends before its turn.
func (g *gate) check(ctx context.Context, o *operator.Operator, password string) bool {
	select {
	case g.checks <- struct{}{}:
		defer func() { <-g.checks }()
		return operator.Check(o, password)
	case <-ctx.Done():
		return false
	}
}
