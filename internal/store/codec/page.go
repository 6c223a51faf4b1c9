package codec

import (
	"context"
	"slices"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

// ScanSessionID reads the number of a session.
func ScanSessionID(row Row) (s id.Session, err error) { return s, row.Scan(&s) }

// Page makes a page of sessions. window gives the numbers of those that the
// query selects, and as a negative number where it has stopped looking, if that
// was not the end; read reads them.
func Page(
	ctx context.Context, q store.SessionQuery, read func(context.Context, id.Project, []id.Session) ([]*session.Session, error),
	window func(context.Context, store.SessionQuery) ([]id.Session, error),
) (page []*session.Session, next id.Session, err error) {
	if q.Limit <= 0 {
		return nil, 0, nil
	}
	limit := q.Limit
	q.Limit++ // one more tells whether there is more
	if q.State == "" || q.Scan < q.Limit {
		q.Scan = q.Limit
	}
	found, err := window(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	var numbers []id.Session
	for _, n := range found {
		if n < 0 {
			next = -n
		} else {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) > limit {
		slices.Sort(numbers)
		numbers = numbers[1:]
		next = numbers[0]
	}
	if len(numbers) == 0 {
		return nil, next, nil
	}
	page, err = read(ctx, q.Project, numbers)
	slices.Reverse(page)
	return page, next, err
}
