package postgres

import (
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
)

// all walks a result. An error ends it as the last pair; err is that of the
// query itself.
func all[T any](rows pgx.Rows, err error, scan func(codec.Row) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err != nil {
			yield(none, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			row, err := scan(rows)
			if !yield(row, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, err)
		}
	}
}

// one returns the first row of a result; pgx.ErrNoRows if it has none.
func one[T any](seq iter.Seq2[T, error]) (T, error) {
	for row, err := range seq {
		return row, err
	}
	var none T
	return none, pgx.ErrNoRows
}

// keyOf names the session of a row.
func keyOf(s *session.Session) store.SessionKey {
	return store.SessionKey{Project: s.Project, Session: s.ID}
}

// text is a project as the driver sends it fastest.
func text(p id.Project) string { return string(p) }
