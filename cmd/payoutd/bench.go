package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/payoutd/payoutd/internal/bench"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/sqlite"
)

type benchCommand struct {
	Projects      int           `default:"1" placeholder:"N" help:"Projects that the payouts are spread over."`
	Clients       int           `default:"64" placeholder:"N" help:"Connections; without --rate payouts at a time as well."`
	Duration      time.Duration `default:"10s" help:"For how long payouts are begun."`
	Key           string        `default:"rsa" enum:"rsa,p256" help:"Kind of key that signs requests: ${enum}."`
	ServerKey     string        `placeholder:"KIND" help:"Kind of key that signs webhooks: rsa or p256 (default: that of --key)."`
	Rate          string        `placeholder:"R" help:"Begin R payouts per second, whatever the answers do; R% of what is possible without --rate, which is measured first."`
	InFlight      int           `placeholder:"N" help:"Bring N payouts under way, and measure the server's memory while they all are."`
	CreateOnly    bool          `help:"Make sessions and do nothing with them."`
	SingleRequest bool          `help:"Ask for each payout by one request, without confirmation."`
	Preload       int           `placeholder:"N" help:"Write N finished payouts before."`
	Profile       string        `placeholder:"FILE" help:"Write the server's CPU profile, for go tool pprof."`
	Fresh         bool          `help:"Measure in a new database on the server of --db, and drop it at the end."`
	JSON          bool          `name:"json" help:"Print JSON."`
}

// Run measures on an empty database: by default SQLite in a temporary folder,
// which is gone afterwards.
func (c *benchCommand) Run(ctx context.Context, p *program, g *global) (err error) {
	if c.ServerKey == "" {
		c.ServerKey = c.Key
	}
	if c.ServerKey != string(partner.RSA) && c.ServerKey != string(partner.P256) {
		return misused("--server-key: want rsa or p256")
	}
	rate, share, err := parseRate(c.Rate)
	if err != nil {
		return err
	}
	f, remove, err := c.place(ctx, g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	screen, err := os.OpenFile(f.path("payoutd.log"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = screen.Close() }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log := g.logger(p.stderr, slog.LevelWarn)
	options := bench.Options{
		Projects: c.Projects, Clients: c.Clients, Duration: c.Duration, Rate: rate, Share: share,
		InFlight: c.InFlight, CreateOnly: c.CreateOnly, SingleRequest: c.SingleRequest, Preload: c.Preload,
		Key: partner.KeyType(c.Key), ServerKey: partner.KeyType(c.ServerKey), Profile: c.Profile, Sockets: f.sockets,
		Open:   func(ctx context.Context) (*bench.Installation, error) { return openForBench(ctx, f, log) },
		Server: func() *exec.Cmd { return f.benchServer(self, g, screen) },
		Say:    func(format string, args ...any) { fmt.Fprintf(p.stderr, "payoutd: "+format+"\n", args...) },
	}
	if err := f.db.forBench(ctx, &options, log); err != nil {
		return err
	}
	report, err := bench.Run(ctx, options)
	if err != nil {
		return fmt.Errorf("%w%s", err, lastLines(screen.Name()))
	}
	if c.JSON {
		err = p.printJSON(report)
	} else {
		err = report.Print(p.stdout)
	}
	return errors.Join(err, report.Failure())
}

// place makes ready where to measure: the folder and the database of the flags
// or, where they name none, a temporary folder and a database in it. The
// function returned removes what was made for this run alone.
func (c *benchCommand) place(ctx context.Context, g *global) (_ folder, _ func() error, err error) {
	var made []func() error
	remove := func() (err error) {
		for _, m := range slices.Backward(made) {
			err = errors.Join(err, m())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove())
		}
	}()
	own, onServer := *g, isPostgres(g.DB)
	if g.Data == "" && (g.DB == "" || onServer) {
		if own.Data, err = os.MkdirTemp("", "payoutd-bench-"); err != nil {
			return folder{}, nil, err
		}
		made = append(made, func() error { return os.RemoveAll(own.Data) })
	}
	if c.Fresh {
		if !onServer {
			return folder{}, nil, misused("--fresh: a new database is made on a PostgreSQL server; name one by --db")
		}
		var drop func() error
		if own.DB, drop, err = postgres.CreateBeside(ctx, g.DB); err != nil {
			return folder{}, nil, err
		}
		made = append(made, drop)
	}
	f, err := own.folder()
	if err != nil {
		return folder{}, nil, err
	}
	return f, remove, f.create()
}

// parseRate reads payouts per second, such as 300, or a share of what is
// possible, such as 50%; one of them is 0, both are without a rate.
func parseRate(s string) (rate, share float64, err error) {
	if s == "" {
		return 0, 0, nil
	}
	number, percent := strings.CutSuffix(s, "%")
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil || !(n > 0):
		return 0, 0, misused("--rate: want payouts per second, such as 300, or a share, such as 50%%")
	case percent:
		return 0, n / 100, nil
	}
	return n, 0, nil
}

// benchServer is the command of a server on the folder, with its log in a file.
// Variables of the environment that would change it are left out.
func (f folder) benchServer(self string, g *global, log *os.File) *exec.Cmd {
	cmd := exec.Command(self, "serve", "--sandbox-rails", "--rails-no-sync", "--listen", "127.0.0.1:0", "--data", f.dir, "--drain-delay", "0s",
		"--log-level", g.LogLevel, "--log-format", g.LogFormat)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, variablePrefix) {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	// A password does not belong on a command line, which others may read.
	if f.db.shared() {
		cmd.Env = append(cmd.Env, variablePrefix+"DB="+f.db.url)
	} else {
		cmd.Env = append(cmd.Env, variablePrefix+"DB=sqlite:"+f.db.path)
	}
	if f.vaultKey != "" {
		cmd.Env = append(cmd.Env, variablePrefix+"VAULT_KEY="+f.vaultKey)
	}
	if f.kms != nil {
		cmd.Env = append(cmd.Env, variablePrefix+"VAULT_WRAP="+f.kms.wrap, variablePrefix+"VAULT_UNWRAP="+f.kms.unwrap)
	}
	cmd.Stderr = log
	return cmd
}

func openForBench(ctx context.Context, f folder, log *slog.Logger) (*bench.Installation, error) {
	i, err := open(ctx, f, log, purpose{may: mayMake})
	if err != nil {
		return nil, err
	}
	return &bench.Installation{Engine: i.engine, Store: i.store.(store.Bulk), ServerKeys: i.keys, Close: i.close}, nil
}

// forBench makes an empty database ready for a run, and says what the benchmark
// needs to know of it. The schema of one that has another is left as it is:
// somebody uses it.
func (d database) forBench(ctx context.Context, o *bench.Options, log *slog.Logger) error {
	if !d.shared() {
		o.Engine = "sqlite"
		o.Scratch = func(ctx context.Context) (store.Store, func() error, error) { return d.scratchFile(ctx, log) }
		o.Free = func() (int64, error) { return freeBytes(filepath.Dir(d.path)) }
		return nil
	}
	current, err := d.version(ctx)
	if err != nil {
		return err
	}
	if current == 0 {
		err = d.migrate(ctx, log)
	} else if used, failed := d.used(ctx, log); failed != nil || used {
		err = cmp.Or(failed, fmt.Errorf("%s is somebody's: the benchmark needs an empty one, since it makes payouts; --fresh makes one beside it", d.name))
	}
	if err != nil {
		return err
	}
	host, err := postgres.HostOf(ctx, d.url)
	if err != nil {
		return err
	}
	o.Engine, o.Apart, o.DatabasePID = "postgres", true, host.PID
	o.Scratch = func(ctx context.Context) (store.Store, func() error, error) { return d.scratchDatabase(ctx, log) }
	o.Settle = func(ctx context.Context) error { return postgres.Settle(ctx, d.url) }
	if host.Data != "" {
		o.Free = func() (int64, error) { return freeBytes(host.Data) }
	}
	return nil
}

// scratchFile opens an empty SQLite database on the disk of this one.
func (d database) scratchFile(ctx context.Context, log *slog.Logger) (store.Store, func() error, error) {
	dir, err := os.MkdirTemp(filepath.Dir(d.path), "scratch-")
	if err != nil {
		return nil, nil, err
	}
	s, err := sqlite.Open(ctx, filepath.Join(dir, "scratch.db"), log)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, func() error { return errors.Join(s.Close(), os.RemoveAll(dir)) }, nil
}

// scratchDatabase opens an empty database on the server of this one.
func (d database) scratchDatabase(ctx context.Context, log *slog.Logger) (store.Store, func() error, error) {
	url, drop, err := postgres.CreateBeside(ctx, d.url)
	if err != nil {
		return nil, nil, err
	}
	if err := postgres.Migrate(ctx, url, log); err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	s, err := postgres.Open(ctx, url, log)
	if err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	return s, func() error { return errors.Join(s.Close(), drop()) }, nil
}

// freeBytes is what an unprivileged user may still write to the disk of a folder.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free disk of %s: %w", shown(dir), err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil // #nosec G115 -- no disk has 2^63 blocks
}

// lastLines are the last of a log, where a server says why it ended; the log
// itself may be gone with its folder.
func lastLines(path string) string {
	const linesMax = 5
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte{'\n'})
	return "\nlast lines of its log:\n" + string(bytes.Join(lines[max(len(lines)-linesMax, 0):], []byte{'\n'}))
}
