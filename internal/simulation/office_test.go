package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// office is the tax service with books of its own. Questions to it and answers
// of it are lost, late and doubled, it fails before and after it has done what it
// was asked for, and it lies. People take their consent back, and earn elsewhere.
type office struct {
	*world
	people   []*person
	receipts map[string]*taxed // by operation
	messages map[tax.Message]*message
}

// person is somebody self-employed.
type person struct {
	inn    string
	linked bool
	earned int64 // with others, in the year in which a history begins
	// clouded says why the yearly limit can't be reckoned for the person: others
	// have earned for them since, or the service has lied. "" if it can.
	clouded string
}

// taxed is a receipt in the books of the service.
type taxed struct {
	tax.Receipt
	item *item
}

// message is a question that was taken, with its answer.
type message struct {
	answer tax.Answer
	due    time.Time
}

// news is what is known of the receipt of one payout beside the books.
type news struct {
	late bool // a question that was late has registered what we had given up
	lied bool // the service has said something else than its books
}

// openOffice makes the service, with people who are near their yearly limit.
func (w *world) openOffice() {
	w.office = &office{world: w, receipts: map[string]*taxed{}, messages: map[tax.Message]*message{}}
	for n := range 1 + w.roll("people").IntN(3) {
		p := &person{inn: fmt.Sprintf("77131000530%d", n), linked: true}
		p.earned = tax.IncomeMax.Minor - int64(20_000+w.roll("income of "+p.inn).IntN(150_000))
		w.office.people = append(w.office.people, p)
		w.happens(p.inn, "consent withdrawn", func() {
			w.tell("%s takes the consent back", p.inn)
			p.linked = false
			if name := p.inn + " consents again"; w.roll(name).IntN(4) > 0 {
				w.after(w.between(name+" after", time.Second, 30*time.Second), name, func() { p.linked = true })
			}
		})
		w.happens(p.inn, "others earn", func() {
			p.earned, p.clouded = p.earned+30_000, "others have earned"
			w.tell("%s earns 30000 elsewhere", p.inn)
		})
	}
}

// happens plans what befalls somebody once, if it does.
func (w *world) happens(whom, kind string, do func()) {
	name := whom + " " + kind
	if w.roll(name).Float64() < w.rates[kind] {
		w.plan(w.between(name+" after", time.Second, w.length), name, do)
	}
}

// clerk is the service as one node reaches it.
type clerk struct{ n *node }

func (n *node) taxService() tax.Service {
	if n.office == nil {
		return nil
	}
	return clerk{n}
}

// Ask carries a question.
func (k clerk) Ask(ctx context.Context, q tax.Question) (m tax.Message, err error) {
	n, o := k.n, k.n.office
	about := string(q.Kind)
	switch q.Kind {
	case tax.Register:
		about += " " + q.Receipt.Services[0].Name
	case tax.ListReceipts:
		about += " of " + q.Day.Format(time.DateOnly)
	default:
		about += " of " + q.INN
	}
	err = n.enter(ctx, n.name+" asks "+about, func(c *call) {
		switch {
		case n.goesWrong("crash before", c.name):
			n.crash("before " + c.name)
		case !o.mayAsk(q):
			c.end(errBroken)
		case n.goesWrong("question lost", c.name):
			n.tell("%s: lost on its way", c.name)
			c.unanswered()
		case n.goesWrong("question late", c.name):
			d := n.between(c.name+" is late by", 100*time.Millisecond, 40*time.Second)
			d = min(d, max(time.Millisecond, time.Until(n.opening.Add(n.length+8*time.Second))))
			n.tell("%s: on its way for %v", c.name, d.Round(time.Millisecond))
			n.after(d, c.name+" arrives", func() { o.takes(q, c.name+", late", true) })
			c.unanswered()
		default:
			c.then(n.between(c.name+" arrives after", time.Millisecond, 50*time.Millisecond), func() {
				taken := o.takes(q, c.name, false)
				if n.goesWrong("question doubled", c.name) {
					d := n.between(c.name+" arrives again after", time.Millisecond, 5*time.Second)
					n.after(d, c.name+" arrives again", func() { o.takes(q, c.name+", again", true) })
				}
				switch {
				case n.goesWrong("crash after", c.name):
					n.crash("after " + c.name)
				case n.goesWrong("message lost", c.name):
					n.tell("%s: taken, and the answer is lost", c.name)
					c.unanswered()
				default:
					m = taken
					c.end(nil)
				}
			})
		}
	})
	return m, err
}

// Answer carries an answer.
func (k clerk) Answer(ctx context.Context, m tax.Message) (a tax.Answer, err error) {
	n, o := k.n, k.n.office
	err = n.enter(ctx, n.name+" fetches the answer to "+string(m), func(c *call) {
		has := o.messages[m]
		switch {
		case n.goesWrong("crash before", c.name):
			n.crash("before " + c.name)
		case n.goesWrong("answer not fetched", c.name):
			n.tell("%s: no answer", c.name)
			c.unanswered()
		case has == nil, n.goesWrong("message forgotten", c.name):
			n.tell("%s: no such message", c.name)
			c.end(tax.ErrNoMessage)
		case has.due.After(time.Now()):
			c.end(tax.ErrPending)
		default:
			n.tell("%s: %s", c.name, said(has.answer))
			a = has.answer
			c.end(nil)
		}
	})
	return a, err
}

// mayAsk sees that what changes something was promised, and is what was paid.
func (o *office) mayAsk(q tax.Question) bool {
	if q.Kind != tax.Register && q.Kind != tax.Cancel {
		return true
	}
	k, i, p := o.operation(q.Operation)
	switch {
	case i == nil || i.fiscal == nil:
		o.breaks("promise", "the tax service is asked to %s under %s, which is no payout with a receipt", q.Kind, q.Operation)
	case q.INN != i.fiscal.who.inn:
		o.breaks("own", "the tax service is asked to %s for %s in place of %s, whom %s is for", q.Kind, q.INN, i.fiscal.who.inn, i.label)
	case q.Kind == tax.Cancel && (p.Receipt.State != session.Cancelling || q.ReceiptID != p.Receipt.ID):
		o.breaks("promise", "the tax service is asked to cancel the receipt of %s, which is %s", i.label, p.Receipt.State)
	case q.Kind == tax.Cancel:
		return true
	case p.Receipt.State != session.Registering && p.Receipt.State != session.Undoing:
		o.breaks("promise", "the tax service is asked to register %s, whose receipt is %s", i.label, p.Receipt.State)
	case q.Receipt.Services[0].Name != i.label || q.Receipt.Services[0].Amount.Minor != i.fiscal.minor || !q.Receipt.At.Equal(p.Receipt.EarnedAt):
		o.breaks("own", "the tax service is asked to register %+v for %s", q.Receipt, i.label)
	case i.moves() && i.paid == 0 && !o.liedAbout(p):
		o.breaks("receipt", "the tax service is asked to register %s of %s, which no rail has paid", i.label, k.Project)
	default:
		return true
	}
	return false
}

// liedAbout reports whether a rail has contradicted its books about a payout.
func (w *world) liedAbout(p *session.Payout) bool {
	r := w.rails[p.Rail]
	return r != nil && r.payments[p.Reference] != nil && r.payments[p.Reference].lied
}

// operation finds what is registered or cancelled under one.
func (w *world) operation(name string) (store.SessionKey, *item, *session.Payout) {
	name, _, _ = strings.Cut(name, ".")
	for k, row := range w.rows() {
		for n := range row.Payouts {
			if p := &row.Payouts[n]; p.ID.String() == name {
				i, _ := w.itemOf(k, p.ID)
				return k, i, p
			}
		}
	}
	return store.SessionKey{}, nil, nil
}

// takes answers a question that has arrived, and gives it a name.
func (o *office) takes(q tax.Question, name string, late bool) tax.Message {
	has := &message{answer: o.answers(q, name, late), due: time.Now()}
	if q.Kind == tax.Register && o.goesWrong("receipt takes its time", name) {
		has.due = has.due.Add(o.between(name+" takes", 100*time.Millisecond, 12*time.Second))
	}
	m := tax.Message(o.number(string(q.Kind)))
	o.messages[m] = has
	if late || q.Kind == tax.Register || q.Kind == tax.Cancel {
		o.tell("THE TAX SERVICE on %s: %s", name, said(has.answer))
	}
	return m
}

// said is an answer in a word.
func said(a tax.Answer) string {
	switch {
	case a.Refused != "":
		return string(a.Refused)
	case a.Registered != nil:
		return "registered as " + a.Registered.ID
	}
	return "answered"
}

func (o *office) answers(q tax.Question, name string, late bool) tax.Answer {
	if o.goesWrong("service fails", name) {
		return tax.Answer{Refused: tax.Failed}
	}
	switch q.Kind {
	case tax.GetStatus:
		return tax.Answer{SelfEmployed: true, Linked: o.person(q.INN).linked}
	case tax.GetIncome:
		return tax.Answer{Income: money.Amount{Minor: o.income(o.person(q.INN), q.Year), Currency: money.RUB}}
	case tax.Register:
		return o.register(q, name, late)
	case tax.Cancel:
		for _, r := range o.receipts {
			if r.INN == q.INN && r.ID == q.ReceiptID {
				r.Cancelled = true
				return tax.Answer{}
			}
		}
		return tax.Answer{Refused: tax.NoReceipt}
	case tax.ListReceipts:
		var a tax.Answer
		for _, r := range sorted(o.receipts, func(a, b *taxed) int { return strings.Compare(a.Operation, b.Operation) }) {
			if !r.At.Before(q.Day) && r.At.Before(q.Day.AddDate(0, 0, 1)) {
				a.Receipts = append(a.Receipts, r.Receipt)
			}
		}
		return a
	}
	return tax.Answer{Refused: tax.Failed}
}

// register makes the receipt of an operation, once: asked again it gives the same
// one, also when that is cancelled.
func (o *office) register(q tax.Question, name string, late bool) tax.Answer {
	_, i, p := o.operation(q.Operation)
	has := o.receipts[q.Operation]
	if has == nil {
		has = &taxed{item: i, Receipt: tax.Receipt{
			INN: q.INN, Operation: q.Operation, ID: fmt.Sprintf("receipt%03d", len(o.receipts)), Link: "https://tax.example/" + q.Operation,
			Amount: money.Amount{Minor: i.fiscal.minor, Currency: money.RUB}, At: q.Receipt.At,
		}}
		if why := o.refuses(i, tax.YearOf(q.Receipt.At)); why != "" {
			return tax.Answer{Refused: why}
		}
		if o.goesWrong("service claims what it has not", name) {
			i.news.lied, i.fiscal.who.clouded = true, "the service has lied"
			has.ID = "invented00"
			return tax.Answer{Registered: &has.Receipt}
		}
		o.receipts[q.Operation] = has
		o.tell("THE TAX SERVICE registers %s", i.label)
		for operation, r := range o.receipts {
			if r.item == i && operation != q.Operation {
				o.breaks("receipt", "%s has two receipts, under %s and %s", i.label, operation, q.Operation)
			}
		}
		if s := p.Receipt.State; late && s != session.Registering && s != session.Undoing {
			i.news.late, i.fiscal.who.clouded = true, "a late question has registered"
		}
	}
	switch {
	case o.goesWrong("service fails and registers", name):
		return tax.Answer{Refused: tax.Failed}
	case o.goesWrong("service denies what it has", name):
		i.news.lied, i.fiscal.who.clouded = true, "the service has lied"
		return tax.Answer{Refused: tax.NotLinked}
	}
	registered := has.Receipt
	return tax.Answer{Registered: &registered}
}

// refuses says why the service registers no receipt of an item; "" if it does.
func (o *office) refuses(i *item, year int) tax.Refusal {
	switch who := i.fiscal.who; {
	case !who.linked:
		return tax.NotLinked
	case o.income(who, year)+i.fiscal.minor > tax.IncomeMax.Minor:
		return tax.LimitExceeded
	}
	return ""
}

func (o *office) person(inn string) *person {
	return o.people[slices.IndexFunc(o.people, func(p *person) bool { return p.inn == inn })]
}

// income is what a person has earned in a year, as far as it is registered.
func (o *office) income(p *person, year int) (sum int64) {
	if year == tax.YearOf(o.opening) {
		sum = p.earned
	}
	for _, r := range o.receipts {
		if r.INN == p.inn && !r.Cancelled && tax.YearOf(r.At) == year {
			sum += r.Amount.Minor
		}
	}
	return sum
}

// count adds to a sum what a payout will have earned for a person, if it is
// accepted and not in the books of the service.
func (o *office) count(accepted map[*person]int64, i *item, p *session.Payout) {
	r := p.Receipt
	switch p.State {
	case session.Awaiting, session.Confirmed, session.Sent, session.Unclear, session.Paid, session.Disputed:
	default:
		return
	}
	switch r.State {
	case session.Reserved, session.Due, session.Registering, session.Undoing, session.Refused:
		if o.receipts[p.Operation()] == nil && (r.Year == 0 || r.Year == r.Reserved) && r.Reserved == tax.YearOf(o.opening) {
			accepted[i.fiscal.who] += i.fiscal.minor
		}
	}
}

// within sees that nobody was accepted above the yearly limit, all projects
// together, as far as that could be known.
func (o *office) within(accepted map[*person]int64) {
	for _, p := range o.people {
		has := o.income(p, tax.YearOf(o.opening))
		if p.clouded == "" && accepted[p] > 0 && has+accepted[p] > tax.IncomeMax.Minor {
			o.breaks("limit", "%s has earned %d, and payouts of %d are accepted: %d too much", p.inn, has, accepted[p], has+accepted[p]-tax.IncomeMax.Minor)
		}
	}
}

// openReceipt says what is left to do for the receipt of a payout; "" for nothing,
// or nothing but what people were told of.
func (w *world) openReceipt(i *item, p *session.Payout) string {
	switch r := p.Receipt; {
	case r == nil || !r.State.Open():
		return ""
	case r.State == session.Refused && w.alarmed("receipt_refused", p.ID) && w.office.receipts[p.Operation()] == nil && w.office.refuses(i, r.Year) != "":
		return ""
	case r.State == session.Cancelling && w.alarmed("receipt_not_cancelled", p.ID) && w.office.receipts[p.Operation()] == nil:
		return ""
	default:
		return fmt.Sprintf("the receipt of %s is %s", i.label, r.State)
	}
}

// audit is what comes after all is over: the last statements of the rails, and
// the comparison of receipts, which is of days that have passed.
func (w *world) audit() {
	if w.statements {
		for _, r := range sorted(w.rails, byName) {
			r.issue()
		}
		for n := 0; n < 100 && w.failed() == nil && w.untaken() != ""; n++ {
			w.run(time.Now().Add(10*time.Second), func() bool { return w.untaken() == "" })
		}
		if untaken := w.untaken(); untaken != "" {
			w.breaks("drain", "the statement %s is not taken in", untaken)
		}
	}
	if w.archives {
		w.proveArchives()
	}
	if w.office == nil {
		return
	}
	for n := 0; n < 100 && w.failed() == nil && !w.compared(); n++ {
		w.run(time.Now().Add(10*time.Second), w.compared)
		if next := dayAfter(w.nodes[0].now()); !w.compared() && n == 0 {
			w.leap(next.Sub(w.nodes[0].now()))
		} else if n > 10 {
			w.leap(time.Minute)
		}
	}
	if w.failed() == nil && !w.compared() {
		w.breaks("drain", "the receipts of a day are not compared")
	}
}

// dayAfter is when the day of a time in Moscow is compared.
func dayAfter(t time.Time) time.Time {
	t = t.In(tax.Moscow)
	return time.Date(t.Year(), t.Month(), t.Day()+1, 3, 1, 0, 0, tax.Moscow)
}

// compared reports whether each day of the history was compared on which
// something was earned.
func (w *world) compared() bool {
	day := func(at time.Time) bool {
		_, done := w.store.keys[store.KeyRef{Scope: store.ScopeReceipt, Key: "compared/" + at.In(tax.Moscow).Format(time.DateOnly)}]
		return done
	}
	for _, r := range w.office.receipts {
		if !day(r.At) {
			return false
		}
	}
	for _, row := range w.rows() {
		for n := range row.Payouts {
			if r := row.Payouts[n].Receipt; r != nil && !r.EarnedAt.IsZero() && !day(r.EarnedAt) {
				return false
			}
		}
	}
	return true
}

// finalReceipts compares the books of the service with ours.
func (w *world) finalReceipts() {
	alarms := map[string]int{}
	for _, a := range w.store.alarms {
		if !strings.HasPrefix(a.Kind, "receipt_") {
			continue
		}
		about := a.Payout.String()
		if _, after, found := strings.Cut(a.Text, ", operation "); found && a.Payout == 0 {
			about, _, _ = strings.Cut(after, ",")
		}
		alarms[a.Kind+" "+about]++
	}
	for k, row := range w.rows() {
		for n := range row.Payouts {
			if p := &row.Payouts[n]; p.Receipt != nil {
				i, _ := w.itemOf(k, p.ID)
				w.agreeReceipt(i, p, alarms)
			}
		}
	}
	for operation := range w.office.receipts {
		if _, i, _ := w.operation(operation); i == nil {
			w.breaks("receipt", "the tax service has a receipt under %s, which is no payout", operation)
		}
	}
	for k, i := range w.store.incomes {
		if i.Held != 0 {
			w.breaks("limit", "%d are still held of what %s may earn in %d", i.Held, k.INN, k.Year)
		}
	}
}

// agreeReceipt sees that what was paid is registered once, or an open matter of
// which people were told, and that nothing else is.
func (w *world) agreeReceipt(i *item, p *session.Payout, alarms map[string]int) {
	r, has, operation := p.Receipt, w.office.receipts[p.Operation()], p.Operation()
	standing := has != nil && !has.Cancelled
	alarmed := func(kind string) bool { return alarms[kind+" "+operation] > 0 }
	wants := func(ok bool, format string, args ...any) {
		if !ok {
			w.breaks("receipt", "%s is %s, its receipt %s: %s", i.label, p.State, r.State, fmt.Sprintf(format, args...))
		}
	}
	switch p.State {
	case session.Paid, session.Returned:
		wants(!r.EarnedAt.IsZero(), "it was never due")
	case session.Failed, session.Cancelled:
		wants(r.State == session.Released, "it should be released")
	}
	if p.State == session.Returned && !i.charge.shop.project.KeepReceipts || i.charge.annulled {
		wants(r.State == session.Annulled || r.State == session.Released || r.State == session.Cancelling, "it should be cancelled")
	} else if p.State == session.Paid && !i.charge.annuls { // of which perhaps nobody has heard
		wants(r.State == session.Registered || r.State == session.Refused, "it should be registered")
	}
	switch r.State {
	case session.Registered:
		wants(standing && has.ID == r.ID || i.news.lied && (alarmed("receipt_missing") || alarmed("receipt_other") || standing), "the tax service has %v", has)
	case session.Annulled:
		wants(!standing, "the tax service has it as valid")
	case session.Released:
		if standing {
			wants(i.news.late || i.news.lied, "the tax service has %s, after it was given up", has.ID)
			wants(alarmed("receipt_unknown"), "the tax service has %s, and nobody was told", has.ID)
		}
	case session.Refused:
		wants(alarmed("receipt_refused"), "and nobody was told")
		wants(i.news.lied || alarmed("receipt_open"), "and the comparison has not shown it")
	}
	for _, kind := range []string{"receipt_unknown", "receipt_missing", "receipt_other", "receipt_gone", "receipt_stands", "receipt_open"} {
		wants(alarms[kind+" "+operation] <= 1, "%d alarms %s", alarms[kind+" "+operation], kind)
		if kind != "receipt_open" && alarmed(kind) {
			wants(i.news.late || i.news.lied, "alarm %s, and the service has kept to its books", kind)
		}
	}
}
