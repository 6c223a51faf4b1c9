package sqlite

import (
	"context"
	"time"

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
	selectSession = codec.SessionsWithPayouts + ` WHERE s.project = ? AND s.id = ? ORDER BY p.no`
	// The list is walked first, so that each session is one look-up.
	selectSessions = codec.SessionsWithPayouts + ` WHERE s.project = ? AND s.id IN (SELECT value FROM json_each(?)) ORDER BY s.id, p.no`
	// The sessions of a window that are in a state, the newest first, and last the
	// bottom of the window if it is full, as a negative number.
	selectWindow = `WITH seen AS MATERIALIZED (SELECT id, state FROM sessions
			WHERE project = ?1 AND id > ?2 AND (?3 = 0 OR id < ?3) ORDER BY id DESC LIMIT ?4)
		SELECT id FROM (SELECT id FROM seen WHERE ?5 = '' OR state = ?5 ORDER BY id DESC LIMIT ?6)
		UNION ALL SELECT -min(id) FROM seen HAVING count(*) >= ?4`
	selectEntries = `SELECT ` + codec.EntryColumns + ` FROM entries WHERE project = ? AND no > ? ORDER BY no LIMIT ?`
	selectBook    = `SELECT ` + codec.BookColumns + ` FROM books b WHERE b.project = ?`
	selectCard    = `SELECT ciphertext, fingerprint, created_at FROM cards WHERE project = ? AND id = ?`

	// One look-up in each project: returns are few, and an index for them would
	// have to be written with every payout.
	selectAttempt = `SELECT ` + codec.AttemptColumns + ` FROM projects p
		CROSS JOIN attempts a ON a.project = p.id AND a.rail = ? AND a.reference = ? ORDER BY a.no DESC LIMIT 1`

	selectDeliveries = `SELECT ` + codec.DeliveryColumns + ` FROM deliveries WHERE project = ? AND session = ? ORDER BY at, n, no`
	// An empty list of statuses is all of them; a session or a time of 0 is no bound.
	selectEvents = `SELECT ` + codec.OutboxColumns + ` FROM events e
		WHERE e.project = ?1 AND (e.session, e.n) > (?2, ?3) AND (?4 = 0 OR e.session = ?4)
			AND (?5 = '[]' OR e.status IN (SELECT value FROM json_each(?5)))
			AND (?6 = 0 OR e.created_at >= ?6) AND (?7 = 0 OR e.created_at < ?7)
		ORDER BY e.session, e.n LIMIT ?8`
	selectAccount  = `SELECT ` + codec.AccountColumns + ` FROM accounts a WHERE a.project = ? AND a.number = ?`
	selectAccounts = `SELECT ` + codec.AccountColumns + ` FROM accounts a WHERE a.project = ? ORDER BY a.number`
	selectOpening  = `SELECT coalesce(sum(minor), 0) FROM movements WHERE project = ? AND account = ? AND at < ?`
	selectMoved    = `SELECT coalesce(sum(minor), 0) FROM movements WHERE project = ? AND account = ?`
	selectHistory  = `SELECT ` + codec.HistoryColumns + ` FROM movements m
		CROSS JOIN entries e ON e.project = m.project AND e.no = m.no
		LEFT JOIN payouts p ON p.project = e.project AND p.session = e.session AND p.id = e.payout
		WHERE m.project = ? AND m.account = ? AND m.at >= ? AND m.at < ? ORDER BY m.no`
	selectAlarms = `SELECT ` + codec.AlarmColumns + ` FROM alarms ORDER BY id DESC LIMIT ?`
)

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, k store.SessionKey) (*session.Session, error) {
	rows, err := s.sessionByKey.QueryContext(ctx, k.Project, k.Session)
	found, err := one(codec.Sessions(all(rows, err, codec.ScanSessionWithPayout)))
	if err != nil {
		return nil, s.failed(err, "read %s", k.Session)
	}
	return found, nil
}

// Sessions implements store.Store.
func (s *Store) Sessions(ctx context.Context, q store.SessionQuery) ([]*session.Session, id.Session, error) {
	page, next, err := codec.Page(ctx, q, s.SessionsByID, func(ctx context.Context, q store.SessionQuery) (found []id.Session, err error) {
		rows, err := s.readers.QueryContext(ctx, selectWindow, q.Project, q.After, q.Before, q.Scan, q.State, q.Limit)
		return codec.Collect(all(rows, err, codec.ScanSessionID))
	})
	if err != nil {
		return nil, 0, s.failed(err, "read sessions of %s", q.Project)
	}
	return page, next, nil
}

// SessionsByID implements store.Store.
func (s *Store) SessionsByID(ctx context.Context, p id.Project, sessions []id.Session) ([]*session.Session, error) {
	wanted, err := list(append([]id.Session{}, sessions...))
	if err != nil {
		return nil, failed(err, "read sessions of %s", p)
	}
	rows, err := s.readers.QueryContext(ctx, selectSessions, p, wanted)
	found, err := codec.Collect(codec.Sessions(all(rows, err, codec.ScanSessionWithPayout)))
	if err != nil {
		return nil, s.failed(err, "read sessions of %s", p)
	}
	return found, nil
}

// Entries implements store.Store.
func (s *Store) Entries(ctx context.Context, p id.Project, after int64, limit int) ([]ledger.Entry, error) {
	rows, err := s.readers.QueryContext(ctx, selectEntries, p, after, max(limit, 0))
	found, err := codec.Collect(all(rows, err, codec.ScanEntry))
	if err != nil {
		return nil, s.failed(err, "read the entries of %s", p)
	}
	return found, nil
}

// Book implements store.Store.
func (s *Store) Book(ctx context.Context, p id.Project) (*ledger.Book, error) {
	rows, err := s.bookByProject.QueryContext(ctx, p)
	b, err := one(all(rows, err, codec.ScanBook))
	if err != nil {
		return nil, s.failed(err, "read the book of %s", p)
	}
	return b, nil
}

// Card implements store.Store.
func (s *Store) Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error) {
	sealed := vault.Sealed{Project: p, ID: c}
	var created int64
	err := s.cardByID.QueryRowContext(ctx, p, c).Scan(&sealed.Ciphertext, &sealed.Fingerprint, &created)
	if err != nil {
		return vault.Sealed{}, s.failed(err, "read a sealed card of %s", p)
	}
	sealed.CreatedAt = codec.Instant(created)
	return sealed, nil
}

// Events implements store.Store.
func (s *Store) Events(ctx context.Context, q store.EventQuery) ([]webhook.Event, error) {
	wanted, err := list(append([]webhook.Status{}, q.Status...))
	if err != nil {
		return nil, failed(err, "read the events of %s", q.Project)
	}
	rows, err := s.readers.QueryContext(ctx, selectEvents, q.Project, q.After.Session, q.After.N, q.Session, wanted,
		codec.Micros(q.From), codec.Micros(q.To), max(q.Limit, 0))
	events, err := codec.Collect(all(rows, err, codec.ScanEvent))
	if err != nil {
		return nil, s.failed(err, "read the events of %s", q.Project)
	}
	return events, nil
}

// FindAttempt implements store.Store.
func (s *Store) FindAttempt(ctx context.Context, rail, reference string) (store.Attempt, error) {
	rows, err := s.readers.QueryContext(ctx, selectAttempt, rail, reference)
	a, err := one(all(rows, err, codec.ScanAttempt))
	if err != nil {
		return store.Attempt{}, s.failed(err, "find the attempt of a reference of the rail %s", rail)
	}
	return a, nil
}

// Deliveries implements store.Store.
func (s *Store) Deliveries(ctx context.Context, k store.SessionKey) ([]webhook.Attempt, error) {
	rows, err := s.readers.QueryContext(ctx, selectDeliveries, k.Project, k.Session)
	log, err := codec.Collect(all(rows, err, codec.ScanDelivery))
	if err != nil {
		return nil, s.failed(err, "read the deliveries of %s", k.Session)
	}
	return log, nil
}

// Account implements store.Store.
func (s *Store) Account(ctx context.Context, k store.AccountKey) (*store.Account, error) {
	rows, err := s.readers.QueryContext(ctx, selectAccount, k.Project, k.Number)
	a, err := one(all(rows, err, codec.ScanAccount))
	if err != nil {
		return nil, s.failed(err, "read an account of %s", k.Project)
	}
	return &a, nil
}

// Accounts implements store.Store.
func (s *Store) Accounts(ctx context.Context, p id.Project) ([]store.Account, error) {
	rows, err := s.readers.QueryContext(ctx, selectAccounts, p)
	accounts, err := codec.Collect(all(rows, err, codec.ScanAccount))
	if err != nil {
		return nil, s.failed(err, "read the accounts of %s", p)
	}
	return accounts, nil
}

// AccountHistory implements store.Store. What was before comes no more after it was
// read, so that two reads make one state.
func (s *Store) AccountHistory(ctx context.Context, k store.AccountKey, from, to time.Time) (store.AccountHistory, error) {
	var of store.AccountHistory
	err := s.readers.QueryRowContext(ctx, selectOpening, k.Project, k.Number, codec.Micros(from)).Scan(&of.Opening)
	if err == nil {
		rows, queried := s.readers.QueryContext(ctx, selectHistory, k.Project, k.Number, codec.Micros(from), codec.Micros(to))
		of.Movements, err = codec.Collect(all(rows, queried, codec.ScanAccountMovement))
	}
	if err != nil {
		return store.AccountHistory{}, s.failed(err, "read the statement of an account of %s", k.Project)
	}
	return of, nil
}

// Alarms implements store.Store.
func (s *Store) Alarms(ctx context.Context, limit int) ([]store.Alarm, error) {
	rows, err := s.readers.QueryContext(ctx, selectAlarms, max(limit, 0))
	alarms, err := codec.Collect(all(rows, err, codec.ScanAlarm))
	if err != nil {
		return nil, s.failed(err, "read the alarms")
	}
	return alarms, nil
}

// Setting implements store.Store.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	if err := s.readers.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = ?`, name).Scan(&value); err != nil {
		return nil, s.failed(err, "read setting %s", name)
	}
	return value, nil
}

// PutSetting implements store.Store.
func (s *Store) PutSetting(ctx context.Context, name string, value []byte) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		_, err := s.writer.exec(`INSERT INTO settings (name, value) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, codec.Blob(value))
		return true, err
	})
	if err != nil {
		return failed(err, "write setting %s", name)
	}
	return nil
}

// AddSetting implements store.Store.
func (s *Store) AddSetting(ctx context.Context, name string, value []byte) ([]byte, error) {
	err := s.writer.transact(ctx, func() (bool, error) {
		added, err := s.writer.exec(`INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, codec.Blob(value))
		return added > 0, err
	})
	if err != nil {
		return nil, failed(err, "add setting %s", name)
	}
	return s.Setting(ctx, name)
}

// SwapSetting implements store.Store.
func (s *Store) SwapSetting(ctx context.Context, name string, old, value []byte) error {
	err := s.writer.transact(ctx, func() (bool, error) {
		changed, err := s.writer.exec(`UPDATE settings SET value = ? WHERE name = ? AND value IN (?, ?)`,
			codec.Blob(value), name, codec.Blob(old), codec.Blob(value))
		if err == nil && changed == 0 {
			err = fault.New(fault.Busy, "it was changed by somebody else: read it again")
		}
		return true, err
	})
	if err != nil {
		return failed(err, "change setting %s", name)
	}
	return nil
}
