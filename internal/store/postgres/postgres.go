// Package postgres is the store of an installation with several nodes: a
// PostgreSQL server, 15 or newer, that all of them share. A batch is two round
// trips: one loads its rows and locks them in one order for all nodes, one
// writes each table with one statement and commits. What this node has written
// last needs no loading, only the proof that it still stands. The package relies on row
// locks, unique keys and revisions, on no isolation level above read committed.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
)

// Store is a database on a server.
type Store struct {
	log  *slog.Logger
	name string // of the database, for messages
	// The pools are apart, so that no read waits for a commit and no short read
	// for a long one. writers and readers have the settings of lookUps.
	writers, readers, snapshots *pgxpool.Pool

	// answerMax bounds a round trip, settleMax how long a commit waits for a
	// server that tells what became of it.
	answerMax, settleMax time.Duration

	// replicates says that the server knows of synchronous standbys, now or later.
	replicates bool

	recent  *recent
	last    atomic.Pointer[batch] // that this node knows to be committed
	commits atomic.Int64
	closing sync.Once
	closed  chan struct{}

	mu sync.Mutex
	// unsettled are the last batches whose COMMIT was lost and that could not be
	// looked up, with the project that their row has.
	unsettled map[id.Batch]id.Project
}

var _ store.Store = (*Store)(nil)

const (
	// A node's committer uses one, claims another; more than two that commit
	// brought nothing on two cores.
	writersMax   = 4
	snapshotsMax = 4
)

const (
	connectMax = 5 * time.Second  // for each server named in the URL
	answerMax  = 10 * time.Second // for one round trip; longer than anything waits for a lock
	settleMax  = 5 * time.Second
	// unsettledMax is far more than a node asks about: only its last one, for half
	// a minute.
	unsettledMax = 64
)

// lookUps are the settings of connections that reach rows by their keys.
//
// The planner may not choose by the size of a table: a plan is made once per
// connection, perhaps while the table is empty, and must still be right when
// it holds millions. And nobody may hold the book of a project who has stopped
// talking: a node that was paused, or whose network is gone.
var lookUps = map[string]string{
	"enable_seqscan":                      "off",
	"enable_bitmapscan":                   "off",
	"enable_hashjoin":                     "off",
	"enable_mergejoin":                    "off",
	"jit":                                 "off",
	"plan_cache_mode":                     "force_generic_plan",
	"lock_timeout":                        "6s",
	"idle_in_transaction_session_timeout": "5s", // before those who wait for its locks give up
}

// Open connects to the database of a URL such as
// postgres://user@host/name. Several hosts may be named, as in
// postgres://a,b/name?target_session_attrs=read-write: a new connection takes
// the first that answers and takes writes. fault.Invalid if the URL can't be
// read, if the schema is older than this program, which `payoutd migrate`
// changes, or newer; fault.Busy if no server answers. A nil log is none.
func Open(ctx context.Context, url string, log *slog.Logger) (_ *Store, err error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	config, err := parse(url)
	if err != nil {
		return nil, err
	}
	s := &Store{
		log: log, name: name(config.ConnConfig), answerMax: answerMax, settleMax: settleMax, closed: make(chan struct{}), recent: newRecent(), unsettled: make(map[id.Batch]id.Project),
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	config.AfterConnect = s.stillThere
	lookUp := config.Copy()
	maps.Copy(lookUp.ConnConfig.RuntimeParams, lookUps)
	if s.readers, err = pgxpool.NewWithConfig(ctx, lookUp.Copy()); err != nil {
		return nil, failed(err, "connect to %s", s.name)
	}
	if err := s.checkSchema(ctx); err != nil {
		return nil, err
	}
	if err := s.checkDurability(ctx, lookUp.ConnConfig.RuntimeParams); err != nil {
		return nil, err
	}
	lookUp.MaxConns, lookUp.MinConns = writersMax, 0
	lookUp.BeforeConnect = uncancelled
	if s.writers, err = pgxpool.NewWithConfig(ctx, lookUp); err != nil {
		return nil, failed(err, "connect to %s", s.name)
	}
	config.MaxConns, config.MinConns = snapshotsMax, 0
	if s.snapshots, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, failed(err, "connect to %s", s.name)
	}
	return s, nil
}

// parse reads a URL. Its errors hold no password.
func parse(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the URL of the database can't be read")
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectMax
	}
	if params := config.ConnConfig.RuntimeParams; params["application_name"] == "" {
		params["application_name"] = "payoutd"
	}
	config.ConnConfig.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.Code == warning {
			conn.CustomData()[warning] = true
		}
	}
	return config, nil
}

// errWarned is a COMMIT that somebody cancelled while it waited for a
// synchronous standby: it is answered as if it had been waited for, with a
// warning.
var errWarned = errors.New("the server has not waited for its standby")

// warned reports whether the server has warned on a connection since the last
// call.
func warned(conn *pgx.Conn) bool {
	data := conn.PgConn().CustomData()
	_, was := data[warning]
	delete(data, warning)
	return was
}

// uncancelled keeps the driver from cancelling on the server what is given up
// waiting for. A COMMIT that waits for a standby would be shown to everybody, as
// if the standby had it.
func uncancelled(_ context.Context, c *pgx.ConnConfig) error {
	var made atomic.Bool
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if made.Load() {
			return nil, errors.ErrUnsupported
		}
		return dial(ctx, network, address)
	}
	c.AfterConnect = func(context.Context, *pgconn.PgConn) error {
		made.Store(true)
		return nil
	}
	return nil
}

// Name is what messages call the database of a URL, and what tells it from
// others: its hosts and its name, without user and password. fault.Invalid if
// the URL can't be read.
func Name(url string) (string, error) {
	config, err := parse(url)
	if err != nil {
		return "", err
	}
	c := config.ConnConfig
	hosts := []string{address(c.Host, c.Port)}
	for _, f := range c.Fallbacks { // the other hosts, and each without TLS where it need not be
		hosts = append(hosts, address(f.Host, f.Port))
	}
	slices.Sort(hosts)
	return "postgres://" + strings.Join(slices.Compact(hosts), ",") + "/" + cmp.Or(c.Database, c.User), nil
}

func address(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// name is the database for messages, without the password.
func name(c *pgx.ConnConfig) string {
	return fmt.Sprintf("the database %s of %s", c.Database, c.Host)
}

// checkDurability sees to it that what was answered is on a disk. Waiting for
// it can be switched on for our own connections; a server that does not sync
// at all can only be warned about.
func (s *Store) checkDurability(ctx context.Context, params map[string]string) error {
	var (
		fsync, pages, commit string
		standbys             *string
	)
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT coalesce(current_setting('fsync', true), 'on'), coalesce(current_setting('full_page_writes', true), 'on'),
			coalesce(current_setting('synchronous_commit', true), 'on'), current_setting('synchronous_standby_names', true)`).
			Scan(&fsync, &pages, &commit, &standbys)
	})
	if err != nil {
		return failed(err, "read the settings of %s", s.name)
	}
	if fsync == "off" || pages == "off" {
		s.log.WarnContext(ctx, "the database server may lose what it has confirmed", "fsync", fsync, "full_page_writes", pages)
	}
	s.replicates = standbys != nil
	if commit == "off" {
		params["synchronous_commit"] = "on"
	}
	return nil
}

// Clock is the server's time.
func (s *Store) Clock(ctx context.Context) (now time.Time, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	})
	if err != nil {
		return now, failed(err, "read the clock of %s", s.name)
	}
	return now, nil
}

// Close waits for the calls under way and closes the connections. Calls that come later fail with fault.Busy.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		for _, pool := range s.pools() {
			pool.Close()
		}
	})
	return nil
}

// errClosed answers calls after Close.
var errClosed = errors.New("the store is closed")

// acquire takes a connection from a pool. The pool tries for as long as ctx
// lets it.
func (s *Store) acquire(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	conn, err := pool.Acquire(ctx)
	select {
	case <-s.closed:
		if err == nil {
			conn.Release()
		}
		return nil, errClosed
	default:
	}
	if err != nil && ctx.Err() == nil {
		err = &brokenError{err}
	}
	return conn, err
}

// on runs do on a connection of a pool. A server that says nothing for too long
// is taken for gone: nobody waits for it until the network gives up, nor behind
// others who do.
func (s *Store) on(ctx context.Context, pool *pgxpool.Pool, do func(context.Context, *pgx.Conn) error) error {
	limited, cancel := context.WithTimeout(ctx, s.answerMax)
	defer cancel()
	conn, err := s.acquire(limited, pool)
	if err != nil {
		return err
	}
	defer conn.Release()
	warned(conn.Conn())
	err = s.checked(ctx, conn, do(limited, conn.Conn()))
	if err == nil && warned(conn.Conn()) {
		return &brokenError{errWarned}
	}
	return err
}

// checked marks an error with which the connection was lost, or turned out to
// lead to a server that takes no writes (any more). The others of the pools
// are likely to be no better.
func (s *Store) checked(ctx context.Context, conn *pgxpool.Conn, err error) error {
	if err == nil || ctx.Err() != nil || !conn.Conn().IsClosed() && sqlState(err) != readOnly {
		return err
	}
	s.reset()
	if _, lost := errors.AsType[*lostError](err); lost {
		return err
	}
	return &brokenError{err}
}

// reset closes the connections that nobody uses, and the others when they come
// back.
func (s *Store) reset() {
	for _, pool := range s.pools() {
		pool.Reset()
	}
}

// pools are those that Open has come to.
func (s *Store) pools() []*pgxpool.Pool {
	return slices.DeleteFunc([]*pgxpool.Pool{s.writers, s.readers, s.snapshots}, func(p *pgxpool.Pool) bool { return p == nil })
}

// brokenError is a connection that was lost, could not be made, or is of no use.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// triesMax bounds how often something is tried that lost to another node or
// met a broken connection.
const triesMax = 4

// repeat calls do until it succeeds, or fails in a way that another try does
// not help. do must not mind that its last effect was perhaps there.
func (s *Store) repeat(ctx context.Context, helps func(error) bool, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == triesMax || !helps(err) || ctx.Err() != nil {
			return err
		}
		s.log.WarnContext(ctx, "trying the database again", "try", try, "error", err)
		if _, broken := errors.AsType[*brokenError](err); broken && try > 1 {
			if !s.pause(ctx, 20*time.Millisecond<<try) {
				return err
			}
		}
	}
}

// pause waits; false if ctx or the store ended first.
func (s *Store) pause(ctx context.Context, gap time.Duration) bool {
	timer := time.NewTimer(gap)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.closed:
	}
	return false
}

// read runs do, which only reads.
func (s *Store) read(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	return s.repeat(ctx, passing, func() error { return s.on(ctx, s.readers, do) })
}

// write runs do, which may be done twice without harm.
func (s *Store) write(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	return s.repeat(ctx, passing, func() error { return s.on(ctx, s.writers, do) })
}

// sqlState is the server's code of an error; "" for an error that is not its.
func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
