package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/payoutd/payoutd/internal/api"
	"github.com/payoutd/payoutd/internal/console"
	"github.com/payoutd/payoutd/internal/limit"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/report"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/shop"
	"github.com/payoutd/payoutd/internal/widget"
	"github.com/payoutd/payoutd/sign"
)

// roles are what a node can do. On SQLite the one node does all of it.
var roles = []string{roleAPI, roleWork, roleWebhook, roleConsole}

const (
	roleAPI     = "api"
	roleWork    = string(payout.RoleWork)
	roleWebhook = string(payout.RoleWebhook)
	roleConsole = "console"
)

const (
	// drainDelayShared is how long a node that shares its database goes on
	// serving after a signal, for a load balancer that looks at /readyz every
	// second or two. One that is alone has nobody to leave its requests to.
	drainDelayShared = 5 * time.Second
	// drainTimeoutDefault is how long requests under way may take after that.
	drainTimeoutDefault = 10 * time.Second
)

// readyTimeout bounds how long the store may take to answer /readyz.
const readyTimeout = time.Second

// serveFlags are the flags of serve, which config shows as well.
type serveFlags struct {
	Listen        string        `default:"127.0.0.1:8131" placeholder:"ADDR" help:"Address of the API; port 0 takes a free one."`
	Roles         []string      `default:"api,work,webhook,console" help:"What this node does; on SQLite all of it."`
	SandboxRails  bool          `help:"Connect the simulated rails and /sandbox/*."`
	RailsNoSync   bool          `hidden:"" help:"The simulated rails do not wait for the disk: for measurements."`
	QueueMax      int           `hidden:"" placeholder:"N" help:"How many requests may wait for the database at a time: for drills."`
	RailsSlow     time.Duration `hidden:"" placeholder:"TIME" help:"How long the simulated rails take where they are slow: for drills."`
	WidgetListen  string        `placeholder:"ADDR" help:"Address of the widgets, which is to be an origin of its own; without it there are none."`
	ConsoleListen string        `placeholder:"ADDR" help:"Address of the operators' console; without it there is none."`
	WidgetProxy   []string      `placeholder:"CIDR" help:"Networks of proxies before the widgets, believed when they name a caller in X-Forwarded-For."`
	ConsoleProxy  []string      `placeholder:"CIDR" help:"Networks of proxies before the console, believed likewise."`
	limitFlags
	TLSCert    string         `name:"tls-cert" placeholder:"FILE" help:"Certificate chain in PEM; with --tls-key."`
	TLSKey     string         `name:"tls-key" placeholder:"FILE" help:"Private key of the certificate in PEM."`
	DrainDelay *time.Duration `placeholder:"TIME" help:"How long to go on serving after a signal, with /readyz at 503 (default: 5s on PostgreSQL, 0s on SQLite)."`
	rateFlags
	reportFlags
	DrainTimeout time.Duration `default:"10s" help:"How long requests under way may take after that."`
}

// limitFlags bound how often requests may come.
type limitFlags struct {
	APIProxy    []string `name:"api-proxy" placeholder:"CIDR" help:"Networks of proxies before the API, believed when they name a caller in X-Forwarded-For."`
	ProjectRate int      `default:"0" placeholder:"N" help:"Requests a second that each project may send, if it has no --rate-limit of its own; 0 for any number."`
	RefusalRate int      `default:"10" placeholder:"N" help:"Requests a second that an address may have refused for a wrong project or signature before it is not listened to; 0 for any number."`
}

// limits are the flags for package api.
func (f *limitFlags) limits() (api.Limits, error) {
	proxies, err := networks("--api-proxy", f.APIProxy)
	if err != nil {
		return api.Limits{}, err
	}
	for _, n := range []struct {
		flag string
		is   int
	}{{"--project-rate", f.ProjectRate}, {"--refusal-rate", f.RefusalRate}} {
		if n.is < 0 || n.is > partner.RateLimitMax {
			return api.Limits{}, misused("%s: want 0 to %d", n.flag, partner.RateLimitMax)
		}
	}
	return api.Limits{Project: f.ProjectRate, Refusals: f.RefusalRate, Proxies: proxies}, nil
}

// rateFlags say where rates come from that no agreement fixes.
type rateFlags struct {
	Rates       string        `placeholder:"FILE|URL" help:"Rates of foreign currencies: the Bank of Russia's XML or JSON; in a URL, {date} is today's date in Moscow as dd/mm/yyyy."`
	RatesMaxAge time.Duration `default:"96h" placeholder:"TIME" help:"How old rates may be."`
}

type serveCommand struct{ serveFlags }

// Run serves until a signal comes.
func (c *serveCommand) Run(ctx context.Context, p *program, g *global) error {
	f, err := g.folder()
	if err != nil {
		return err
	}
	if err := c.check(f.db); err != nil {
		return err
	}
	s, err := newServer(ctx, f, g.logger(p.stderr, slog.LevelDebug), c.serveFlags)
	if err != nil {
		return err
	}
	if !c.SandboxRails {
		p.warn("no rail is connected: every payout will be refused; --sandbox-rails connects the simulated ones")
	}
	return s.run(ctx, func() {
		p.printf("payoutd is ready on %s (data in %s)\n", s.url, shown(f.dir))
		if s.widgetURL != "" {
			p.printf("the widgets are on %s\n", s.widgetURL)
		}
		if s.consoles != nil {
			p.printf("the console is on %s%s\n", address(s.consoles, c.TLSCert != ""), console.Root)
		}
	})
}

func (c *serveFlags) check(db database) error {
	if len(c.Roles) == 0 {
		return misused("--roles: a node without any does nothing; take some of %s", strings.Join(roles, ", "))
	}
	for _, r := range c.Roles {
		if !slices.Contains(roles, r) {
			return misused("--roles: %q is none of %s", r, strings.Join(roles, ", "))
		}
	}
	for _, r := range roles {
		if !c.does(r) && !db.shared() {
			return misused("--roles: on SQLite the one node does everything; leave --roles out")
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return misused("--tls-cert and --tls-key go together")
	}
	if c.drainDelay(db) < 0 {
		return misused("--drain-delay: want a time such as 5s, or 0s for none")
	}
	if c.RatesMaxAge <= 0 {
		return misused("--rates-max-age: want a time above zero, such as 96h")
	}
	if _, err := networks("--widget-proxy", c.WidgetProxy); err != nil {
		return err
	}
	if _, err := networks("--console-proxy", c.ConsoleProxy); err != nil {
		return err
	}
	if _, err := c.limits(); err != nil {
		return err
	}
	if _, err := c.formats(); err != nil {
		return err
	}
	if c.QueueMax < 0 {
		return misused("--queue-max: want a number above zero")
	}
	if c.DrainTimeout <= 0 {
		return misused("--drain-timeout: want a time above zero, such as 10s")
	}
	return nil
}

// does reports whether the node has a role.
func (c *serveFlags) does(role string) bool { return slices.Contains(c.Roles, role) }

// drainDelay is the delay asked for, or that of the database.
func (c *serveFlags) drainDelay(db database) time.Duration {
	switch {
	case c.DrainDelay != nil:
		return *c.DrainDelay
	case db.shared():
		return drainDelayShared
	}
	return 0
}

// networks reads the networks of proxies that a flag gave.
func networks(flag string, texts []string) (limit.Proxies, error) {
	var all limit.Proxies
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, misused("%s: %q is no network such as 10.0.0.0/8", flag, text)
		}
		all = append(all, p)
	}
	return all, nil
}

// server is one running node: the installation, its listeners and the parts
// that work in the background.
type server struct {
	*installation
	flags  serveFlags
	url    string // where partners find it, without a slash at the end
	api    net.Listener
	limits api.Limits
	shown  *certificate   // nil without TLS
	desks  net.Listener   // of the operator's commands
	inbox  *sandbox.Inbox // nil without simulated rails

	widgets   net.Listener   // nil without widgets
	widgetURL string         // their origin, as url
	forms     *widget.Server // nil without widgets
	shop      *shop.Server   // the demo page; nil outside of payoutd sandbox

	reports *report.Schedule // nil where no reports are written

	consoles net.Listener    // nil without a console, or where it stands beside the API
	console  *console.Server // nil without one

	ready  atomic.Bool
	failed chan error // of a part that ended before it was told to
}

// newServer opens the listeners first, so that a port in use is found before
// anything is made.
func newServer(ctx context.Context, f folder, log *slog.Logger, flags serveFlags) (_ *server, err error) {
	s := &server{flags: flags, failed: make(chan error, 4)}
	var opened []io.Closer
	defer func() {
		if err == nil {
			return
		}
		for _, c := range slices.Backward(opened) {
			_ = c.Close()
		}
	}()
	if s.limits, err = flags.limits(); err != nil {
		return nil, err
	}
	if flags.TLSCert != "" {
		if s.shown, err = loadCertificate(flags.TLSCert, flags.TLSKey); err != nil {
			return nil, err
		}
	}
	if s.api, err = listen("--listen", flags.Listen, s.shown); err != nil {
		return nil, err
	}
	opened = append(opened, s.api)
	s.url = address(s.api, flags.TLSCert != "")
	if flags.WidgetListen != "" {
		if s.widgets, err = listen("--widget-listen", flags.WidgetListen, s.shown); err != nil {
			return nil, err
		}
		opened = append(opened, s.widgets)
		s.widgetURL = address(s.widgets, flags.TLSCert != "")
	}
	if flags.ConsoleListen != "" && flags.does(roleConsole) {
		if s.consoles, err = listen("--console-listen", flags.ConsoleListen, s.shown); err != nil {
			return nil, err
		}
		opened = append(opened, s.consoles)
	}
	if s.installation, err = openPatiently(ctx, f, log, purpose{may: mayMake, simulated: flags.SandboxRails, origin: s.url, railsNoSync: flags.RailsNoSync, railsSlow: flags.RailsSlow, queueMax: flags.QueueMax, roles: flags.Roles, rates: flags.rateFlags, serves: true}); err != nil {
		return nil, err
	}
	opened = append(opened, closer(s.close))
	if s.desks, err = f.listen(); err != nil {
		return nil, err
	}
	if s.world != nil {
		var keys []sign.PublicKey
		for _, k := range s.keys {
			keys = append(keys, k.Public())
		}
		s.inbox = sandbox.NewInbox(s.clock.Now, keys...)
	}
	if s.consoles != nil {
		if s.console, err = s.newConsole(); err != nil {
			return nil, err
		}
	}
	if flags.ReportDir != "" {
		formats, err := flags.formats()
		if err != nil {
			return nil, err
		}
		if s.reports, err = report.NewSchedule(report.Schedule{
			Source: s.store, Dir: flags.ReportDir, At: time.Duration(flags.ReportAt), Formats: formats, Now: s.clock.Now, Log: s.log,
		}); err != nil {
			return nil, fmt.Errorf("--report-dir: %w", err)
		}
		s.clock.OnAdvance(s.reports.Wake)
	}
	if s.widgets != nil {
		if s.forms, err = s.newForms(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// abandon lets go of a server that never ran.
func (s *server) abandon() error {
	err := errors.Join(s.desks.Close(), s.close(), s.api.Close())
	for _, l := range []net.Listener{s.widgets, s.consoles} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

type closer func() error

func (c closer) Close() error { return c() }

// listen opens the listener of the address that a flag gave; without a
// certificate it is plain.
func listen(flag, address string, shown *certificate) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use: take another address with %s, such as %s 127.0.0.1:0 for a free port", address, flag, flag)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", flag, address, err)
	case shown == nil:
		return l, nil
	}
	return shown.wrap(l), nil
}

// address is the URL of a listener; one on all interfaces is named by loopback.
func address(l net.Listener, secure bool) string {
	host, port, _ := net.SplitHostPort(l.Addr().String()) // the listener's own form
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// run works until ctx ends or a part fails, and then ends in order: it is not
// ready, goes on serving for the drain delay, takes nothing in, lets requests
// under way end, stops the workers, and lets go of the store last.
func (s *server) run(ctx context.Context, ready func()) error {
	partners := api.HTTPServer("", strict(s.polite(s.front())))
	partners.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)
	// Proving large books takes its time, so only the headers are bounded.
	operators := &http.Server{Handler: s.backOffice(), ReadHeaderTimeout: 5 * time.Second}
	servers := []*http.Server{partners, operators}
	if s.shop != nil {
		partners.RegisterOnShutdown(s.shop.Close)
	}

	background := context.WithoutCancel(ctx)
	work, stopWork := context.WithCancel(background)
	defer stopWork()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		var reports sync.WaitGroup
		defer reports.Wait()
		if s.reports != nil {
			reports.Go(func() { s.part("the reports", s.reports.Run(work)) })
		}
		s.ready.Store(true)
		s.part("the engine", s.engine.Run(work))
	}()
	if s.shown != nil {
		s.metrics.MustRegister(s.shown.metric())
		looks := time.NewTicker(certificateLook)
		defer looks.Stop()
		go s.shown.watch(work, looks.C, s.log)
	}
	go s.watchClock(work)
	go func() { s.part("the API", partners.Serve(s.api)) }()
	go func() { s.part("the admin socket", operators.Serve(s.desks)) }()
	if s.widgets != nil {
		people := widget.HTTPServer(s.forms)
		people.Handler = strict(people.Handler)
		servers = append(servers, people)
		go func() { s.part("the widgets", people.Serve(s.widgets)) }()
	}
	if s.consoles != nil {
		desks := console.HTTPServer(s.console)
		desks.Handler = strict(desks.Handler)
		servers = append(servers, desks)
		go func() { s.part("the console", desks.Serve(s.consoles)) }()
	}
	s.log.InfoContext(ctx, "started", "url", s.url, "data", s.dir, "database", s.db.name, "roles", s.flags.Roles, "simulated_rails", s.world != nil)
	ready()

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-s.failed:
	}
	s.ready.Store(false)
	if delay := s.flags.drainDelay(s.db); failure == nil && delay > 0 {
		s.log.InfoContext(background, "draining", "delay", delay)
		select {
		case <-time.After(delay):
		case failure = <-s.failed:
		}
	}
	s.log.InfoContext(background, "stopping")
	drain, cancel := context.WithTimeout(background, s.flags.DrainTimeout)
	defer cancel()
	for _, h := range servers {
		if err := h.Shutdown(drain); err != nil {
			s.log.WarnContext(background, "requests were cut off", "error", err)
			_ = h.Close()
		}
	}
	stopWork()
	<-worked
	if err := s.close(); failure == nil {
		failure = err
	}
	s.log.InfoContext(background, "stopped")
	return failure
}

// Bounds of how far the machine's time may be from the time that the node goes by
// before the log says so, and how often to look.
const (
	clockOffMax = time.Second
	clockGap    = 10 * time.Second
)

// watchClock tells the log when the machine's clock was stepped: the node
// follows slowly, and takes the time over when it is started again.
func (s *server) watchClock(ctx context.Context) {
	tick := time.NewTicker(clockGap)
	defer tick.Stop()
	for stepped := false; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		off := s.real.Behind().Abs() > clockOffMax
		switch {
		case off && !stepped:
			s.log.WarnContext(ctx, "the machine's clock was stepped; the node follows it slowly, and at once if it is started again", "by", s.real.Behind())
		case !off && stepped:
			s.log.InfoContext(ctx, "the node goes by the machine's clock again")
		}
		stepped = off
	}
}

// front is what the node's address serves: the API if that is one of its roles,
// and its pages.
func (s *server) front() http.Handler {
	if s.flags.does(roleAPI) {
		return api.New(s.engine, api.Options{Log: s.log, Metrics: s.metrics, Limits: s.limits}).Beside(s.pages())
	}
	mux := http.NewServeMux()
	mux.Handle("/", s.pages())
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusNotFound, "this node does not serve the API: its --roles leave api out")
	})
	return mux
}

// polite asks clients to leave their connections once the node is no longer
// ready, so that none sends a request into one that is just being closed.
func (s *server) polite(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ready.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// backOffice is what the admin socket serves: the operator's commands, and
// profiles of the program under /debug/pprof/, which no partner may ask for.
func (s *server) backOffice() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.desk())
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// part takes the end of a part; none may end by itself.
func (s *server) part(name string, err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.failed <- fmt.Errorf("%s: %w", name, err)
	}
}

// pages are all paths that are not the API's.
func (s *server) pages() http.Handler {
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if why := s.unready(r.Context()); why != "" {
			say(w, http.StatusServiceUnavailable, why)
			return
		}
		say(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	if s.inbox != nil {
		mux.Handle("/sandbox/", sandbox.Handler(sandbox.Site{Clock: s.clock, Inbox: s.inbox, World: s.world, Widget: s.widgetURL}))
	}
	if s.console != nil && s.consoles == nil {
		mux.Handle(console.Root, sandbox.OnlyLoopback(s.console))
	}
	if s.shop != nil {
		mux.Handle("/{$}", sandbox.OnlyLoopback(s.shop))
		mux.Handle("/demo/", sandbox.OnlyLoopback(s.shop))
	}
	return mux
}

// unready says why the node should get no requests now; "" if it should.
func (s *server) unready(ctx context.Context) string {
	if !s.ready.Load() {
		return "starting or stopping"
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if _, err := s.store.ProjectsRevision(ctx); err != nil {
		return "the store does not answer"
	}
	return ""
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // whoever has left needs no answer
}
