package sandbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
)

// Outcomes of a request to link a self-employed person.
const (
	LinkConfirmed Outcome = "link_confirmed"
	LinkRejected  Outcome = "link_rejected"
	LinkBroken    Outcome = "link_broken"
)

// kindINN is the Kind of magic INNs.
const kindINN = "inn"

// linkPlan says what magic INNs do, by the number before their check digits.
var linkPlan = []struct {
	number      int
	outcome     Outcome
	code        fault.Code
	description string
}{
	{41, LinkConfirmed, "", "a request to link is confirmed when it is asked about"},
	{42, LinkRejected, "", "a request to link is declined when it is asked about"},
	{43, LinkBroken, "npd_service_internal_error", "the tax service does not answer"},
}

var links = func() map[string]Outcome {
	m := map[string]Outcome{}
	for _, p := range linkPlan {
		m[innOf(p.number)] = p.outcome
	}
	return m
}()

// innOf makes the INN of a person with a number; its check digits are right.
func innOf(number int) string {
	for digits := range 100 {
		if s := fmt.Sprintf("77131000%02d%02d", number, digits); instrument.INN(s) {
			return s
		}
	}
	panic(fmt.Sprintf("no check digits fit the INN with number %d", number))
}

// LinkValues lists the magic INNs.
func LinkValues() []Value {
	var values []Value
	for _, p := range linkPlan {
		values = append(values, Value{kindINN, innOf(p.number), p.outcome, p.code, p.description})
	}
	return values
}

// Link is a request to link a self-employed person, as the tax service has it.
type Link struct {
	INN   string    `json:"tax_reference"`
	State LinkState `json:"state"`
	// At is when the request came, of the sandbox's clock.
	At time.Time `json:"requested_at"`
}

// LinkState is how such a request stands.
type LinkState string

// The states.
const (
	LinkNone      LinkState = "none"
	LinkRequested LinkState = "requested"
	LinkLinked    LinkState = "linked"
	LinkDeclined  LinkState = "rejected"
)

const linkSchema = `
CREATE TABLE IF NOT EXISTS links (
	inn   TEXT    NOT NULL PRIMARY KEY,
	state TEXT    NOT NULL,
	at    INTEGER NOT NULL -- microseconds; when the request came
) STRICT, WITHOUT ROWID;`

// errTax is what a magic INN makes of every question.
var errTax = fault.New("npd_service_internal_error", "the tax service does not answer")

// RequestLink asks the person with an INN to let income be registered for them.
// A request that was declined is asked again; who is linked stays so.
func (w *World) RequestLink(ctx context.Context, inn string) (LinkState, error) {
	if links[inn] == LinkBroken {
		return "", errTax
	}
	now := w.clock.Now().UnixMicro()
	var state LinkState
	err := w.books.do(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO links (inn, state, at) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET state = excluded.state, at = excluded.at WHERE state = ?`, inn, LinkRequested, now, LinkDeclined)
		if err != nil {
			return err
		}
		return tx.QueryRow(`SELECT state FROM links WHERE inn = ?`, inn).Scan(&state)
	})
	return state, err
}

// Link says how a request stands; a magic INN decides it when it is asked about.
func (w *World) Link(ctx context.Context, inn string) (LinkState, error) {
	switch links[inn] {
	case LinkConfirmed:
		return w.decide(ctx, inn, LinkLinked)
	case LinkRejected:
		return w.decide(ctx, inn, LinkDeclined)
	case LinkBroken:
		return "", errTax
	}
	state := LinkNone
	err := w.books.reader.QueryRowContext(ctx, `SELECT state FROM links WHERE inn = ?`, inn).Scan(&state)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fault.Wrap(fault.Internal, err, "books of the simulated world")
	}
	return state, nil
}

// DecideLink is the person's answer in the tax service's app: fault.NotFound
// where nothing was asked, fault.WrongState where it was answered before.
func (w *World) DecideLink(ctx context.Context, inn string, allow bool) error {
	to := LinkDeclined
	if allow {
		to = LinkLinked
	}
	before, err := w.Link(ctx, inn)
	switch {
	case err != nil:
		return err
	case before == LinkNone:
		return fault.New(fault.NotFound, "no request to link %s", inn)
	case before != LinkRequested:
		return fault.New(fault.WrongState, "the request to link %s was answered: %s", inn, before)
	}
	_, err = w.decide(ctx, inn, to)
	return err
}

// decide answers a request that awaits an answer, and says how it stands then.
func (w *World) decide(ctx context.Context, inn string, to LinkState) (LinkState, error) {
	state := LinkNone
	err := w.books.do(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`UPDATE links SET state = ? WHERE inn = ? AND state = ?`, to, inn, LinkRequested); err != nil {
			return err
		}
		if err := tx.QueryRow(`SELECT state FROM links WHERE inn = ?`, inn).Scan(&state); !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return nil
	})
	return state, err
}

// Links lists all requests, the newest first.
func (w *World) Links(ctx context.Context) ([]Link, error) {
	rows, err := w.books.reader.QueryContext(ctx, `SELECT inn, state, at FROM links ORDER BY at DESC, inn`)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the requests to link")
	}
	defer func() { _ = rows.Close() }()
	list := []Link{} // an empty JSON array, not null
	for rows.Next() {
		var l Link
		var at int64
		if err := rows.Scan(&l.INN, &l.State, &at); err != nil {
			return nil, fault.Wrap(fault.Internal, err, "list the requests to link")
		}
		l.At = time.UnixMicro(at).UTC()
		list = append(list, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "list the requests to link")
	}
	return list, nil
}
