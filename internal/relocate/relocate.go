// Package relocate moves an installation from one database to another, of
// whichever engines: every row as it stands, in one transaction, proved before
// it is committed. It leaves the keys in the folder of the installation alone.
package relocate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
)

// SettingMovedTo is the setting that stands in a database from which the
// installation has moved, with the name of the one that took its place. Who
// opens it for work must refuse: both would go on with the same payouts.
const SettingMovedTo = "moved_to"

// SettingMovedBatch is the setting that stands in the database to which an
// installation has moved, with the last batch of the one where it was before: all
// up to it is there, though the batches themselves are not.
const SettingMovedBatch = "moved_batch"

// Options say what goes where.
type Options struct {
	From, To store.Bulk
	// Target is the name of To that is written into From.
	Target string
	Now    func() time.Time
	// Say is told what is being done; nil says nothing.
	Say func(format string, args ...any)
}

// Report is what was done.
type Report struct {
	Tables []TableReport
	Took   time.Duration
	Books  *payout.Report // of the target
}

// TableReport is what was done with a table.
type TableReport struct {
	Name string
	Rows int64
	Took time.Duration // reading and writing, without the proof
}

// Rows is the sum over all tables.
func (r *Report) Rows() (sum int64) {
	for _, t := range r.Tables {
		sum += t.Rows
	}
	return sum
}

// Run copies everything. It refuses a source whose books are not clean, and on
// any error the target is as it was: empty. Before the target is committed, its
// books are proved as those of the source were, the ends of the hash chains are
// compared, and every table is read back and compared value by value. After
// that the source is marked, so that nobody goes on with it.
//
// Leases end: who held them has ended. All else stays as it is.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	m := &move{Options: o, report: new(Report)}
	began := o.Now()
	if err := o.From.Dump(ctx, func(from store.Dump) error { return m.run(ctx, from) }); err != nil {
		return nil, err
	}
	last, err := o.From.LastBatch(ctx)
	if err != nil {
		return nil, err
	}
	if last != 0 {
		if err := o.To.PutSetting(ctx, SettingMovedBatch, strconv.AppendInt(nil, int64(last), 10)); err != nil {
			return nil, err
		}
	}
	if err := o.From.PutSetting(context.WithoutCancel(ctx), SettingMovedTo, []byte(o.Target)); err != nil {
		return nil, fmt.Errorf("everything was copied, but the source could not be marked; never start a server on it again: %w", err)
	}
	m.report.Took = o.Now().Sub(began)
	return m.report, nil
}

// Moved returns an error if the installation has moved away from the database.
func Moved(ctx context.Context, s store.Store) error {
	to, err := s.Setting(ctx, SettingMovedTo)
	switch {
	case err == nil:
		return fault.New(fault.WrongState, "the installation has moved from this database to %s: both would go on with the same payouts", to)
	case fault.CodeOf(err) == fault.NotFound:
		return nil
	}
	return err
}

// move is one copy under way.
type move struct {
	Options
	report *Report
	books  []ledger.Book // of the source
}

func (m *move) run(ctx context.Context, from store.Dump) error {
	m.Say("proving the books of the source")
	clean, err := prove(ctx, from, "source")
	if err != nil {
		return err
	}
	if m.books, err = from.Books(ctx); err != nil {
		return err
	}
	tables, err := from.Tables(ctx)
	if err != nil {
		return err
	}
	return m.To.Load(ctx, func(to store.Load) error {
		there, err := to.Tables(ctx)
		if err != nil {
			return err
		}
		if err := alike(tables, there); err != nil {
			return err
		}
		sums := make([]digest, len(tables))
		for i, t := range tables {
			if sums[i], err = m.copy(ctx, t, from, to); err != nil {
				return err
			}
		}
		m.Say("proving what was copied")
		for i, t := range tables {
			if err := compare(ctx, t, sums[i], to); err != nil {
				return err
			}
		}
		if m.report.Books, err = m.proveTarget(ctx, to, clean); err != nil {
			return err
		}
		m.Say("committing")
		return nil
	})
}

// sayEvery is how many rows are copied between two lines about a table.
const sayEvery = 1_000_000

func (m *move) copy(ctx context.Context, t store.Table, from store.Dump, to store.Load) (digest, error) {
	began := m.Now()
	var sum digest
	err := to.Append(ctx, t, func(yield func([]any, error) bool) {
		for row, err := range adapted(t, began, from.Rows(ctx, t)) {
			if err == nil {
				if err = sum.add(row); err == nil && sum.rows%sayEvery == 0 {
					m.Say("copied %d rows of %s", sum.rows, t.Name)
				}
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	})
	if err != nil {
		return sum, err
	}
	m.report.Tables = append(m.report.Tables, TableReport{Name: t.Name, Rows: sum.rows, Took: m.Now().Sub(began)})
	m.Say("copied %s: %d rows", t.Name, sum.rows)
	return sum, nil
}

// adapted are the rows of a table as they should be in the target: nobody has a
// lease, and the mark of an earlier move is gone. Of a node number it stays known
// since when it has been free, because the one that was free for longest is next.
func adapted(t store.Table, now time.Time, rows iter.Seq2[[]any, error]) iter.Seq2[[]any, error] {
	owner, lease := slices.Index(t.Columns, "owner"), slices.Index(t.Columns, "lease")
	name := -1
	if t.Name == "settings" {
		name = slices.Index(t.Columns, "name")
	}
	return func(yield func([]any, error) bool) {
		for row, err := range rows {
			if err == nil && owner >= 0 && lease >= 0 {
				until, _ := row[lease].(int64)
				row[owner], row[lease] = "", int64(0)
				if t.Name == "nodes" {
					row[lease] = min(until, now.UnixMicro())
				}
			}
			if err == nil && name >= 0 && row[name] == SettingMovedTo {
				continue
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// compare reads a table back.
func compare(ctx context.Context, t store.Table, want digest, from store.Dump) error {
	var got digest
	for row, err := range from.Rows(ctx, t) {
		if err == nil {
			err = got.add(row)
		}
		if err != nil {
			return err
		}
	}
	if got != want {
		return fault.New(fault.Internal, "the table %s came out different: %d rows were read and %d are there, or a value has changed", t.Name, want.rows, got.rows)
	}
	return nil
}

// proveTarget checks the books of the target against those of the source.
func (m *move) proveTarget(ctx context.Context, to store.Dump, want *payout.Report) (*payout.Report, error) {
	got, err := prove(ctx, to, "target")
	if err != nil {
		return nil, err
	}
	if got.Projects != want.Projects || got.Sessions != want.Sessions || got.Payouts != want.Payouts || got.Live != want.Live ||
		got.Entries != want.Entries || got.Events != want.Events || got.Pending != want.Pending || got.GivenUp != want.GivenUp ||
		got.Statements != want.Statements || got.Differences != want.Differences || got.Archived != want.Archived {
		return nil, fault.New(fault.Internal, "the books of the target are others: %+v in place of %+v", *got, *want)
	}
	books, err := to.Books(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(books, m.books) {
		return nil, fault.New(fault.Internal, "the balances or the ends of the hash chains came out different")
	}
	return got, nil
}

// prove refuses books that are not clean.
func prove(ctx context.Context, s store.Snapshot, which string) (*payout.Report, error) {
	r, err := payout.CheckSnapshot(ctx, s)
	if err != nil {
		return nil, err
	}
	if !r.Clean() {
		return nil, fault.New(fault.WrongState, "the books of the %s are not clean: %d problems, the first: %s", which, len(r.Problems), r.Problems[0])
	}
	return r, nil
}

// alike refuses tables that are not the same on both sides, which those of one
// release are.
func alike(from, to []store.Table) error {
	var errs []error
	for _, t := range from {
		same := slices.ContainsFunc(to, func(o store.Table) bool {
			return o.Name == t.Name && slices.Equal(o.Columns, t.Columns) && slices.Equal(o.Key, t.Key)
		})
		if !same {
			errs = append(errs, fmt.Errorf("the table %s is another in the target, or missing", t.Name))
		}
	}
	for _, t := range to {
		if !slices.ContainsFunc(from, func(o store.Table) bool { return o.Name == t.Name }) {
			errs = append(errs, fmt.Errorf("the table %s is missing in the source", t.Name))
		}
	}
	return errors.Join(errs...)
}

// digest stands for the content of a table, in whatever order its rows come: a
// hash of each row, all of them by exclusive or. No two rows of a table are the
// same, since they have a key.
type digest struct {
	rows int64
	sum  [sha256.Size]byte
}

func (d *digest) add(row []any) error {
	h := sha256.New()
	var head [9]byte
	put := func(kind byte, n uint64, content []byte) {
		head[0] = kind
		binary.BigEndian.PutUint64(head[1:], n)
		h.Write(head[:])
		h.Write(content)
	}
	for i, v := range row {
		switch v := v.(type) {
		case nil:
			put(0, 0, nil)
		case int64:
			put(1, uint64(v), nil) // #nosec G115 -- all bits are kept
		case string:
			put(2, uint64(len(v)), []byte(v))
		case []byte:
			put(3, uint64(len(v)), v)
		default:
			return fault.New(fault.Internal, "value %d of a row is a %T", i+1, v)
		}
	}
	for i, b := range h.Sum(nil) {
		d.sum[i] ^= b
	}
	d.rows++
	return nil
}
