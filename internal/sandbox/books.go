package sandbox

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"iter"
	"net/url"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
)

// The schema. payments is what a rail knows of each reference; executions is
// the money that moved, without a rule that would hide a second payment.
const schema = `
CREATE TABLE IF NOT EXISTS payments (
	rail       TEXT    NOT NULL,
	reference  TEXT    NOT NULL,
	payee      BLOB    NOT NULL, -- keyed fingerprint of the destination
	minor      INTEGER NOT NULL,
	currency   TEXT    NOT NULL,
	outcome    TEXT    NOT NULL,
	code       TEXT    NOT NULL,
	requests   INTEGER NOT NULL, -- how often Send came
	asked      INTEGER NOT NULL, -- how often Query came while the answer was withheld
	reached_at INTEGER NOT NULL, -- microseconds; when the request came that reached the rail
	PRIMARY KEY (rail, reference)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS executions (
	n         INTEGER PRIMARY KEY,
	rail      TEXT    NOT NULL,
	reference TEXT    NOT NULL,
	minor     INTEGER NOT NULL,
	currency  TEXT    NOT NULL,
	at        INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS returns ( -- of payments that come back, whether they have by now or not
	rail      TEXT    NOT NULL,
	reference TEXT    NOT NULL, -- of the payment
	at        INTEGER NOT NULL,
	taken     INTEGER NOT NULL, -- 1 once payoutd has taken it
	PRIMARY KEY (rail, reference)
) STRICT, WITHOUT ROWID;`

const (
	addPayment = `INSERT INTO payments (rail, reference, payee, minor, currency, outcome, code, requests, asked, reached_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, 1, 0, ?) ON CONFLICT DO NOTHING`
	findPayment = `SELECT payee, minor, currency, outcome, code, requests, asked, reached_at
		FROM payments WHERE rail = ? AND reference = ?`
	setPayment   = `UPDATE payments SET requests = ?, asked = ?, reached_at = ? WHERE rail = ? AND reference = ?`
	addReturn    = `INSERT INTO returns (rail, reference, at, taken) VALUES (?, ?, ?, 0)`
	addExecution = `INSERT INTO executions (rail, reference, minor, currency, at) VALUES (?, ?, ?, ?, ?)`
)

// batchMax bounds how many calls one transaction answers.
const batchMax = 256

// company is how long a call waits for others where no disk makes it wait: a
// transaction for each costs a machine that is measured more than the calls do.
const company = 2 * time.Millisecond

// errOther refuses a reference that stands for another payment already.
var errOther = fault.New(fault.Invalid, "the reference belongs to another payment already")

// payment is what a rail knows of one reference.
type payment struct {
	rail      string
	reference string
	payee     []byte
	amount    money.Amount
	script    script
	requests  int
	asked     int
	reachedAt time.Time
}

// same reports whether both pay the same amount to the same payee.
func (p payment) same(q payment) bool {
	return bytes.Equal(p.payee, q.payee) && p.amount == q.amount
}

// books are the durable records of the world. One goroutine writes: it gathers
// the calls that came while the last transaction was in flight, so that many of
// them share the wait for the disk. All that is known is in the file, so that
// several processes may share it.
type books struct {
	writer, reader *sql.DB
	add, find      *sql.Stmt
	set, execute   *sql.Stmt
	wait           time.Duration // of the first call of a batch

	queue   chan call
	quit    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

// call is work that waits for the next transaction. An error of it is one of
// the database and undoes the batch; a refusal is work's own affair.
type call struct {
	work func(*sql.Tx) error
	done chan error // one place, so that the goroutine never waits for a caller who left
}

func openBooks(path string, noSync bool) (_ *books, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // else SQLite would make it readable to everybody
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	b := &books{queue: make(chan call), quit: make(chan struct{}), stopped: make(chan struct{})}
	sync := "synchronous(FULL)"
	if noSync {
		sync, b.wait = "synchronous(OFF)", company
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.closeFiles())
		}
	}()
	if b.writer, err = openFile(path, "immediate", "busy_timeout(10000)", "journal_mode(WAL)", sync); err != nil {
		return nil, err
	}
	b.writer.SetMaxOpenConns(1)
	if _, err := b.writer.Exec(schema + taxSchema); err != nil {
		return nil, err
	}
	for stmt, text := range map[**sql.Stmt]string{&b.add: addPayment, &b.find: findPayment, &b.set: setPayment, &b.execute: addExecution} {
		if *stmt, err = b.writer.Prepare(text); err != nil {
			return nil, err
		}
	}
	if b.reader, err = openFile(path, "deferred", "busy_timeout(10000)", "query_only(1)"); err != nil {
		return nil, err
	}
	go b.run()
	return b, nil
}

func openFile(path, lock string, pragmas ...string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{"_txlock": {lock}, "_pragma": pragmas}.Encode()}
	return sql.Open("sqlite", dsn.String())
}

// close waits for the transaction in flight; later calls are refused.
func (b *books) close() (err error) {
	b.once.Do(func() {
		close(b.quit)
		<-b.stopped
		err = b.closeFiles()
	})
	return err
}

func (b *books) closeFiles() (err error) {
	for _, db := range []*sql.DB{b.reader, b.writer} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

func (b *books) run() {
	defer close(b.stopped)
	for {
		select {
		case first := <-b.queue:
			time.Sleep(b.wait)
			b.answer(b.gather(first))
		case <-b.quit:
			return
		}
	}
}

// gather takes what waits already, and waits for nothing.
func (b *books) gather(first call) []call {
	batch := []call{first}
	for len(batch) < batchMax {
		select {
		case next := <-b.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (b *books) answer(batch []call) {
	err := b.commit(batch)
	for _, c := range batch {
		c.done <- err
	}
}

func (b *books) commit(batch []call) error {
	tx, err := b.writer.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	for _, c := range batch {
		if err := c.work(tx); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// do returns when the transaction that holds work is durable. An error leaves
// open whether it is.
func (b *books) do(ctx context.Context, work func(*sql.Tx) error) error {
	c := call{work, make(chan error, 1)}
	select {
	case b.queue <- c:
	case <-b.quit:
		return fault.New(fault.Busy, "the simulated world has ended")
	case <-ctx.Done():
		return tooLate(ctx)
	}
	select {
	case err := <-c.done:
		if err != nil {
			return fault.Wrap(fault.Internal, err, "books of the simulated world")
		}
		return nil
	case <-ctx.Done():
		return tooLate(ctx)
	}
}

// receipt is what the books say of a request or a question.
type receipt struct {
	payment payment
	found   bool // the reference was known
	reached bool // this request is the one that reached the rail
}

// take books that a request came, and the execution if it is the request that
// reaches the rail and the script pays. errOther if the reference stands for
// another payment.
func (b *books) take(ctx context.Context, p payment, now time.Time) (receipt, error) {
	var r receipt // the transaction's until do returns without an error
	if err := b.do(ctx, func(tx *sql.Tx) (err error) { r, err = b.takeIn(tx, p, now); return err }); err != nil {
		return receipt{}, err
	}
	if !r.payment.same(p) {
		return receipt{}, errOther
	}
	return r, nil
}

func (b *books) takeIn(tx *sql.Tx, p payment, now time.Time) (receipt, error) {
	added, err := tx.Stmt(b.add).Exec(p.rail, p.reference, p.payee, p.amount.Minor, string(p.amount.Currency),
		string(p.script.outcome), string(p.script.code), now.UnixMicro())
	if err != nil {
		return receipt{}, err
	}
	if n, err := added.RowsAffected(); err != nil {
		return receipt{}, err
	} else if n == 1 {
		p.requests, p.reachedAt = 1, micro(now)
		return receipt{p, false, p.reached()}, b.move(tx, p, p.reached())
	}
	known, err := b.read(tx, p.rail, p.reference)
	if err != nil {
		return receipt{}, err
	}
	if !known.same(p) {
		return receipt{known, true, false}, nil // take refuses it, and it counts as no request
	}
	before := known.reached()
	known.requests++
	reached := !before && known.reached()
	if reached {
		known.reachedAt = micro(now)
	}
	if err := b.write(tx, known); err != nil {
		return receipt{}, err
	}
	return receipt{known, true, reached}, b.move(tx, known, reached)
}

// move books that the money of p moves, if this request reached the rail and
// the script pays.
func (b *books) move(tx *sql.Tx, p payment, reached bool) error {
	if !reached || !p.script.pays() {
		return nil
	}
	if _, err := tx.Stmt(b.execute).Exec(p.rail, p.reference, p.amount.Minor, string(p.amount.Currency), p.reachedAt.UnixMicro()); err != nil {
		return err
	}
	if p.script.outcome != Returned {
		return nil
	}
	_, err := tx.Exec(addReturn, p.rail, p.reference, p.reachedAt.Add(returnDelay).UnixMicro())
	return err
}

// ask returns what is known of a reference, and counts the question where the
// script withholds the answer from the first ones.
func (b *books) ask(ctx context.Context, rail, reference string) (receipt, error) {
	var r receipt // the transaction's until do returns without an error
	if err := b.do(ctx, func(tx *sql.Tx) (err error) { r, err = b.askIn(tx, rail, reference); return err }); err != nil {
		return receipt{}, err
	}
	return r, nil
}

func (b *books) askIn(tx *sql.Tx, rail, reference string) (receipt, error) {
	p, err := b.read(tx, rail, reference)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return receipt{}, nil
	case err != nil:
		return receipt{}, err
	case !p.withheld():
		return receipt{payment: p, found: true}, nil
	}
	counted := p
	counted.asked++
	return receipt{payment: p, found: true}, b.write(tx, counted)
}

func (b *books) read(tx *sql.Tx, rail, reference string) (payment, error) {
	p := payment{rail: rail, reference: reference}
	var reachedAt int64
	err := tx.Stmt(b.find).QueryRow(rail, reference).Scan(&p.payee, &p.amount.Minor, &p.amount.Currency,
		&p.script.outcome, &p.script.code, &p.requests, &p.asked, &reachedAt)
	p.reachedAt = time.UnixMicro(reachedAt).UTC()
	return p, err
}

func (b *books) write(tx *sql.Tx, p payment) error {
	_, err := tx.Stmt(b.set).Exec(p.requests, p.asked, p.reachedAt.UnixMicro(), p.rail, p.reference)
	return err
}

func (b *books) executions(ctx context.Context) iter.Seq2[Execution, error] {
	return func(yield func(Execution, error) bool) {
		rows, err := b.reader.QueryContext(ctx, `SELECT rail, reference, minor, currency, at FROM executions ORDER BY n`)
		if err != nil {
			yield(Execution{}, fault.Wrap(fault.Internal, err, "list the executions"))
			return
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var e Execution
			var at int64
			err := rows.Scan(&e.Rail, &e.Reference, &e.Amount.Minor, &e.Amount.Currency, &at)
			e.At = time.UnixMicro(at).UTC()
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Execution{}, fault.Wrap(fault.Internal, err, "list the executions"))
		}
	}
}

func (b *books) totals(ctx context.Context) ([]Total, error) {
	rows, err := b.reader.QueryContext(ctx, `SELECT rail, count(*), sum(minor), currency FROM executions GROUP BY rail, currency ORDER BY rail, currency`)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "sum the executions")
	}
	defer func() { _ = rows.Close() }()
	var totals []Total
	for rows.Next() {
		var t Total
		if err := rows.Scan(&t.Rail, &t.Count, &t.Paid.Minor, &t.Paid.Currency); err != nil {
			return nil, fault.Wrap(fault.Internal, err, "sum the executions")
		}
		totals = append(totals, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "sum the executions")
	}
	return totals, nil
}

// micro cuts a time to what the books keep.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
