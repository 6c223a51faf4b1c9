package codec

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

// The columns that the functions below read and write, in their order.
const (
	ArchiveColumns  = `project, number, file, print, bytes, sessions, at`
	ArchivedColumns = `project, session, archive, print, state, payouts, events, seqs, reserved, entry, ended_at`
)

// RecordTables are those whose rows leave with a session, in the order in which
// they stand in a record.
var RecordTables = []RecordTable{
	{Name: "sessions", Session: "id", Columns: "project, id, version, state, draft, events, fence, revision, created_at, updated_at", by: []int{1}},
	{Name: "payouts", Session: "session", Columns: PayoutRowColumns, by: []int{1, 2}},
	{Name: "events", Session: "session", Columns: "project, session, n, id, seq, type, body, signature, status, attempts, created_at, due, owner, lease", by: []int{1, 2}},
	{Name: "deliveries", Session: "session", Columns: DeliveryColumns, by: []int{1, 2, 3}},
}

// RecordTable is a table whose rows leave with a session. The second column is
// that of the session.
type RecordTable struct {
	Name, Session, Columns string
	by                     []int // columns, numbers, that the rows are ordered by
}

// names are those of the columns.
func (t *RecordTable) names() []string { return strings.Split(t.Columns, ", ") }

// Scan reads a row of the table as int64 and string.
func (t *RecordTable) Scan(row Row) ([]any, error) {
	values := make([]any, strings.Count(t.Columns, ",")+1)
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	err := row.Scan(into...)
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			values[i] = string(b)
		}
	}
	return values, err
}

// Dossiers makes those of sessions from rows of RecordTables, which may come in
// any order. They are ordered by session.
func Dossiers(tables [][][]any) ([]store.Dossier, error) {
	of := map[int64][][][]any{}
	for i := range tables {
		for _, row := range tables[i] {
			number, ok := row[1].(int64)
			if !ok {
				return nil, fault.New(fault.Internal, "the session of a row of %s is a %T", RecordTables[i].Name, row[1])
			}
			if of[number] == nil {
				of[number] = make([][][]any, len(RecordTables))
			}
			of[number][i] = append(of[number][i], row)
		}
	}
	var list []store.Dossier
	for _, rows := range of {
		d, err := dossier(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b store.Dossier) int { return cmp.Compare(a.Session.ID, b.Session.ID) })
	return list, nil
}

// dossier makes one from its rows.
func dossier(tables [][][]any) (d store.Dossier, err error) {
	for i := range tables {
		slices.SortFunc(tables[i], func(a, b []any) int {
			for _, n := range RecordTables[i].by {
				x, _ := a[n].(int64)
				y, _ := b[n].(int64)
				if x != y {
					return cmp.Compare(x, y)
				}
			}
			return 0
		})
	}
	if len(tables[0]) != 1 {
		return d, fault.New(fault.Internal, "a record has %d sessions", len(tables[0]))
	}
	if d.Session, err = ScanSession(values(tables[0][0])); err != nil {
		return d, err
	}
	for _, row := range tables[1] {
		p, err := ScanPayout(ownedPayout(row))
		if err != nil {
			return d, err
		}
		d.Session.Payouts = append(d.Session.Payouts, p.Payout)
	}
	for _, row := range tables[2] {
		e, err := ScanEvent(values(row))
		if err != nil {
			return d, err
		}
		d.Events = append(d.Events, e)
	}
	d.Record, err = record(tables)
	return d, err
}

// ownedPayout is a row of payouts as ScanPayout reads it, which knows no number
// within the session.
func ownedPayout(row []any) values {
	return append(append(values{}, row[:2]...), row[3:]...)
}

// record writes rows as an object with the tables by name, each a list of
// objects with the columns by name, all in the order of RecordTables.
func record(tables [][][]any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	put := func(before string, v any) error {
		b.WriteString(before)
		err := e.Encode(v)
		b.Truncate(b.Len() - 1) // the line end
		return err
	}
	for i, rows := range tables {
		t := &RecordTables[i]
		b.WriteString([]string{"{", ","}[min(i, 1)])
		fmt.Fprintf(&b, "%q:[", t.Name)
		columns := t.names()
		for n, row := range rows {
			b.WriteString([]string{"{", ",{"}[min(n, 1)])
			for c, v := range row {
				switch v.(type) {
				case int64, string:
				default:
					return nil, fault.New(fault.Internal, "%s of %s is a %T", columns[c], t.Name, v)
				}
				before := fmt.Sprintf("%q:", columns[c])
				if c > 0 {
					before = "," + before
				}
				if err := put(before, v); err != nil {
					return nil, err
				}
			}
			b.WriteByte('}')
		}
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// ReadRecord reads a record back.
func ReadRecord(text []byte) (store.Dossier, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var read map[string][]map[string]any
	if err := d.Decode(&read); err != nil {
		return store.Dossier{}, fault.Wrap(fault.Invalid, err, "a record can't be read: %v", err)
	}
	tables := make([][][]any, len(RecordTables))
	for i := range RecordTables {
		t := &RecordTables[i]
		for _, from := range read[t.Name] {
			var row []any
			for _, name := range t.names() {
				switch v := from[name].(type) {
				case string:
					row = append(row, v)
				case json.Number:
					n, err := v.Int64()
					if err != nil {
						return store.Dossier{}, fault.Wrap(fault.Invalid, err, "%s of %s in a record: %v", name, t.Name, err)
					}
					row = append(row, n)
				default:
					return store.Dossier{}, fault.New(fault.Invalid, "%s of %s in a record is a %T", name, t.Name, v)
				}
			}
			tables[i] = append(tables[i], row)
		}
	}
	return dossier(tables)
}

// values is a row that has been read.
type values []any

// Scan implements Row for the kinds of values that records have.
func (v values) Scan(dest ...any) error {
	if len(dest) != len(v) {
		return fmt.Errorf("%d columns, %d wanted", len(v), len(dest))
	}
	for i := range dest {
		into := reflect.ValueOf(dest[i]).Elem()
		from := reflect.ValueOf(v[i])
		switch {
		case from.Kind() == reflect.Int64 && into.CanInt():
			into.SetInt(from.Int())
		case from.Kind() == reflect.String && into.Kind() == reflect.String:
			into.SetString(from.String())
		case from.Kind() == reflect.String && into.Type() == reflect.TypeFor[[]byte]():
			into.SetBytes([]byte(from.String()))
		default:
			return fmt.Errorf("column %d is a %T, %T wanted", i+1, v[i], dest[i])
		}
	}
	return nil
}

// ArchiveRow is a file that sessions were archived in.
func ArchiveRow(a store.Archive) []any {
	return []any{string(a.Project), int64(a.Number), a.File, a.Print[:], a.Bytes, int64(a.Sessions), Micros(a.At)}
}

func ScanArchive(row Row) (store.Archive, error) {
	var (
		a     store.Archive
		print []byte
		at    int64
	)
	err := row.Scan(&a.Project, &a.Number, &a.File, &print, &a.Bytes, &a.Sessions, &at)
	copy(a.Print[:], print)
	a.At = Instant(at)
	return a, err
}

// ArchivedRow is what stays of a session.
func ArchivedRow(a store.Archived) ([]any, error) {
	payouts, err := json.Marshal(a.Payouts)
	return []any{
		string(a.Project), int64(a.Session), int64(a.Archive), a.Print[:], string(a.State), string(payouts), int64(a.Events), a.Seqs,
		int64(a.Reserved), a.Entry, Micros(a.EndedAt),
	}, err
}

func ScanArchived(row Row) (store.Archived, error) {
	var (
		a              store.Archived
		print, payouts []byte
		ended          int64
	)
	err := row.Scan(&a.Project, &a.Session, &a.Archive, &print, &a.State, &payouts, &a.Events, &a.Seqs, &a.Reserved, &a.Entry, &ended)
	if err != nil {
		return a, err
	}
	copy(a.Print[:], print)
	a.EndedAt = Instant(ended)
	if err := json.Unmarshal(payouts, &a.Payouts); err != nil {
		return a, fmt.Errorf("payouts of the archived session %s: %w", a.Session, err)
	}
	return a, nil
}

// Final are the states in which a session has ended.
var Final = []string{string(session.Paid), string(session.Failed), string(session.Cancelled), string(session.Returned), string(session.Disputed)}

// Stay finds which of the sessions that are to leave must stay: those whose rows
// are not what is in their records, and those that are busy.
func Stay(list []store.Leaving, tables [][][]any, busy []id.Session) ([]id.Session, error) {
	there, err := Dossiers(tables)
	if err != nil {
		return nil, err
	}
	prints := map[id.Session][sha256.Size]byte{}
	for _, d := range there {
		prints[d.Session.ID] = sha256.Sum256(d.Record)
	}
	var stay []id.Session
	for i := range list {
		a := &list[i]
		if print, ok := prints[a.Session]; !ok || print != a.Print || slices.Contains(busy, a.Session) {
			stay = append(stay, a.Session)
		}
	}
	return stay, nil
}

// Going is list without the sessions that stay, or were taken out into the same
// archive before; those that another archive has stay as well.
func Going(list []store.Leaving, before []store.Archived, stay []id.Session) (going []store.Leaving, stays []id.Session) {
	archives := map[id.Session]id.Archive{}
	for i := range before {
		archives[before[i].Session] = before[i].Archive
	}
	for _, l := range list {
		switch in, done := archives[l.Session]; {
		case slices.Contains(stay, l.Session):
		case done && in != l.Archive:
			stays = append(stays, l.Session)
		case !done:
			going = append(going, l)
		}
	}
	return going, append(stays, stay...)
}

// SessionsOf are the numbers of sessions.
func SessionsOf(list []store.Leaving) []int64 {
	numbers := make([]int64, len(list))
	for i := range list {
		numbers[i] = int64(list[i].Session)
	}
	return numbers
}

// CardsOf are the sealed numbers that go with sessions.
func CardsOf(list []store.Leaving) []int64 {
	cards := []int64{}
	for i := range list {
		for _, c := range list[i].Cards {
			cards = append(cards, int64(c))
		}
	}
	return cards
}

// Aged are the sessions among those looked at whose dossiers are wanted, and the
// last one that was looked at; 0 if all of them are too young.
func Aged(looked []Looked, before time.Time) (aged []int64, last id.Session) {
	young := true
	for _, l := range looked {
		young = young && l.CreatedAt >= Micros(before)
		if l.UpdatedAt < Micros(before) && slices.Contains(Final, l.State) {
			aged = append(aged, l.ID)
		}
	}
	if young {
		return nil, 0
	}
	return aged, id.Session(looked[len(looked)-1].ID)
}

// Looked is a session as far as Aged looks at it.
type Looked struct {
	ID                   int64
	State                string
	CreatedAt, UpdatedAt int64
}

// LookedColumns are those of Looked.
const LookedColumns = `id, state, created_at, updated_at`

func ScanLooked(row Row) (Looked, error) {
	var l Looked
	err := row.Scan(&l.ID, &l.State, &l.CreatedAt, &l.UpdatedAt)
	return l, err
}
