package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/clock"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/relocate"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/sign"
)

// Settings of the store that tell whether keys are the installation's own: the
// vault key's check value, and the names of the server's keys. The first is
// written last of all that a new installation needs, so an installation that
// has it must have its keys as well.
const (
	settingVaultCheck = "vault_check"
	settingServerKeys = "server_keys"
)

// sandboxQueryGap bounds the gaps between questions to simulated rails.
const sandboxQueryGap = 5 * time.Second

// installation is an opened folder with its engine: what a server runs on, and
// what a command uses where no server runs.
type installation struct {
	folder
	store   store.Store
	keys    map[partner.KeyType]sign.PrivateKey
	vault   *keyFile
	engine  *payout.Engine
	metrics *prometheus.Registry
	log     *slog.Logger
	real    *clock.Steady
	clock   *sandbox.Clock // real time where no sandbox has used the folder
	world   *sandbox.World // nil without simulated rails
	head    *head          // nil for a command
}

// purpose is what an installation is opened for.
type purpose struct {
	may       permission
	simulated bool   // with the simulated rails
	origin    string // of the server, where receipts are to be seen
	// railsNoSync keeps those from waiting for the disk.
	railsNoSync bool
	queueMax    int // requests that wait at a time; 0 is the engine's choice
	// railsSlow is how long they take where they are slow; 0 is their own choice.
	railsSlow time.Duration
	// roles are what the engine does in the background; a command's has none, and
	// leaves what it makes to the nodes.
	roles []string
	rates rateFlags
	// serves says that it is to work on payouts, and not only to do a command.
	serves bool
}

// open opens the installation in f, or makes one if it may; errNone if there is
// none.
func open(ctx context.Context, f folder, log *slog.Logger, why purpose) (_ *installation, err error) {
	if why.may == mustExist && !f.db.exists() {
		return nil, errNone
	}
	if why.may == mayMake {
		if err := f.create(); err != nil {
			return nil, err
		}
	}
	i := &installation{folder: f, log: log, metrics: prometheus.NewRegistry(), real: clock.New()}
	i.clock = &sandbox.Clock{Real: i.real.Now}
	defer func() {
		if err != nil {
			_ = i.close()
		}
	}()
	if i.store, err = f.db.open(ctx, log); err != nil {
		return nil, err
	}
	if err := relocate.Moved(ctx, i.store); err != nil {
		return nil, err
	}
	if why.serves {
		if err := i.inTime(ctx); err != nil {
			return nil, err
		}
	}
	begun, err := i.begun(ctx)
	if err != nil {
		return nil, err
	}
	sealer, err := i.openKeys(ctx, why.may)
	if err != nil {
		return nil, err
	}
	if why.serves {
		i.complainOfModes(ctx)
	}
	if begun { // and the folder's, as its keys have shown
		restored, err := i.noticeRestore(ctx)
		if err != nil {
			return nil, err
		}
		if err := restored.Undeclared(i.db.shown(), i.declare()); err != nil && why.serves { // a command's desk knows what it may do
			return nil, err
		}
	}
	if err := i.openWorld(why); err != nil {
		return nil, err
	}
	options := payout.Options{
		Store: i.store, Vault: sealer, Rails: map[instrument.Kind]rail.Rail{}, ServerKeys: i.keys, Roles: []payout.Role{},
		Now: i.clock.Now, Real: i.real.Now, QueueMax: why.queueMax, Log: log, Metrics: i.metrics,
	}
	for _, r := range []payout.Role{payout.RoleWork, payout.RoleWebhook} {
		if slices.Contains(why.roles, string(r)) {
			options.Roles = append(options.Roles, r)
		}
	}
	if why.simulated {
		options.Rails, options.Sandbox, options.QueryGapMax = i.world.Rails(), true, sandboxQueryGap
		options.Rates, options.Tax, options.Accounts = sandbox.Rates(i.clock), i.world.Tax(), sandboxAccounts
	}
	if why.rates.Rates != "" {
		if options.Rates, err = rate.NewFeed(rate.FeedOptions{
			Place: why.rates.Rates, AgeMax: why.rates.RatesMaxAge, Now: i.clock.Now, Log: log,
		}); err != nil {
			return nil, err
		}
	}
	if why.serves {
		if i.head, err = openHead(f, log); err != nil {
			return nil, err
		}
		options.Wrote = i.head.note
	}
	if i.engine, err = payout.New(ctx, options); err != nil {
		return nil, err
	}
	i.clock.OnAdvance(i.engine.Wake)
	return i, nil
}

// A command that works without a server holds the folder for a moment; a server
// that starts meanwhile waits for its end.
const (
	lockPatience = 2 * time.Second
	lockGap      = 50 * time.Millisecond
)

// openPatiently is open for a server.
func openPatiently(ctx context.Context, f folder, log *slog.Logger, why purpose) (*installation, error) {
	enough := time.After(lockPatience)
	for {
		i, err := open(ctx, f, log, why)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return i, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-enough:
			return nil, err
		case <-time.After(lockGap):
		}
	}
}

// openWorld connects the simulated rails. A folder that a sandbox has used
// keeps its time even where they are left out: time does not go back.
func (i *installation) openWorld(why purpose) (err error) {
	if !why.simulated && !i.simulated() {
		return nil
	}
	if err := os.MkdirAll(i.path("sim"), 0o700); err != nil {
		return err
	}
	if i.clock, err = sandbox.OpenClock(i.path("sim")); err != nil {
		return err
	}
	if i.clock.Real = i.real.Now; !why.simulated {
		return nil
	}
	var opts []sandbox.Option
	if why.origin != "" {
		opts = append(opts, sandbox.WithOrigin(why.origin))
	}
	if why.railsSlow > 0 {
		opts = append(opts, sandbox.WithSlow(why.railsSlow))
	}
	if why.railsNoSync {
		opts = append(opts, sandbox.WithoutSync())
	}
	i.world, err = sandbox.Open(i.path("sim"), i.clock, opts...)
	return err
}

// close ends the engine and lets go of the folder.
func (i *installation) close() error {
	if i.engine != nil {
		i.engine.Close()
	}
	var err error
	if i.head != nil {
		err = i.head.close()
	}
	if i.store != nil {
		err = errors.Join(err, i.store.Close())
	}
	if i.world != nil {
		err = errors.Join(err, i.world.Close())
	}
	return err
}

// desk is the handler of the operator's commands.
func (i *installation) desk() http.Handler {
	return admin.New(admin.Options{
		Engine: i.engine, Store: i.store, Database: i.db.name, Declare: i.declare(), Keeper: i.vault, Now: i.clock.Now, Log: i.log,
	})
}

// openKeys opens the vault key and the server's keys. A new installation makes
// them; one that has run before must have them, and they must be the same: with
// another vault key sealed card numbers could never be opened again, and
// webhooks that another key signs would be refused by partners.
//
// Of several nodes that start at once on a new database, those that share the
// folder take turns; with folders of their own one comes first in the database,
// and the others learn that theirs are not its keys.
func (i *installation) openKeys(ctx context.Context, may permission) (_ *vault.Vault, err error) {
	check, known, err := setting(ctx, i.store, settingVaultCheck)
	if err != nil {
		return nil, err
	}
	if !known && may == mustExist {
		return nil, errNone
	}
	if !known {
		turn, err := waitLock(ctx, i.path("keys.lock"))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, turn.Close()) }()
	}
	i.vault = &keyFile{folder: i.folder}
	if err := i.vault.read(ctx, !known); err != nil {
		return nil, err
	}
	sealer, err := vault.New(i.vault.keys)
	if err != nil {
		return nil, err
	}
	// The check value is of the keys that the installation began with; once it
	// has begun, its probes tell which keys it needs.
	_, proved, err := setting(ctx, i.store, payout.SettingProbes)
	switch {
	case err != nil:
		return nil, err
	case !proved && known && !bytes.Equal(check, i.vault.keys.Check()):
		return nil, i.wrongVaultKey()
	}
	if err := i.openServerKeys(!known); err != nil {
		return nil, err
	}
	names := i.keyNames()
	there, err := i.store.AddSetting(ctx, settingServerKeys, names)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(there, names) {
		return nil, fmt.Errorf("%s and %s are not the server's keys of the database %s, by which partners verify webhooks: "+
			"restore those, or copy them from another node", shown(i.path("server.pem")), shown(i.path("server-p256.pem")), i.db.name)
	}
	if !known {
		if there, err = i.store.AddSetting(ctx, settingVaultCheck, i.vault.keys.Check()); err != nil {
			return nil, err
		}
		if !bytes.Equal(there, i.vault.keys.Check()) {
			return nil, i.wrongVaultKey()
		}
	}
	if err := payout.Proved(ctx, i.store, sealer); err != nil {
		if fault.CodeOf(err) == fault.WrongState {
			return nil, i.wrongVaultKey()
		}
		return nil, err
	}
	return sealer, nil
}

func (i *installation) wrongVaultKey() error {
	return fmt.Errorf("this is not the vault key of the database %s: card numbers sealed with its own key could not be opened; "+
		"restore that key, or copy it from another node", i.db.name)
}

// keyNames are the server's keys by their types and IDs: what the store keeps
// to tell them from others.
func (i *installation) keyNames() []byte {
	var b bytes.Buffer
	for _, kind := range slices.Sorted(maps.Keys(i.keys)) {
		fmt.Fprintf(&b, "%s %s\n", kind, i.keys[kind].Public().ID())
	}
	return b.Bytes()
}

// setting reads a setting that need not be there.
func setting(ctx context.Context, s store.Store, name string) (value []byte, found bool, err error) {
	value, err = s.Setting(ctx, name)
	if fault.CodeOf(err) == fault.NotFound {
		return nil, false, nil
	}
	return value, err == nil, err
}

// serverKeyFiles are the names of the keys that sign webhooks; the public half
// of each lies beside it.
var serverKeyFiles = map[partner.KeyType]struct {
	private, public string
	generate        func() (sign.PrivateKey, error)
}{
	partner.RSA:  {"server.pem", "server-public.pem", sign.GenerateRSA},
	partner.P256: {"server-p256.pem", "server-p256-public.pem", sign.GenerateP256},
}

func (i *installation) openServerKeys(fresh bool) error {
	i.keys = map[partner.KeyType]sign.PrivateKey{}
	for kind, file := range serverKeyFiles {
		key, err := openKey(i.path(file.private), fresh, file.generate)
		if errors.Is(err, errLost) {
			return fmt.Errorf("the server's key %s is missing: restore it, or copy it from another node; partners verify webhooks by its public half", i.path(file.private))
		}
		if err != nil {
			return err
		}
		if err := write(i.path(file.public), 0o644, key.Public().PEM()); err != nil {
			return err
		}
		i.keys[kind] = key
	}
	return nil
}

// complainOfModes tells of keys that other users of the machine can read, as a
// backup that was put back may leave them.
func (i *installation) complainOfModes(ctx context.Context) {
	names := []string{"vault.key"}
	for _, file := range serverKeyFiles {
		names = append(names, file.private)
	}
	for _, name := range names {
		if info, err := os.Stat(i.path(name)); err == nil && info.Mode().Perm()&0o077 != 0 {
			i.log.WarnContext(ctx, "other users of the machine can read a key: chmod 600", "file", i.path(name))
		}
	}
}

// errLost says that a key is missing which must not be made anew.
var errLost = errors.New("the key is missing")

// generated makes a key where that is allowed.
func generated(allowed bool, generate func() ([]byte, error)) func() ([]byte, error) {
	if allowed {
		return generate
	}
	return func() ([]byte, error) { return nil, errLost }
}

// openKey reads a private key or, where that is allowed, makes it.
func openKey(path string, fresh bool, generate func() (sign.PrivateKey, error)) (sign.PrivateKey, error) {
	pem, err := keep(path, 0o600, generated(fresh, func() ([]byte, error) {
		key, err := generate()
		return key.PEM(), err
	}))
	if err != nil {
		return sign.PrivateKey{}, err
	}
	key, err := sign.ParsePrivateKey(pem)
	if err != nil {
		return sign.PrivateKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// connect finds the way to the installation: its running server, or the engine
// in this process. Only a command that makes an installation may find none.
func (p *program) connect(ctx context.Context, g *global, may permission) (*admin.Client, folder, error) {
	f, err := g.folder()
	if err != nil {
		return nil, f, err
	}
	log := g.logger(p.stderr, slog.LevelWarn)
	c, err := admin.Connect(ctx, admin.Place{
		Sockets: f.sockets(), Database: f.db.name, Operator: p.operator(),
		Open: func(ctx context.Context) (http.Handler, func() error, error) {
			i, err := open(ctx, f, log, purpose{may: may})
			if errors.Is(err, errNone) {
				err = fmt.Errorf("%w in %s: name its folder with --data DIR, or make one with: %s project create ID --public-key FILE%s",
					err, f.shown(), p.name, g.flags())
			}
			if err != nil {
				return nil, nil, err
			}
			return i.desk(), i.close, nil
		},
	})
	return c, f, err
}

// errNone says that nobody has made an installation yet.
var errNone = errors.New("there is no installation")

// permission says whether a command may make an installation.
type permission bool

const (
	mustExist permission = false
	mayMake   permission = true
)

// apartMax is how far a node's clock may be from that of the server which its
// nodes share. Leases want a second; beyond a minute somebody has set it wrong.
const apartMax = time.Minute

// inTime refuses to begin with a wrong time: a node goes by it until it ends, and
// would take what others are at work on for left behind.
func (i *installation) inTime(ctx context.Context) error {
	shared, ok := i.store.(interface {
		Clock(context.Context) (time.Time, error)
	})
	if !ok {
		return nil
	}
	theirs, err := shared.Clock(ctx)
	if err != nil {
		return err
	}
	return apart(i.real.Now(), theirs)
}

func apart(ours, theirs time.Time) error {
	if d := ours.Sub(theirs); d.Abs() > apartMax {
		return fmt.Errorf("the clock of this machine is %s away from the database server's: set the wrong one right, and start again", d.Round(time.Second))
	}
	return nil
}
