package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/codec"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

const (
	selectSession  = codec.SessionsWithPayouts + ` WHERE s.project = $1 AND s.id = $2 ORDER BY p.no`
	selectSessions = codec.SessionsWithPayouts + ` WHERE s.project = $1 AND s.id = ANY($2::bigint[]) ORDER BY s.id, p.no`
	// The sessions of a window that are in a state, the newest first, and last the
	// bottom of the window if it is full, as a negative number.
	selectWindow = `WITH seen AS MATERIALIZED (SELECT id, state FROM sessions
			WHERE project = $1 AND id > $2::bigint AND ($3::bigint = 0 OR id < $3) ORDER BY id DESC LIMIT $4::bigint)
		SELECT id FROM (SELECT id FROM seen WHERE $5::text = '' OR state = $5 ORDER BY id DESC LIMIT $6::bigint) f
		UNION ALL SELECT -min(id) FROM seen HAVING count(*) >= $4::bigint`
	selectEntries = `SELECT ` + codec.EntryColumns + ` FROM entries WHERE project = $1 AND no > $2 ORDER BY no LIMIT $3`
	selectBook    = `SELECT ` + codec.BookColumns + ` FROM books b WHERE b.project = $1`
	selectCard    = `SELECT ciphertext, fingerprint, created_at FROM cards WHERE project = $1 AND id = $2`
	// One look-up in each project: returns are few, and an index for them would
	// have to be written with every payout.
	selectAttempt = `SELECT ` + codec.AttemptColumns + ` FROM projects p
		JOIN attempts a ON a.project = p.id AND a.rail = $1 AND a.reference = $2 ORDER BY a.no DESC LIMIT 1`
	selectDeliveries = `SELECT ` + codec.DeliveryColumns + ` FROM deliveries
		WHERE project = $1 AND session = $2 ORDER BY at, n, no`
	// An empty list of statuses is all of them; a session or a time of 0 is no bound.
	selectEvents = `SELECT ` + codec.OutboxColumns + ` FROM events e
		WHERE e.project = $1 AND (e.session, e.n) > ($2::bigint, $3::bigint) AND ($4::bigint = 0 OR e.session = $4)
			AND (cardinality($5::text[]) = 0 OR e.status = ANY($5))
			AND ($6::bigint = 0 OR e.created_at >= $6) AND ($7::bigint = 0 OR e.created_at < $7)
		ORDER BY e.session, e.n LIMIT $8`
	selectAccount  = `SELECT ` + codec.AccountColumns + ` FROM accounts a WHERE a.project = $1 AND a.number = $2`
	selectAccounts = `SELECT ` + codec.AccountColumns + ` FROM accounts a WHERE a.project = $1 ORDER BY a.number`
	selectOpening  = `SELECT coalesce(sum(minor), 0)::bigint FROM movements WHERE project = $1 AND account = $2 AND at < $3`
	selectMoved    = `SELECT coalesce(sum(minor), 0)::bigint FROM movements WHERE project = $1 AND account = $2`
	// The limits let no planner read a table in place of looking up a row.
	selectHistory = `SELECT ` + codec.HistoryColumns + ` FROM movements m
		CROSS JOIN LATERAL (SELECT * FROM entries e WHERE e.project = m.project AND e.no = m.no LIMIT 1) e
		LEFT JOIN LATERAL (
			SELECT p.progress FROM payouts p WHERE p.project = e.project AND p.session = e.session AND p.id = e.payout LIMIT 1
		) p ON true
		WHERE m.project = $1 AND m.account = $2 AND m.at >= $3 AND m.at < $4 ORDER BY m.no`
	selectAlarms = `SELECT ` + codec.AlarmColumns + ` FROM alarms ORDER BY id DESC LIMIT $1`
)

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, k store.SessionKey) (found *session.Session, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectSession, k.Project, k.Session)
		found, err = one(codec.Sessions(all(rows, err, codec.ScanSessionWithPayout)))
		return err
	})
	if err != nil {
		return nil, failed(err, "read %s", k.Session)
	}
	return found, nil
}

// Sessions implements store.Store.
func (s *Store) Sessions(ctx context.Context, q store.SessionQuery) ([]*session.Session, id.Session, error) {
	page, next, err := codec.Page(ctx, q, s.SessionsByID, func(ctx context.Context, q store.SessionQuery) (found []id.Session, err error) {
		return list(ctx, s, codec.ScanSessionID, selectWindow, text(q.Project), int64(q.After), int64(q.Before), q.Scan, string(q.State), q.Limit)
	})
	if err != nil {
		return nil, 0, failed(err, "read sessions of %s", q.Project)
	}
	return page, next, nil
}

// SessionsByID implements store.Store.
func (s *Store) SessionsByID(ctx context.Context, p id.Project, sessions []id.Session) (found []*session.Session, err error) {
	wanted := column(sessions, func(s id.Session) int64 { return int64(s) })
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectSessions, text(p), wanted)
		found, err = codec.Collect(codec.Sessions(all(rows, err, codec.ScanSessionWithPayout)))
		return err
	})
	if err != nil {
		return nil, failed(err, "read sessions of %s", p)
	}
	return found, nil
}

// Entries implements store.Store.
func (s *Store) Entries(ctx context.Context, p id.Project, after int64, limit int) ([]ledger.Entry, error) {
	found, err := list(ctx, s, codec.ScanEntry, selectEntries, text(p), after, max(limit, 0))
	if err != nil {
		return nil, failed(err, "read the entries of %s", p)
	}
	return found, nil
}

// Book implements store.Store.
func (s *Store) Book(ctx context.Context, p id.Project) (book *ledger.Book, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectBook, p)
		book, err = one(all(rows, err, codec.ScanBook))
		return err
	})
	if err != nil {
		return nil, failed(err, "read the book of %s", p)
	}
	return book, nil
}

// Card implements store.Store.
func (s *Store) Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error) {
	sealed := vault.Sealed{Project: p, ID: c}
	var created int64
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, selectCard, p, c).Scan(&sealed.Ciphertext, &sealed.Fingerprint, &created)
	})
	if err != nil {
		return vault.Sealed{}, failed(err, "read a sealed card of %s", p)
	}
	sealed.CreatedAt = codec.Instant(created)
	return sealed, nil
}

// Events implements store.Store.
func (s *Store) Events(ctx context.Context, q store.EventQuery) ([]webhook.Event, error) {
	wanted := column(q.Status, func(s webhook.Status) string { return string(s) })
	events, err := list(ctx, s, codec.ScanEvent, selectEvents, text(q.Project), int64(q.After.Session), q.After.N, int64(q.Session),
		wanted, codec.Micros(q.From), codec.Micros(q.To), max(q.Limit, 0))
	if err != nil {
		return nil, failed(err, "read the events of %s", q.Project)
	}
	return events, nil
}

// FindAttempt implements store.Store.
func (s *Store) FindAttempt(ctx context.Context, rail, reference string) (found store.Attempt, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectAttempt, rail, reference)
		found, err = one(all(rows, err, codec.ScanAttempt))
		return err
	})
	if err != nil {
		return store.Attempt{}, failed(err, "find the attempt of a reference of the rail %s", rail)
	}
	return found, nil
}

// Deliveries implements store.Store.
func (s *Store) Deliveries(ctx context.Context, k store.SessionKey) ([]webhook.Attempt, error) {
	log, err := list(ctx, s, codec.ScanDelivery, selectDeliveries, k.Project, k.Session)
	if err != nil {
		return nil, failed(err, "read the deliveries of %s", k.Session)
	}
	return log, nil
}

// Account implements store.Store.
func (s *Store) Account(ctx context.Context, k store.AccountKey) (*store.Account, error) {
	var a store.Account
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectAccount, k.Project, k.Number)
		a, err = one(all(rows, err, codec.ScanAccount))
		return err
	})
	if err != nil {
		return nil, failed(err, "read an account of %s", k.Project)
	}
	return &a, nil
}

// Accounts implements store.Store.
func (s *Store) Accounts(ctx context.Context, p id.Project) ([]store.Account, error) {
	accounts, err := list(ctx, s, codec.ScanAccount, selectAccounts, text(p))
	if err != nil {
		return nil, failed(err, "read the accounts of %s", p)
	}
	return accounts, nil
}

// AccountHistory implements store.Store. What was before comes no more after it was
// read, so that two reads make one state.
func (s *Store) AccountHistory(ctx context.Context, k store.AccountKey, from, to time.Time) (store.AccountHistory, error) {
	var of store.AccountHistory
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, selectOpening, text(k.Project), k.Number, codec.Micros(from)).Scan(&of.Opening)
	})
	if err == nil {
		of.Movements, err = list(ctx, s, codec.ScanAccountMovement, selectHistory, text(k.Project), k.Number, codec.Micros(from), codec.Micros(to))
	}
	if err != nil {
		return store.AccountHistory{}, failed(err, "read the statement of an account of %s", k.Project)
	}
	return of, nil
}

// Alarms implements store.Store.
func (s *Store) Alarms(ctx context.Context, limit int) ([]store.Alarm, error) {
	alarms, err := list(ctx, s, codec.ScanAlarm, selectAlarms, max(limit, 0))
	if err != nil {
		return nil, failed(err, "read the alarms")
	}
	return alarms, nil
}

// Setting implements store.Store.
func (s *Store) Setting(ctx context.Context, name string) (value []byte, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT value FROM settings WHERE name = $1`, name).Scan(&value)
	})
	if err != nil {
		return nil, failed(err, "read setting %s", name)
	}
	return value, nil
}

// PutSetting implements store.Store.
func (s *Store) PutSetting(ctx context.Context, name string, value []byte) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, codec.Blob(value))
		return err
	})
	if err != nil {
		return failed(err, "write setting %s", name)
	}
	return nil
}

// AddSetting implements store.Store. Settings are never removed, so the one
// that was in the way is there to be read.
func (s *Store) AddSetting(ctx context.Context, name string, value []byte) (there []byte, err error) {
	err = s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, codec.Blob(value))
		if err != nil {
			return err
		}
		return conn.QueryRow(ctx, `SELECT value FROM settings WHERE name = $1`, name).Scan(&there)
	})
	if err != nil {
		return nil, failed(err, "add setting %s", name)
	}
	return there, nil
}

// SwapSetting implements store.Store.
func (s *Store) SwapSetting(ctx context.Context, name string, old, value []byte) error {
	err := s.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		changed, err := conn.Exec(ctx, `UPDATE settings SET value = $3 WHERE name = $1 AND value IN ($2, $3)`,
			name, codec.Blob(old), codec.Blob(value))
		if err == nil && changed.RowsAffected() == 0 {
			err = fault.New(fault.Busy, "it was changed by somebody else: read it again")
		}
		return err
	})
	if err != nil {
		return failed(err, "change setting %s", name)
	}
	return nil
}

// list reads all rows of a query; nil where there are none.
func list[T any](ctx context.Context, s *Store, scan func(codec.Row) (T, error), query string, args ...any) (rows []T, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		result, err := conn.Query(ctx, query, args...)
		rows, err = codec.Collect(all(result, err, scan))
		return err
	})
	return rows, err
}
