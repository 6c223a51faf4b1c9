package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at is the time of what a test posts.
func (n *node) at() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

func TestOldBatchesAreForgotten(t *testing.T) {
	n := join(t, newDatabase(t), 1)
	const day = id.Batch(keepBatches)
	ids := id.NewGenerator(func() time.Time { return time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) })
	later := id.NewGenerator(func() time.Time { return time.Date(2027, 1, 2, 0, 0, 1, 0, time.UTC) })
	first, second := id.Batch(ids.Next()), id.Batch(later.Next())
	if second-first < day || second-first > day+day/1000 {
		t.Errorf("a day and a second are %d in the numbers of batches, keepBatches is %d", second-first, day)
	}
	n.must(n.deposit(first, "p"))
	n.must(n.deposit(second, "p"))
	n.commits.Store(forgetEvery - 2)
	n.must(n.deposit(second+1, "p"))
	n.wantBatch(first, true)
	n.must(n.deposit(second+2, "p"))
	n.wantBatch(first, false)
	n.wantBatch(second, true)
}

func TestClearingByRail(t *testing.T) {
	url := newDatabase(t)
	n := join(t, url, 1)
	for _, entries := range [][]ledger.Entry{
		{ledger.Deposit(1000, "d"), ledger.Hold(300, 10), ledger.Settle(100, 5, "cards"), ledger.Settle(50, 0, "cards"), ledger.Settle(150, 5, "fps")},
		{ledger.Return(100, 0, "cards")},
	} {
		n.must(n.Commit(t.Context(), store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows) (*store.Changes, error) {
			c := &store.Changes{Batch: n.next(), Books: []*ledger.Book{rows.Books["p"]}}
			for _, e := range entries {
				e, err := rows.Books["p"].Post(e, n.at())
				n.must(err)
				c.Entries = append(c.Entries, e)
			}
			return c, nil
		}))
	}
	conn := connect(t, url)
	for rail, want := range map[string]int64{"cards": 50, "fps": 150} {
		var got int64
		if err := conn.QueryRow(t.Context(), `SELECT minor FROM clearing WHERE project = 'p' AND rail = $1`, rail).Scan(&got); err != nil || got != want {
			t.Errorf("clearing of %s is %d, error %v; want %d", rail, got, err, want)
		}
	}
}

// TestRowTwiceInABatch opens an attempt and ends it in one batch, and does the
// same with an event and a task: the last word counts.
func TestRowTwiceInABatch(t *testing.T) {
	n := join(t, newDatabase(t), 1)
	k := store.SessionKey{Project: "p", Session: 7}
	open := store.Attempt{Project: "p", Session: 7, Payout: 8, No: 1, Rail: "cards", Reference: "r", Outcome: store.AttemptOpen, SentAt: n.at()}
	accepted := open
	accepted.Outcome, accepted.EndedAt = store.AttemptAccepted, n.at()
	pending := webhook.Event{Project: "p", Session: 7, N: 1, ID: 9, Status: webhook.Pending}
	delivered := pending
	delivered.Status = webhook.Delivered
	early := store.Task{TaskKey: store.TaskKey{SessionKey: k, Payout: 8, Kind: store.TaskQuery}, Due: n.at()}
	late := early
	late.Due = n.at().Add(time.Hour)
	n.must(n.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{
			Batch: n.next(), Attempts: []store.Attempt{open, accepted},
			Events: []webhook.Event{pending, delivered}, Tasks: []store.Task{early, late},
		}, nil
	}))
	n.must(n.Snapshot(t.Context(), func(s store.Snapshot) error {
		for got, err := range s.Attempts(t.Context(), "p") {
			if err != nil || got != accepted {
				t.Errorf("attempt %+v, error %v", got, err)
			}
		}
		for got, err := range s.Events(t.Context(), "p") {
			if err != nil || got.Status != webhook.Delivered {
				t.Errorf("event %+v, error %v", got, err)
			}
		}
		for got, err := range s.Tasks(t.Context(), "p") {
			if err != nil || !got.Due.Equal(late.Due) {
				t.Errorf("task %+v, error %v", got, err)
			}
		}
		return nil
	}))
}

// TestTextsOfOthers: what a partner's server or a rail says may hold anything.
// It must not stop the commit that it comes with.
func TestTextsOfOthers(t *testing.T) {
	n := join(t, newDatabase(t), 1)
	const odd = "zero \x00, broken \xff"
	n.must(n.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{
			Batch:      n.next(),
			Deliveries: []webhook.Attempt{{Project: "p", Session: 7, N: 1, No: 1, Error: odd}},
			Alarms:     []store.Alarm{{Project: "p", ID: 1, Kind: "k", Text: odd}},
		}, nil
	}))
	log, err := n.Deliveries(t.Context(), store.SessionKey{Project: "p", Session: 7})
	if err != nil || len(log) != 1 || log[0].Error != "zero \uFFFD, broken \uFFFD" {
		t.Errorf("deliveries %+v, error %v", log, err)
	}
	alarms, err := n.Alarms(t.Context(), 1)
	if err != nil || len(alarms) != 1 || alarms[0].Text != "zero \uFFFD, broken \uFFFD" {
		t.Errorf("alarms %+v, error %v", alarms, err)
	}

	key := store.KeyRecord{KeyRef: store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: odd}} // a name may not change
	wantCode(t, n.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{Batch: n.next(), Keys: []store.KeyRecord{key}}, nil
	}), fault.Invalid)
}

// TestSnapshotPages walks more rows than a page has.
func TestSnapshotPages(t *testing.T) {
	n := join(t, newDatabase(t), 1)
	for _, count := range []int64{pageRows, pageRows + 1} {
		have := int64(0)
		book, err := n.Book(t.Context(), "p")
		n.must(err)
		n.must(n.Commit(t.Context(), store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows) (*store.Changes, error) {
			c := &store.Changes{Batch: n.next(), Books: []*ledger.Book{rows.Books["p"]}}
			for range count - book.Entries {
				e, err := rows.Books["p"].Post(ledger.Deposit(1, "d"), n.at())
				n.must(err)
				c.Entries = append(c.Entries, e)
			}
			return c, nil
		}))
		n.must(n.Snapshot(t.Context(), func(s store.Snapshot) error {
			for e, err := range s.Entries(t.Context(), "p") {
				if have++; err != nil || e.No != have {
					t.Fatalf("entry %d has number %d, error %v", have, e.No, err)
				}
			}
			return nil
		}))
		if have != count {
			t.Errorf("%d entries, want %d", have, count)
		}
	}
}

// TestBrokenSnapshot loses the connection between two pages.
func TestBrokenSnapshot(t *testing.T) {
	url := newDatabase(t)
	n := join(t, url, 1)
	n.must(n.deposit(n.next(), "p"))
	n.must(n.Snapshot(t.Context(), func(s store.Snapshot) error {
		shell(t, url, `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE datname = current_database() AND state = 'idle in transaction'`)
		_, err := s.Projects(t.Context())
		wantCode(t, err, fault.Busy)
		return nil
	}))
	n.must(n.Snapshot(t.Context(), func(s store.Snapshot) error {
		projects, err := s.Projects(t.Context())
		if len(projects) != 2 {
			t.Errorf("%d projects on the next connection, want 2", len(projects))
		}
		return err
	}))
}

func TestClosedIsBusy(t *testing.T) {
	url := newDatabase(t)
	n := join(t, url, 1)
	key := store.SessionKey{Project: "p", Session: 1}

	deciding, leave, held, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() {
		held <- n.Commit(context.Background(), store.Reads{Books: []id.Project{"p"}}, func(*store.Rows) (*store.Changes, error) {
			close(deciding)
			<-leave
			return &store.Changes{Batch: 1, Sessions: []*session.Session{{Project: "p", ID: 1, State: session.Created}}}, nil
		})
	}()
	<-deciding
	go func() { closed <- n.Close() }()
	<-n.closed
	wantCode(t, n.deposit(2, "p"), fault.Busy) // does not wait for what is under way
	close(leave)
	if err := <-held; err != nil {
		t.Errorf("the commit under way: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	_, err := n.Session(t.Context(), key)
	wantCode(t, err, fault.Busy)
	_, err = n.ClaimTasks(t.Context(), "node", n.at(), n.at(), time.Minute, 1)
	wantCode(t, err, fault.Busy)
	wantCode(t, n.Snapshot(t.Context(), func(store.Snapshot) error { return nil }), fault.Busy)
	if err := n.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if _, err := join(t, url, 2).Session(t.Context(), key); err != nil {
		t.Errorf("what was under way: %v", err)
	}
}

func TestFaults(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		name   string
		err    error
		want   fault.Code
		passes bool // and another try helps
	}{
		{"no row", pgx.ErrNoRows, fault.NotFound, false},
		{"cancelled", context.Canceled, fault.Busy, false},
		{"too late", fmt.Errorf("wrapped: %w", context.DeadlineExceeded), fault.Busy, false},
		{"closed", errClosed, fault.Busy, false},
		{"connection lost", &brokenError{errors.New("unexpected EOF")}, fault.Busy, true},
		{"server stopped", &brokenError{state(adminShutdown)}, fault.Busy, true},
		{"server crashed", &brokenError{state(crashShutdown)}, fault.Busy, true},
		{"server starts", &brokenError{state(cannotConnectNow)}, fault.Busy, true},
		{"too many connections", &brokenError{state("53300")}, fault.Busy, true},
		{"no answer in time", &brokenError{context.DeadlineExceeded}, fault.Busy, false},
		{"wrong password", &brokenError{state("28P01")}, fault.Internal, false},
		{"serialization failure", state(unserializable), fault.Busy, true},
		{"deadlock", state(deadlock), fault.Busy, true},
		{"connection failure", state("08006"), fault.Busy, false},
		{"disk full", state("53100"), fault.Busy, false},
		{"no such table", state(undefinedTable), fault.Internal, false},
		{"has a code already", fault.New(fault.Invalid, "no"), fault.Invalid, false},
		{"anything else", errors.New("no"), fault.Internal, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := failed(c.err, "do it")
			wantCode(t, err, c.want)
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), "do it") {
				t.Errorf("%v has lost its cause or what was being done", err)
			}
			if passing(c.err) != c.passes {
				t.Errorf("passing is %v, want %v", !c.passes, c.passes)
			}
		})
	}
}
