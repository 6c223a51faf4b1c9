package payout

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/rail/statement"
)

const (
	// differencesMax is how many differences a statement may have: with more it
	// is hardly one of this rail and period, and people could do nothing with
	// so many alarms.
	differencesMax = 10_000
	// linesChunk is how many lines are written in one command, so that payouts
	// that go on meanwhile do not wait for a whole statement.
	linesChunk = 500
	// bookingUsual is rail.Terms.Booking of a rail that this program has no
	// connection to.
	bookingUsual = time.Hour
	// scanMargin widens the period in which movements are read at once; lines
	// about others are looked up one by one.
	scanMargin = time.Hour
)

// StatementReport is a statement with what was found.
type StatementReport struct {
	store.Statement
	// Repeated says that it was taken in before, and that nothing was done now.
	Repeated    bool
	Differences []store.Difference
	// Found says of differences that were missing, by number, which statement
	// has had a line since.
	Found map[int]id.Statement
}

// TakeStatement takes in a statement of a rail, once for each of the rail's
// names of it: every line is compared with the books, and every movement of ours
// that should be in it is looked for. What a line proves is taken as the rail's
// own word: a payout whose outcome was open is paid, money that came back goes
// the way of TakeReturn. Each difference is written down and raises an alarm,
// and none is booked away. fault.Invalid, and nothing done, if it can't be a
// statement of the rail, or another one has its name.
func (e *Engine) TakeStatement(ctx context.Context, name string, s *statement.Statement) (StatementReport, error) {
	if err := e.checkStatement(name, s); err != nil {
		return StatementReport{}, err
	}
	if r := e.restores.now.Load(); r != nil && r.State == RestoreAsking {
		return StatementReport{}, fault.New(fault.WrongState, "the database was restored, and the rails are still being asked about what it knows: take the statement after that")
	}
	select {
	case e.statements <- struct{}{}:
		defer func() { <-e.statements }()
	case <-ctx.Done():
		return StatementReport{}, fault.Wrap(fault.Busy, context.Cause(ctx), "another statement is being taken in")
	}
	earlier, err := e.store.StatementsOf(ctx, name, math.MaxInt32)
	if err != nil {
		return StatementReport{}, err
	}
	print, err := printOf(s)
	if err != nil {
		return StatementReport{}, err
	}
	number := id.Statement(e.ids.Next())
	for _, known := range earlier {
		switch {
		case known.ID != s.ID:
			continue
		case known.Print != print:
			return StatementReport{}, fault.New(fault.Invalid, "id: the statement %s of %s was taken in with another content, as %s", s.ID, name, known.Number)
		case known.State == store.StatementDone:
			report, err := e.StatementReport(ctx, known.Number)
			report.Repeated = true
			return report, err
		}
		number = known.Number // it was begun
	}
	r := &reconciliation{
		Engine: e, ctx: ctx, rail: name, statement: masked(s), print: print, number: number,
		known: map[string]*payment{}, about: map[string]*payment{},
	}
	for _, other := range earlier {
		if other.Number != number {
			r.earlier = append(r.earlier, other)
		}
	}
	if err := r.run(); err != nil {
		return StatementReport{}, err
	}
	return e.StatementReport(ctx, r.number)
}

func (e *Engine) checkStatement(name string, s *statement.Statement) error {
	if err := s.Check(); err != nil {
		return fault.New(fault.Invalid, "%s", instrument.MaskText(err.Error()))
	}
	_, connected := e.byName[name]
	switch now := e.now(); {
	case name == "" || len(name) > returnReferenceMax || !printable(name):
		return fault.New(fault.Invalid, "rail: want the name of a rail")
	case len(e.byName) > 0 && !connected:
		return fault.New(fault.Invalid, "rail: there is no rail %s, only %s", name, strings.Join(slices.Sorted(maps.Keys(e.byName)), ", "))
	case s.Rail != "" && s.Rail != name:
		return fault.New(fault.Invalid, "rail: the statement is of %s, not of %s", s.Rail, name)
	case s.To.After(now):
		return fault.New(fault.Invalid, "period: it ends at %s, which is still to come: take the statement when it is over", s.To.Format(time.RFC3339))
	}
	return nil
}

// printOf is what the name of a statement stands for: its content, in whichever
// form it came.
func printOf(s *statement.Statement) (sum [32]byte, err error) {
	content := *s
	content.Rail = ""
	h := sha256.New()
	err = json.NewEncoder(h).Encode(content)
	return [32]byte(h.Sum(nil)), err
}

// masked is a copy without the card numbers that a rail may have put into its
// words, or where a reference of ours should stand. Its own names stay as they
// are, however they look: masked, two of them could be the same, and a return be
// taken for another one.
func masked(s *statement.Statement) *statement.Statement {
	own := *s
	own.Lines = slices.Clone(s.Lines)
	for i := range own.Lines {
		l := &own.Lines[i]
		l.Reference, l.Text = instrument.MaskText(l.Reference), instrument.MaskText(l.Text)
	}
	return &own
}

// StatementReport reads a statement that was taken in.
func (e *Engine) StatementReport(ctx context.Context, n id.Statement) (r StatementReport, err error) {
	if r.Statement, err = e.store.Statement(ctx, n); err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			err = fault.New(fault.NotFound, "no statement %s", n)
		}
		return r, err
	}
	if r.Differences, err = e.store.Differences(ctx, n); err != nil {
		return r, err
	}
	var missing []store.PaymentKey
	for i := range r.Differences {
		if d := &r.Differences[i]; d.Kind == store.Missing {
			missing = append(missing, store.PaymentKey{Project: d.Project, Reference: d.Reference})
		}
	}
	r.Found = map[int]id.Statement{}
	for chunk := range slices.Chunk(missing, linesChunk) {
		lines, err := e.store.LinesAbout(ctx, r.Rail, chunk)
		if err != nil {
			return r, err
		}
		for i := range r.Differences {
			d := &r.Differences[i]
			for _, l := range lines {
				if d.Kind == store.Missing && l.Project == d.Project && l.Reference == d.Reference && l.Kind == string(kindOf(d.Ours.Minor)) {
					r.Found[d.No] = l.Statement
				}
			}
		}
	}
	return r, nil
}

// Statements lists the newest statements of all rails, newest first.
func (e *Engine) Statements(ctx context.Context, limit int) ([]store.Statement, error) {
	return e.store.StatementsOf(ctx, "", limit)
}

// kindOf is the kind of the line that a movement of the clearing should have.
func kindOf(minor int64) statement.Kind {
	if minor < 0 {
		return statement.Return
	}
	return statement.Payout
}

// reconciliation is one statement that is being taken in.
type reconciliation struct {
	*Engine
	ctx       context.Context
	rail      string
	statement *statement.Statement
	print     [32]byte
	number    id.Statement
	earlier   []store.Statement // of the rail

	due []store.Movement // what must be in this statement or in an earlier one
	// known are the payments that were paid around the period, by reference, and
	// about those that lines name.
	known, about map[string]*payment
	verdicts     []verdict // of the lines
	missing      []store.Movement
	summary      store.StatementSummary
}

// payment is one that a line may be about.
type payment struct {
	store.SessionKey
	payout id.Payout
	minor  int64
	state  session.State
	told   []store.StatementLine // by earlier statements
	// archived says that the payout is: its state stays, whatever a line says of it.
	archived bool
}

// verdict is what is to be said of a line.
type verdict struct {
	kind store.DifferenceKind // "" for none
	text string
	ours money.Amount
	// proves says that the line is the rail's word that the payment was paid,
	// gives that it tells of a return.
	proves, gives bool
}

func (r *reconciliation) run() error {
	if err := r.read(); err != nil {
		return err
	}
	if err := r.find(); err != nil {
		return err
	}
	found := 0
	r.judge()
	for i := range r.verdicts {
		if r.verdicts[i].kind != "" {
			found++
		}
	}
	if err := r.miss(); err != nil {
		return err
	}
	if found += len(r.missing); found > differencesMax {
		return fault.New(fault.Invalid, "the statement and the books differ in %d places, more than %d: is it one of %s?", found, differencesMax, r.rail)
	}
	if err := r.begin(); err != nil {
		return err
	}
	if err := r.act(); err != nil {
		return err
	}
	return r.write()
}

// window is the time in which our movements have to be in this statement or in
// an earlier one. A rail may book what it has told a while later, in the next
// period; so the end of a period is left to the statement that follows, if it is
// not here yet, and what the one before has left, however short this one is, is
// looked at now, if that is here.
func (r *reconciliation) window() (from, to time.Time, follows bool) {
	from, to = r.statement.From, r.statement.To
	booking := bookingUsual
	if _, connected := r.byName[r.rail]; connected {
		booking = r.terms(r.rail).Booking
	}
	left := func(from, to time.Time) time.Time { return to.Add(-min(booking, to.Sub(from))) }
	precedes := false
	for _, o := range r.earlier {
		if o.From.Before(r.statement.From) && !o.To.Before(r.statement.From) {
			follows = true
			if since := left(o.From, o.To); since.Before(from) {
				from = since
			}
		}
		precedes = precedes || o.To.After(to) && !o.From.After(to)
	}
	if !precedes {
		to = left(r.statement.From, to)
	}
	return from, to, follows
}

// read reads what was booked around the period, of all projects, in one state
// of the database.
func (r *reconciliation) read() error {
	from, to, follows := r.window()
	return r.store.Snapshot(r.ctx, func(s store.Snapshot) error {
		projects, err := s.Projects(r.ctx)
		if err != nil {
			return err
		}
		for i := range projects {
			for m, err := range s.Movements(r.ctx, projects[i].ID, r.rail, from.Add(-scanMargin), r.statement.To.Add(scanMargin)) {
				if err != nil {
					return err
				}
				if m.Minor > 0 {
					r.known[m.Reference] = &payment{
						SessionKey: store.SessionKey{Project: m.Project, Session: m.Session}, payout: m.Payout, minor: m.Minor, state: session.Paid,
					}
				}
				// Without the statement before, what was under way when the period
				// began may be in that one.
				if !m.At.Before(from) && m.At.Before(to) && (follows || !m.SentAt.Before(r.statement.From)) {
					r.due = append(r.due, m)
				}
			}
		}
		return nil
	})
}

// find looks up what the lines are about, and what earlier statements have told
// of that.
func (r *reconciliation) find() error {
	for i := range r.statement.Lines {
		reference := r.statement.Lines[i].Reference
		if _, found := r.about[reference]; found || reference == "" {
			continue
		}
		p, ok := r.known[reference]
		if !ok {
			var err error
			if p, err = r.lookUp(reference); err != nil {
				return err
			}
		}
		r.about[reference] = p
	}
	return r.told(func(yield func(store.PaymentKey) bool) {
		for reference, p := range r.about {
			if p != nil && !yield(store.PaymentKey{Project: p.Project, Reference: reference}) {
				return
			}
		}
	}, func(l store.StatementLine) {
		p := r.about[l.Reference]
		p.told = append(p.told, l)
	})
}

// lookUp finds a payment that was promised to the rail; nil if it never was.
func (r *reconciliation) lookUp(reference string) (*payment, error) {
	a, err := r.store.FindAttempt(r.ctx, r.rail, reference)
	if err != nil {
		if fault.CodeOf(err) == fault.NotFound {
			return nil, nil
		}
		return nil, err
	}
	p := &payment{SessionKey: store.SessionKey{Project: a.Project, Session: a.Session}, payout: a.Payout}
	now, err := r.payout(p)
	if err != nil {
		return nil, err
	}
	if !p.archived {
		p.minor, p.state = now.Minor(), now.State
	}
	return p, nil
}

// payout reads a payment's payout as it stands; nil if it is archived.
func (r *reconciliation) payout(p *payment) (*session.Payout, error) {
	s, err := r.store.Session(r.ctx, p.SessionKey)
	if fault.CodeOf(err) == fault.NotFound {
		a, lookUp := r.archived(r.ctx, p.SessionKey)
		if lookUp != nil {
			return nil, lookUp
		}
		if a != nil {
			if was := findArchived(a, p.payout); was != nil {
				p.archived, p.minor, p.state = true, was.Minor, was.State
				return nil, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	for i := range s.Payouts {
		if s.Payouts[i].ID == p.payout {
			return &s.Payouts[i], nil
		}
	}
	return nil, fmt.Errorf("payout %s is not in session %s", p.payout, p.Session)
}

// told gives the lines of earlier statements about some payments.
func (r *reconciliation) told(about func(yield func(store.PaymentKey) bool), take func(store.StatementLine)) error {
	if len(r.earlier) == 0 {
		return nil
	}
	for chunk := range slices.Chunk(slices.Collect(about), linesChunk) {
		lines, err := r.store.LinesAbout(r.ctx, r.rail, chunk)
		if err != nil {
			return err
		}
		for _, l := range lines {
			if l.Statement != r.number { // which may have been begun before
				take(l)
			}
		}
	}
	return nil
}

// judge decides on each line by what is known before any of them is acted on.
func (r *reconciliation) judge() {
	type movement struct {
		kind              statement.Kind
		reference, railID string
	}
	seen := map[movement]int{}
	r.verdicts = make([]verdict, len(r.statement.Lines))
	for i := range r.statement.Lines {
		l, v := &r.statement.Lines[i], &r.verdicts[i]
		p := r.about[l.Reference]
		m := movement{kind: l.Kind, reference: l.Reference}
		if l.Kind == statement.Return { // of which a payment may, wrongly, have several
			m.railID = l.RailID
		}
		first := seen[m]
		if first == 0 {
			seen[m] = i + 1
		}
		differs := func(kind store.DifferenceKind, format string, args ...any) {
			v.kind, v.text = kind, fmt.Sprintf(format, args...)
		}
		if p != nil {
			v.ours = money.Amount{Minor: p.minor, Currency: money.RUB}
		}
		switch {
		case l.Kind == statement.Other:
			differs(store.Extra, "it is neither a payout nor the return of one")
		case first != 0 && p != nil && sabotage != "second line passes":
			differs(store.DoubledLine, "line %d tells of it already", first)
		case l.Kind == statement.Return:
			r.judgeReturn(l, p, v)
		case p == nil:
			differs(store.Extra, "no payment with this reference was ever sent")
		case another(p.told, l):
			differs(store.DoubledLine, "the statement %s tells of it already, under another name or time", p.told[0].Statement)
		case p.state == session.Failed:
			v.proves = l.Amount == v.ours
			differs(store.Extra, "the payout has failed")
		case l.Amount != v.ours && sabotage != "any amount proves":
			differs(store.OtherAmount, "the payout is of %s", v.ours)
		default:
			v.proves = p.state == session.Sent || p.state == session.Unclear
		}
	}
}

func (r *reconciliation) judgeReturn(l *statement.Line, p *payment, v *verdict) {
	switch {
	case l.RailID == "":
		v.kind, v.text = store.Extra, "the rail has no name of its own for the return, so it can't be told from others"
	case p == nil:
		v.kind, v.text, v.gives = store.Extra, "it returns a payment that was never sent", true
	default:
		v.gives = true
	}
}

// another reports whether earlier statements tell of another movement of the
// payment and not of this one. The same movement may be told again, by a
// statement of an overlapping period or one that was issued anew.
func another(told []store.StatementLine, l *statement.Line) (found bool) {
	for _, t := range told {
		if t.Kind == string(l.Kind) {
			if t.RailID == l.RailID && t.At.Equal(l.At) {
				return false
			}
			found = true
		}
	}
	return found
}

// miss finds the movements that are due and have no line, here or in an earlier
// statement.
func (r *reconciliation) miss() error {
	type movement struct {
		kind      string
		reference string
	}
	there := map[movement]bool{}
	for i := range r.statement.Lines {
		l := &r.statement.Lines[i]
		there[movement{string(l.Kind), l.Reference}] = true
	}
	absent := func(m store.Movement) bool { return !there[movement{string(kindOf(m.Minor)), m.Reference}] }
	err := r.told(func(yield func(store.PaymentKey) bool) {
		for _, m := range r.due {
			if absent(m) && !yield(store.PaymentKey{Project: m.Project, Reference: m.Reference}) {
				return
			}
		}
	}, func(l store.StatementLine) { there[movement{l.Kind, l.Reference}] = true })
	for _, m := range r.due {
		if absent(m) {
			r.missing = append(r.missing, m)
		}
	}
	return err
}

// begin writes down that the statement is being taken in.
func (r *reconciliation) begin() error {
	c := &beginStatement{key: r.rail + "/" + r.statement.ID, of: store.Statement{
		Number: r.number, Rail: r.rail, ID: r.statement.ID, Print: r.print, From: r.statement.From, To: r.statement.To, State: store.StatementOpen,
	}}
	err := r.report(r.ctx, c)
	r.number = c.of.Number
	return err
}

// act does what the lines prove, payments first: a return of one that was open
// follows it.
func (r *reconciliation) act() error {
	for i := range r.verdicts {
		if r.verdicts[i].proves {
			if err := r.prove(i); err != nil {
				return fmt.Errorf("line %d of the statement: %w", i+1, err)
			}
		}
	}
	for i := range r.verdicts {
		if r.verdicts[i].gives {
			if err := r.give(i); err != nil {
				return fmt.Errorf("line %d of the statement: %w", i+1, err)
			}
		}
	}
	return nil
}

// prove takes a line as the rail's word that it has paid. Of a payout that had
// failed the money goes to suspense, since it has left; that stays a difference.
func (r *reconciliation) prove(i int) error {
	p, v := r.about[r.statement.Lines[i].Reference], &r.verdicts[i]
	if err := r.Notice(r.ctx, r.rail, p.SessionKey, p.payout, rail.Outcome{Status: rail.Succeeded}); err != nil {
		return err
	}
	if v.kind != "" {
		return nil
	}
	now, err := r.payout(p)
	if err != nil {
		return err
	}
	if now != nil {
		p.state = now.State
	}
	if p.state == session.Disputed || p.state == session.Failed { // it has failed just now, and may be archived
		v.kind, v.text = store.Extra, "the payout has failed"
		return nil
	}
	r.summary.Proved++
	return nil
}

// give takes the return that a line tells of. What it means is read from what
// is written down, so that it is the same when it is asked again.
func (r *reconciliation) give(i int) error {
	l, v := &r.statement.Lines[i], &r.verdicts[i]
	taken, err := r.TakeReturn(r.ctx, r.rail, rail.Return{Reference: l.RailID, Payment: l.Reference, Amount: l.Amount, At: l.At})
	p := r.about[l.Reference]
	if err != nil || p == nil {
		return err
	}
	now, err := r.payout(p)
	if err != nil {
		return err
	}
	if p.archived {
		v.ours = money.Amount{Minor: p.minor, Currency: money.RUB}
		if !taken.Repeated || p.state != session.Returned {
			v.kind, v.text = store.Extra, "the payout is archived; see the alarm about what came back"
		}
		return nil
	}
	v.ours = money.Amount{Minor: now.Minor(), Currency: money.RUB}
	var back *session.Refund
	for n := range now.Refunds {
		if now.Refunds[n].Reference == l.RailID {
			back = &now.Refunds[n]
		}
	}
	switch {
	case back == nil:
		v.kind, v.text = store.Extra, "the rail's name of the return is that of another one"
	case back.Amount != l.Amount:
		v.kind, v.text, v.ours = store.OtherAmount, fmt.Sprintf("the rail has told of %s under this name before", back.Amount), back.Amount
	case back.Status == session.RefundBooked:
		if !taken.Repeated {
			r.summary.Returned++
		}
	case l.Amount != v.ours:
		v.kind, v.text = store.OtherAmount, fmt.Sprintf("the payout is of %s", v.ours)
	case back.Status == session.RefundRefused:
		v.kind, v.text = store.DoubledLine, "the payout has come back before"
	case back.Status == session.RefundKept:
		v.kind, v.text = store.Extra, "the rail has not said that it paid what it gives back"
	default:
		v.kind, v.text = store.Extra, fmt.Sprintf("the payout is %s and has nothing to come back", now.State)
	}
	return nil
}

// write writes the lines down, in pieces, and then, all at once, what was found.
func (r *reconciliation) write() error {
	lines := make([]store.StatementLine, len(r.statement.Lines))
	for i := range r.statement.Lines {
		l := &r.statement.Lines[i]
		lines[i] = store.StatementLine{
			Rail: r.rail, Reference: l.Reference, Statement: r.number, No: i + 1, Kind: string(l.Kind), RailID: l.RailID, Amount: l.Amount, At: l.At,
		}
		if p := r.about[l.Reference]; p != nil {
			lines[i].Project = p.Project
		}
	}
	for chunk := range slices.Chunk(lines, linesChunk) {
		if err := r.report(r.ctx, &keepLines{chunk}); err != nil {
			return err
		}
	}
	differences := r.differences()
	r.summary.Opening, r.summary.Closing = r.statement.Opening, r.statement.Closing
	r.summary.Lines, r.summary.Due, r.summary.Differences = len(lines), len(r.due), len(differences)
	return r.report(r.ctx, &endStatement{of: store.Statement{
		Number: r.number, Rail: r.rail, ID: r.statement.ID, Print: r.print, From: r.statement.From, To: r.statement.To,
		State: store.StatementDone, Summary: r.summary,
	}, differences: differences})
}

// differences are those of lines in their order, then what is missing in the
// order of the books, then that of the balances.
func (r *reconciliation) differences() (list []store.Difference) {
	add := func(d store.Difference) {
		d.Statement, d.No = r.number, len(list)+1
		list = append(list, d)
	}
	for i := range r.verdicts {
		l, v := &r.statement.Lines[i], &r.verdicts[i]
		if v.kind == "" {
			r.summary.Matched++
			continue
		}
		d := store.Difference{
			Kind: v.kind, Line: i + 1, Reference: l.Reference, RailID: l.RailID, Theirs: l.Amount, Ours: v.ours, Text: v.text, At: l.At,
		}
		if p := r.about[l.Reference]; p != nil {
			d.Project, d.Session, d.Payout = p.Project, p.Session, p.payout
		}
		if l.Text != "" {
			d.Text += "; the rail says: " + l.Text
		}
		add(d)
	}
	for _, m := range r.missing {
		text := "it was paid"
		if m.Minor < 0 {
			text = "it came back"
		}
		add(store.Difference{
			Kind: store.Missing, Project: m.Project, Session: m.Session, Payout: m.Payout, Reference: m.Reference,
			Ours: money.Amount{Minor: m.Minor, Currency: money.RUB}, Text: text + ", says the rail's answer, and no statement has it", At: m.At,
		})
	}
	if d, differs := r.sum(); differs {
		add(d)
	}
	return list
}

// sum adds the lines up: whether they lead from the one balance to the other.
func (r *reconciliation) sum() (d store.Difference, differs bool) {
	if r.statement.Opening == nil || r.statement.Closing == nil {
		return d, false
	}
	sum := *r.statement.Opening
	for i := range r.statement.Lines {
		l := &r.statement.Lines[i]
		change := l.Amount
		if l.Direction == statement.Debit {
			change.Minor = -change.Minor
		}
		var err error
		if sum, err = sum.Add(change); err != nil {
			sum = money.Amount{}
			break
		}
	}
	return store.Difference{
		Kind: store.OtherSum, Theirs: *r.statement.Closing, Ours: sum, At: r.statement.To,
		Text: "the lines do not lead from the opening to the closing balance: some are lost, or not ours",
	}, sum != *r.statement.Closing
}

// beginStatement writes a statement down, once for each name; of one that was
// begun it finds the number.
type beginStatement struct {
	key string
	of  store.Statement
}

func (b *beginStatement) keyRef() store.KeyRef {
	return store.KeyRef{Scope: store.ScopeStatement, Key: b.key}
}

func (b *beginStatement) reads(names *store.Reads) { names.Keys = append(names.Keys, b.keyRef()) }

func (b *beginStatement) decide(t *tx) (Answer, error) {
	if known, ok := t.rows.Keys[b.keyRef()]; ok {
		if known.Print != b.of.Print {
			return Answer{}, fault.New(fault.Invalid, "id: the statement %s of %s was taken in with another content", b.of.ID, b.of.Rail)
		}
		number, err := id.ParseStatement(string(known.Answer))
		if err != nil {
			return Answer{}, err
		}
		b.of.Number = number
		return Answer{Replayed: true}, nil
	}
	b.of.At = t.now
	t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: b.keyRef(), Print: b.of.Print, Answer: []byte(b.of.Number.String()), At: t.now})
	t.own.Statements = append(t.own.Statements, b.of)
	return Answer{}, nil
}

// keepLines writes lines down; those that are there stay.
type keepLines struct{ lines []store.StatementLine }

func (k *keepLines) reads(*store.Reads) {}

func (k *keepLines) decide(t *tx) (Answer, error) {
	t.own.Lines = append(t.own.Lines, k.lines...)
	return Answer{}, nil
}

// endStatement writes down what was found, and tells people of each difference,
// once.
type endStatement struct {
	of          store.Statement
	differences []store.Difference
}

func (c *endStatement) keyRef() store.KeyRef {
	return store.KeyRef{Scope: store.ScopeStatementDone, Key: c.of.Number.String()}
}

func (c *endStatement) reads(names *store.Reads) { names.Keys = append(names.Keys, c.keyRef()) }

func (c *endStatement) decide(t *tx) (Answer, error) {
	if _, done := t.rows.Keys[c.keyRef()]; done {
		return Answer{Replayed: true}, nil
	}
	t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: c.keyRef(), Print: c.of.Print, At: t.now})
	t.own.Statements = append(t.own.Statements, c.of)
	t.own.Differences = append(t.own.Differences, c.differences...)
	for i := range c.differences {
		d := &c.differences[i]
		t.alarm(store.SessionKey{Project: d.Project, Session: d.Session}, d.Payout, "statement_"+string(d.Kind),
			fmt.Sprintf("statement %s of the rail %s (%s): %s%s", c.of.ID, c.of.Rail, d.Statement, about(d), d.Text))
	}
	return Answer{}, nil
}

// about names the line or the payout of a difference; "" of the balances, which
// are of neither.
func about(d *store.Difference) string {
	switch {
	case d.Line != 0 && d.Reference != "":
		return fmt.Sprintf("line %d, %s %s: ", d.Line, d.Reference, d.Theirs)
	case d.Line != 0:
		return fmt.Sprintf("line %d, %s: ", d.Line, d.Theirs)
	case d.Reference != "":
		return d.Reference + ": "
	}
	return ""
}
