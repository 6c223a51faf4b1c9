package payout

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
)

// faultyStore lets a test break the writing of a batch.
type faultyStore struct {
	store.Store
	commits   int
	before    func(*store.Changes) error // instead of writing
	after     func() error               // instead of the answer, once it is written
	committed func() (bool, error)
}

func (f *faultyStore) Commit(ctx context.Context, r store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	f.commits++
	err := f.Store.Commit(ctx, r, func(rows *store.Rows) (*store.Changes, error) {
		c, err := decide(rows)
		if err == nil && f.before != nil {
			err = f.before(c)
		}
		return c, err
	})
	if err == nil && f.after != nil {
		return f.after()
	}
	return err
}

func (f *faultyStore) Committed(ctx context.Context, b id.Batch) (bool, error) {
	if f.committed != nil {
		return f.committed()
	}
	return f.Store.Committed(ctx, b)
}

type panicking struct{}

func (panicking) reads(*store.Reads)         {}
func (panicking) decide(*tx) (Answer, error) { panic("a fault of ours") }

func deposits(l *lab, references ...string) []*pending {
	var all []*pending
	for _, r := range references {
		all = append(all, newPending(&deposit{l.project, "", 100, r}))
	}
	return all
}

func TestFailedBatch(t *testing.T) {
	poison := fault.New(fault.Internal, "guard")
	for _, c := range []struct {
		name      string
		set       func(*faultyStore)
		failed    fault.Code // of the batch's second command, "" for none
		neighbour fault.Code // of the others
		commits   int
	}{
		{"all well", func(*faultyStore) {}, "", "", 1},
		{"one is guilty", func(f *faultyStore) {
			f.before = func(c *store.Changes) error {
				for _, e := range c.Entries {
					if e.Reference == "b" {
						return poison
					}
				}
				return nil
			}
		}, fault.Internal, "", 4},
		{"the database is full", func(f *faultyStore) {
			f.before = func(*store.Changes) error { return fault.New(fault.Busy, "full") }
		}, fault.Busy, fault.Busy, 1},
		{"the answer is lost, it was written", func(f *faultyStore) {
			f.after = func() error { return store.ErrUnknown }
		}, "", "", 1},
		{"the answer is lost, it was not written", func(f *faultyStore) {
			f.before = func(*store.Changes) error { return store.ErrUnknown }
		}, fault.Busy, fault.Busy, 1},
		{"the answer is lost and can't be looked up at first", func(f *faultyStore) {
			f.after = func() error { return store.ErrUnknown }
			tries := 0
			f.committed = func() (bool, error) {
				if tries++; tries < 3 {
					return false, errors.New("no connection")
				}
				return true, nil
			}
		}, "", "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			broken := &faultyStore{Store: l.store}
			c.set(broken)
			l.engine.store = broken
			batch := deposits(l, "a", "b", "c")
			l.engine.commit(batch)
			for i, p := range batch {
				want := c.neighbour
				if i == 1 {
					want = c.failed
				}
				if got := fault.CodeOf(p.err); (p.err == nil) != (want == "") || p.err != nil && got != want {
					t.Errorf("command %d: %v, want %q", i, p.err, want)
				}
			}
			if broken.commits != c.commits {
				t.Errorf("%d transactions, want %d", broken.commits, c.commits)
			}
			l.engine.store = l.store
			l.clean()
		})
	}
}

func TestPanicCostsItsNeighboursNothing(t *testing.T) {
	l := newLab(t)
	batch := deposits(l, "a", "b")
	batch = append(batch, newPending(panicking{}))
	batch[1], batch[2] = batch[2], batch[1]
	l.engine.commit(batch)
	if batch[0].err != nil || batch[2].err != nil || fault.CodeOf(batch[1].err) != fault.Internal {
		t.Errorf("errors %v, %v, %v", batch[0].err, batch[1].err, batch[2].err)
	}
	if got := l.available(); got != 100_200 {
		t.Errorf("available %d", got)
	}
	l.clean()
}

// TestCallersDoNotHang leaves a command without an outcome. Partners hear that
// nobody knows before they stop to wait; what a rail has answered is kept.
func TestCallersDoNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{queue: make(chan *pending, 3)}
		began := time.Now()
		_, err := e.do(t.Context(), &deposit{"acme", "", 100, "a"})
		if took := time.Since(began); fault.CodeOf(err) != fault.Internal || took != AnswerMax {
			t.Errorf("after %s: %v; want %s after %s", took, err, fault.Internal, AnswerMax)
		}
		hour, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := e.report(hour, &deposit{"acme", "", 100, "b"}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) < time.Hour {
			t.Errorf("a worker waited until %s: %v", time.Since(began), err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := e.do(gone, &deposit{"acme", "", 100, "c"}); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that has gone: %v", err)
		}
		if len(e.queue) != 3 {
			t.Errorf("%d commands are in the queue, want all 3", len(e.queue))
		}
	})
}

func TestAlarmLine(t *testing.T) {
	for _, row := range []struct {
		alarm store.Alarm
		want  []any
	}{
		{store.Alarm{Kind: "k", Text: "t"}, []any{"kind", "k", "text", "t"}},
		{store.Alarm{Kind: "k", Project: "acme", Text: "t"}, []any{"kind", "k", "project", id.Project("acme"), "text", "t"}},
		{
			store.Alarm{Kind: "k", Project: "acme", Session: 1, Payout: 2, Text: "t"},
			[]any{"kind", "k", "project", id.Project("acme"), "session", id.Session(1), "payout", id.Payout(2), "text", "t"},
		},
	} {
		if got := alarmLine(&row.alarm); !slices.Equal(got, row.want) {
			t.Errorf("%v, want %v", got, row.want)
		}
	}
}
