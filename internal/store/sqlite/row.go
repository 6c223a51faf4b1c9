package sqlite

import (
	"database/sql"
	"encoding/json"
	"iter"

	"github.com/payoutd/payoutd/internal/store/codec"
)

// all walks a result. An error ends it as the last pair; err is that of the
// query itself.
func all[T any](rows *sql.Rows, err error, scan func(codec.Row) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err != nil {
			yield(none, err)
			return
		}
		defer func() { _ = rows.Close() }()
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

// one returns the first row of a result; sql.ErrNoRows if it has none.
func one[T any](seq iter.Seq2[T, error]) (T, error) {
	for row, err := range seq {
		return row, err
	}
	var none T
	return none, sql.ErrNoRows
}

// list is an argument for json_each: many keys in one statement.
func list(keys any) (string, error) {
	b, err := json.Marshal(keys)
	return string(b), err
}
