package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/store/storetest"
	"github.com/payoutd/payoutd/internal/webhook"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s := open(t, migrated(t))
		postgres.TrustMemory(s)
		return s
	})
}

// TestNodesAgreeWithTheModel lets two nodes take turns with the same sessions and
// books, so that what either remembers is out of date most of the time.
func TestNodesAgreeWithTheModel(t *testing.T) {
	storetest.RunModel(t, func(t *testing.T) store.Store {
		url := migrated(t)
		s := &turns{Store: open(t, url), other: open(t, url)}
		postgres.TrustMemory(s.Store)
		postgres.TrustMemory(s.other)
		return s
	})
}

// turns are two nodes of one installation. Which one does something hangs on the
// third bit of a count, so that each does several things in a row.
type turns struct {
	*postgres.Store
	other *postgres.Store
	n     int
}

func (t *turns) next() *postgres.Store {
	if t.n++; t.n&4 == 0 {
		return t.Store
	}
	return t.other
}

func (t *turns) Commit(ctx context.Context, r store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	return t.next().Commit(ctx, r, decide)
}

func (t *turns) ClaimTasks(
	ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int, kinds ...store.TaskKind,
) ([]store.Task, error) {
	return t.next().ClaimTasks(ctx, node, due, now, lease, limit, kinds...)
}

func (t *turns) ClaimEvents(ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int) ([]webhook.Event, error) {
	return t.next().ClaimEvents(ctx, node, due, now, lease, limit)
}

// Renew goes through both: a lease is prolonged by the node that has it.
func (t *turns) Renew(ctx context.Context, node string, until time.Time, tasks []store.TaskKey, events []store.EventKey) error {
	return errors.Join(t.Store.Renew(ctx, node, until, tasks, events), t.other.Renew(ctx, node, until, tasks, events))
}

// migrated is a new database with the schema.
func migrated(t testing.TB) string {
	t.Helper()
	url := pgtest.URL(t)
	if err := postgres.Migrate(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	return url
}

func open(t testing.TB, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestBulk(t *testing.T) {
	storetest.RunBulk(t, func(t *testing.T) store.Bulk { return open(t, migrated(t)) })
}
