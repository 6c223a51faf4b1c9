package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// newAlone is a server whose synchronous standby has gone, after one deposit, with a
// node that does not wait for long.
func newAlone(t *testing.T) (*pgtest.Server, *node) {
	t.Helper()
	server := pgtest.Own(t, pgtest.Place{})
	if err := Migrate(t.Context(), server.URL, nil); err != nil {
		t.Fatal(err)
	}
	n := join(t, server.URL, 1)
	n.must(n.CreateProject(t.Context(), partner.Project{ID: "p"}))
	n.must(n.deposit(n.next(), "p"))
	server.Run(t, "ALTER SYSTEM SET synchronous_standby_names = 'gone'", "SELECT pg_reload_conf()")
	await(t, server.URL, "SELECT current_setting('synchronous_standby_names') = 'gone'")
	n.answerMax, n.settleMax = 300*time.Millisecond, 300*time.Millisecond
	return server, n
}

// back brings the standby back, or what is as good.
func back(t *testing.T, server *pgtest.Server, n *node) {
	t.Helper()
	server.Run(t, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
	await(t, server.URL, "SELECT current_setting('synchronous_standby_names') = ''")
	n.answerMax, n.settleMax = answerMax, settleMax
}

// again asks for what is there and writes nothing, as a request does that comes
// again.
func (n *node) again() error {
	return n.Commit(context.Background(), store.Reads{Books: []id.Project{"p"}}, func(*store.Rows) (*store.Changes, error) { return nil, nil })
}

const waiting = `FROM pg_stat_activity WHERE wait_event = 'SyncRep'`

// TestNothingIsToldBeforeTheStandbyHasIt commits what no standby takes. Nobody
// sees it, and nobody is told of it even when the server shows it, as it does
// after a restart.
func TestNothingIsToldBeforeTheStandbyHasIt(t *testing.T) {
	server, n := newAlone(t)
	batch := n.next()
	if err := n.deposit(batch, "p"); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("commit: error %v, want ErrUnknown", err)
	}
	n.wantAvailable("p", 1)
	shell(t, server.URL, "SELECT pg_terminate_backend(pid) "+waiting)
	await(t, server.URL, "SELECT available = 2 FROM books WHERE project = 'p'")
	n.wantAvailable("p", 2)
	_, err := n.Committed(t.Context(), batch)
	wantCode(t, err, fault.Busy)
	wantCode(t, n.again(), fault.Busy)

	back(t, server, n)
	n.wantBatch(batch, true)
	n.must(n.again())
	n.must(n.deposit(n.next(), "p"))
	n.wantAvailable("p", 3)
}

// TestCancelledCommitIsUnknown cancels COMMITs that wait for a standby, which the
// server then answers as if they had been waited for.
func TestCancelledCommitIsUnknown(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(*node) error
		want func(*testing.T, error)
	}{
		{"commit", func(n *node) error { return n.deposit(n.next(), "p") }, func(t *testing.T, err error) {
			if !errors.Is(err, store.ErrUnknown) {
				t.Errorf("error %v, want ErrUnknown", err)
			}
		}},
		{"nothing to write", (*node).again, func(t *testing.T, err error) { wantCode(t, err, fault.Busy) }},
		{"new project", func(n *node) error { return n.CreateProject(n.Context(), partner.Project{ID: "other"}) }, func(t *testing.T, err error) {
			wantCode(t, err, fault.Busy)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, n := newAlone(t)
			n.answerMax = 3 * time.Second
			done := make(chan error, 1)
			go func() { done <- c.call(n) }()
			await(t, server.URL, "SELECT EXISTS (SELECT "+waiting+")")
			shell(t, server.URL, "SELECT pg_cancel_backend(pid) "+waiting)
			c.want(t, <-done)
			back(t, server, n)
			n.must(n.again())
		})
	}
}

// TestServerThatIsBehind: a standby that has not got a batch yet is not taken
// for a database that went back, nor for one to go on with.
func TestServerThatIsBehind(t *testing.T) {
	primary := pgtest.Own(t, pgtest.Place{})
	if err := Migrate(t.Context(), primary.URL, nil); err != nil {
		t.Fatal(err)
	}
	standby := primary.Standby(t)
	await(t, standby.URL, "SELECT pg_is_in_recovery()")
	shell(t, standby.URL, "SELECT pg_wal_replay_pause()")
	await(t, standby.URL, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
	n := join(t, primary.URL, 1)
	n.must(n.CreateProject(t.Context(), partner.Project{ID: "p"}))
	n.must(n.deposit(n.next(), "p"))
	conn, err := pgx.Connect(t.Context(), standby.URL)
	n.must(err)
	defer func() { _ = conn.Close(context.Background()) }()
	if err := n.stillThere(t.Context(), conn); !errors.Is(err, errBehind) {
		t.Errorf("error %v, want %v", err, errBehind)
	}
	shell(t, standby.URL, "SELECT pg_wal_replay_resume()")
	await(t, standby.URL, "SELECT EXISTS (SELECT FROM batches)")
	n.must(n.stillThere(t.Context(), conn))
}
