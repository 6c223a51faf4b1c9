package storetest

import (
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/store"
)

func statementRoundTrip(b *bed) {
	b.project("p", 0)
	f := &filler{}
	s, d, l := fill[store.Statement](f), fill[store.Difference](f), fill[store.StatementLine](f)
	l.Project = "p"
	b.write(func(c *store.Changes) {
		c.Statements, c.Differences, c.Lines = append(c.Statements, s), append(c.Differences, d), append(c.Lines, l)
	})
	got, err := b.Statement(b.ctx, s.Number)
	b.must(err)
	same(b, "statement", got, s)
	differences, err := b.Differences(b.ctx, d.Statement)
	b.must(err)
	same(b, "differences", differences, []store.Difference{d})
	lines, err := b.LinesAbout(b.ctx, l.Rail, []store.PaymentKey{{Project: "p", Reference: l.Reference}})
	b.must(err)
	same(b, "lines", lines, []store.StatementLine{l})
	all := b.dump()
	same(b, "statements of the snapshot", all.Statements, []store.Statement{s})
	same(b, "differences of the snapshot", all.Differences, []store.Difference{d})
	same(b, "lines of the snapshot", all.Of["p"].Lines, []store.StatementLine{l})
	_, err = b.Statement(b.ctx, s.Number+1)
	b.refused(err, fault.NotFound, "another statement")
}

// aStatement is one of a rail, a day after the other.
func (b *bed) aStatement(rail string, day int) store.Statement {
	from := noon.AddDate(0, 0, day)
	return store.Statement{
		Number: id.Statement(b.ids.Next()), Rail: rail, ID: fmt.Sprint("ST-", day), From: from, To: from.AddDate(0, 0, 1),
		State: store.StatementOpen, At: noon,
	}
}

// statementChanges: how far it is may change, and nothing else. A line that
// comes again is no error, a difference is.
func statementChanges(b *bed) {
	s := b.aStatement("cards", 1)
	b.write(func(c *store.Changes) { c.Statements = append(c.Statements, s) })
	s.State, s.Summary.Lines = store.StatementDone, 3
	b.write(func(c *store.Changes) {
		begun := s
		begun.State = store.StatementOpen
		c.Statements = append(c.Statements, begun, s) // the last one holds
	})
	got, err := b.Statement(b.ctx, s.Number)
	b.must(err)
	same(b, "changed", got, s)
	for name, change := range map[string]func(*store.Statement){
		"another number": func(s *store.Statement) { s.Number++ }, "another content": func(s *store.Statement) { s.Print[0]++ },
	} {
		other := s
		change(&other)
		b.refused(b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
			c.Statements = append(c.Statements, other)
			return nil
		}), fault.Internal, name)
	}
	line := store.StatementLine{Rail: "cards", Reference: "po_1", Statement: s.Number, No: 1, Kind: "payout", At: noon}
	for range 2 {
		b.write(func(c *store.Changes) { c.Lines = append(c.Lines, line) })
	}
	d := store.Difference{Statement: s.Number, No: 1, Kind: store.Extra, At: noon}
	b.write(func(c *store.Changes) { c.Differences = append(c.Differences, d) })
	b.refused(b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
		c.Differences = append(c.Differences, d)
		return nil
	}), fault.Internal, "a difference twice")
}

func statementsInOrder(b *bed) {
	late, early, other := b.aStatement("cards", 2), b.aStatement("cards", 1), b.aStatement("banks", 3)
	b.write(func(c *store.Changes) { c.Statements = append(c.Statements, late, early, other) })
	for _, c := range []struct {
		rail  string
		limit int
		want  []store.Statement
	}{
		{"cards", 9, []store.Statement{early, late}},
		{"cards", 1, []store.Statement{early}},
		{"banks", 9, []store.Statement{other}},
		{"nobody", 9, nil},
		{"", 9, []store.Statement{other, early, late}},
		{"", 1, []store.Statement{other}},
		{"", 0, nil},
	} {
		got, err := b.StatementsOf(b.ctx, c.rail, c.limit)
		b.must(err)
		same(b, fmt.Sprintf("%d of %q", c.limit, c.rail), got, c.want)
	}
}

func linesAboutPayments(b *bed) {
	line := func(p id.Project, rail, reference string, statement id.Statement, no int) store.StatementLine {
		return store.StatementLine{Project: p, Rail: rail, Reference: reference, Statement: statement, No: no, Kind: "payout", At: noon}
	}
	b.write(func(c *store.Changes) {
		c.Lines = append(c.Lines, line("p", "cards", "po_1", 2, 1), line("p", "cards", "po_1", 1, 7), line("p", "cards", "po_2", 1, 1),
			line("q", "cards", "po_1", 1, 2), line("p", "banks", "po_1", 3, 1), line("", "cards", "po_3", 1, 3))
	})
	for _, c := range []struct {
		keys []store.PaymentKey
		want []store.StatementLine
	}{
		{[]store.PaymentKey{{Project: "p", Reference: "po_1"}, {Project: "p", Reference: "po_1"}}, []store.StatementLine{line("p", "cards", "po_1", 1, 7), line("p", "cards", "po_1", 2, 1)}},
		{[]store.PaymentKey{{Project: "q", Reference: "po_1"}, {Reference: "po_3"}}, []store.StatementLine{line("", "cards", "po_3", 1, 3), line("q", "cards", "po_1", 1, 2)}},
		{[]store.PaymentKey{{Project: "p", Reference: "po_9"}}, nil},
		{nil, nil},
	} {
		got, err := b.LinesAbout(b.ctx, "cards", c.keys)
		b.must(err)
		same(b, fmt.Sprint(c.keys), got, c.want)
	}
}

// movementsOfAPeriod finds them in a book whose times are a little out of order.
func movementsOfAPeriod(b *bed) {
	b.project("p", 1_000_000)
	b.project("q", 1_000_000)
	s := b.stored("p")
	const minutes = 100
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
		book := rows.Books["p"]
		for n := range minutes {
			at := noon.Add(time.Duration(n) * time.Minute)
			if n%10 == 3 { // of a node whose clock is behind
				at = at.Add(-5 * time.Minute)
			}
			rail := "cards"
			if n%4 == 1 {
				rail = "banks"
			}
			add := func(e ledger.Entry) {
				e.Session, e.Payout = s.ID, s.Payouts[0].ID
				e, err := book.Post(e, at)
				b.must(err)
				c.Entries = append(c.Entries, e)
			}
			add(ledger.Hold(int64(n)+1, 0))
			add(ledger.Settle(int64(n)+1, 0, rail))
			if n%7 == 0 {
				add(ledger.Return(int64(n)+1, 0, rail))
			}
		}
		c.Books = append(c.Books, book)
		c.Attempts = append(c.Attempts, store.Attempt{
			Project: "p", Session: s.ID, Payout: s.Payouts[0].ID, No: 1, Rail: "cards", Reference: "po_1", Outcome: store.AttemptAccepted, SentAt: noon,
		})
	})
	entries := b.dump().Of["p"].Entries
	for _, c := range [][2]int{{0, minutes}, {20, 60}, {33, 34}, {-100, 0}, {minutes, 2 * minutes}, {50, 50}} {
		from, to := noon.Add(time.Duration(c[0])*time.Minute), noon.Add(time.Duration(c[1])*time.Minute)
		var want []store.Movement
		for _, e := range entries {
			if e.Rail == "cards" && !e.At.Before(from) && e.At.Before(to) {
				want = append(want, store.Movement{
					Project: "p", Session: s.ID, Payout: s.Payouts[0].ID, Reference: "po_1", Minor: e.Change.Clearing, SentAt: noon, At: e.At,
				})
			}
		}
		b.must(b.Snapshot(b.ctx, func(snapshot store.Snapshot) error {
			got, err := gather(snapshot.Movements(b.ctx, "p", "cards", from, to))
			b.must(err)
			same(b, fmt.Sprint("minutes ", c), got, want)
			none, err := gather(snapshot.Movements(b.ctx, "q", "cards", from, to))
			b.must(err)
			same(b, "of another project", none, nil)
			return nil
		}))
	}
}
