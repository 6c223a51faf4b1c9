package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// The demo project and what it begins with.
const (
	demoProject    = "demo"
	openingRef     = "sandbox-opening"
	openingKopecks = 1_000_000_00
)

// settingPlayed is the store's setting that says that the main scenario was
// shown.
const settingPlayed = "sandbox_played"

type sandboxCommand struct {
	Listen string `default:"127.0.0.1:8131" placeholder:"ADDR" help:"Address of the API; port 0 takes a free one."`

	WidgetListen string `default:"127.0.0.1:0" placeholder:"ADDR" help:"Address of the widgets; port 0 takes a free one."`
	reportFlags
}

// Run serves with the simulated world, and shows the main scenario once.
func (c *sandboxCommand) Run(ctx context.Context, p *program, g *global) error {
	f, err := g.folder()
	if err != nil {
		return err
	}
	if err := f.claim(ctx, g.logger(p.stderr, slog.LevelWarn)); err != nil {
		return err
	}
	if _, err := c.formats(); err != nil {
		return err
	}
	// The log goes to a file, so that the scenario can be read on the screen.
	file, err := os.OpenFile(f.path("payoutd.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	flags := serveFlags{Listen: c.Listen, WidgetListen: c.WidgetListen, Roles: roles, SandboxRails: true, DrainDelay: new(time.Duration), DrainTimeout: drainTimeoutDefault, reportFlags: c.reportFlags}
	s, err := newServer(ctx, f, g.logger(file, slog.LevelDebug), flags)
	if err != nil {
		return err
	}
	d, err := s.openDemo(ctx)
	if err != nil {
		return errors.Join(err, s.abandon())
	}
	if err := s.openConsole(ctx, d); err != nil {
		return errors.Join(err, s.abandon())
	}
	if s.forms != nil {
		s.openShop(d)
	}
	screen := newTour(p, g, s, d)
	return s.run(ctx, func() { screen.show(ctx) })
}

// claim makes the folder a sandbox's. One that a server uses is refused: its
// payouts would go to simulated rails, which report them as paid. The mark is
// made before the database, so that a sandbox that was killed is known again.
func (f folder) claim(ctx context.Context, log *slog.Logger) error {
	if _, err := os.Stat(f.path("sim")); errors.Is(err, fs.ErrNotExist) {
		taken, err := f.db.used(ctx, log)
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("%s is the database of a server, not of a sandbox: take another folder with --data DIR", f.db.shown())
		}
	}
	if err := f.create(); err != nil {
		return err
	}
	return os.MkdirAll(f.path("sim"), 0o700)
}

// demo is the partner that comes with the sandbox.
type demo struct {
	key    sign.PrivateKey
	played bool // the main scenario was shown before
	// password lets the operator demo in to the console; "" if the user has
	// changed it.
	password string
}

// openDemo sees to it that the demo project, its key, its inbox and its opening
// balance are there. What a user has changed stays.
func (s *server) openDemo(ctx context.Context) (*demo, error) {
	if err := os.MkdirAll(s.path(demoProject), 0o700); err != nil {
		return nil, err
	}
	key, err := openKey(s.path(demoProject, "private.pem"), true, sign.GenerateRSA)
	if err != nil {
		return nil, err
	}
	for name, pem := range map[string][]byte{
		"public.pem":        key.Public().PEM(),
		"server-public.pem": s.keys[partner.RSA].Public().PEM(),
	} {
		if err := write(s.path(demoProject, name), 0o644, pem); err != nil {
			return nil, err
		}
	}
	if err := s.putDemo(ctx, key.Public()); err != nil {
		return nil, fmt.Errorf("project %s: %w", demoProject, err)
	}
	if _, err := s.engine.Deposit(ctx, demoProject, money.Amount{Minor: openingKopecks, Currency: money.RUB}, openingRef); err != nil {
		return nil, fmt.Errorf("opening balance: %w", err)
	}
	if err := s.engine.GiveAccounts(ctx, demoProject); err != nil { // the folder may be older than they are
		return nil, fmt.Errorf("accounts of %s: %w", demoProject, err)
	}
	for _, a := range sandboxAccounts(demoProject) {
		amount := money.Amount{Minor: openingKopecks, Currency: money.RUB}
		if _, err := s.engine.DepositTo(ctx, demoProject, a.Number, amount, openingRef+"-"+string(a.Owner.Type)); err != nil {
			return nil, fmt.Errorf("opening balance of %s: %w", a.Number, err)
		}
	}
	_, err = s.store.Setting(ctx, settingPlayed)
	if err != nil && fault.CodeOf(err) != fault.NotFound {
		return nil, err
	}
	return &demo{key: key, played: err == nil}, nil
}

// putDemo makes the project, or moves its webhooks along with the port unless
// the user has sent them elsewhere.
func (s *server) putDemo(ctx context.Context, public sign.PublicKey) error {
	inbox := s.url + inboxPath
	key := partner.Key{ID: public.ID(), PEM: string(public.PEM())}
	if _, ok := s.engine.Caller(demoProject); !ok {
		return s.engine.CreateProject(ctx, partner.Project{
			ID: demoProject, Keys: []partner.Key{key}, Webhook: inbox, AllowPrivateWebhooks: true,
		})
	}
	return s.engine.UpdateProject(ctx, demoProject, func(p *partner.Project) error {
		if isInbox(p.Webhook) {
			p.Webhook = inbox
		}
		if !slices.ContainsFunc(p.Keys, func(k partner.Key) bool { return k.ID == key.ID }) {
			p.Keys = append(p.Keys, key)
		}
		return nil
	})
}

// inboxPath is where the sandbox takes demo's webhooks.
const inboxPath = "/sandbox/inbox/" + demoProject

// isInbox reports whether a webhook URL is that of demo's inbox, at whatever
// port the sandbox had when it was set.
func isInbox(webhook string) bool {
	u, err := url.Parse(webhook)
	if err != nil || u.Path != inboxPath {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}
