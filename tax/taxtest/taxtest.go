// Package taxtest is the suite that every connector to the tax service passes
// before it tells the state of anybody's income. It asks for two things above
// all: that an operation counts once, and that nothing is called refused of
// which nobody knows what became.
package taxtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// copies is how many questions are asked at the same time.
const copies = 32

// Bounds of what a connector may take.
const (
	soon      = time.Second // after its context has ended, a call is back
	answerMax = time.Minute // an answer of the service's test environment
)

// Harness is one connector with a tax service that behaves: no answer is lost
// unless the suite loses it.
type Harness struct {
	Service tax.Service
	// Restart closes the connector and opens it again on the same durable state.
	// nil leaves out what only a restart shows, for one that keeps nothing.
	Restart func(t *testing.T) tax.Service
	// Linked, Unlinked and Other are INNs of two self-employed people, one linked
	// and one not, and of somebody who is none. The first two have earned nothing
	// in Year and the year after.
	Linked, Unlinked, Other string
	Year                    int
	// Phone is that of Unlinked; "" leaves out links by phone.
	Phone string
	// Decide has a person answer a request to link; nil leaves out what needs it.
	Decide func(t *testing.T, inn string, allow bool)
	// Strange is an INN whose last name is not "Orlov"; "" leaves it out.
	Strange string
	// Notified is an INN with notifications to read; "" leaves it out.
	Notified string
}

// Run checks one connector. Each case gets a harness of its own from open,
// which closes it by t.Cleanup.
func Run(t *testing.T, open func(*testing.T) Harness) {
	cases := []struct {
		name string
		run  func(*suite)
	}{
		{"StatusIsTold", statusIsTold},
		{"AnswersStay", answersStay},
		{"UnknownMessage", unknownMessage},
		{"EndedContext", endedContext},
		{"LeftInTheMiddle", leftInTheMiddle},
		{"LinkIsConfirmed", linkIsConfirmed},
		{"LinkIsRejected", linkIsRejected},
		{"LinkIsRefused", linkIsRefused},
		{"LinkByPhone", linkByPhone},
		{"Unlink", unlink},
		{"RegisterMakesOneReceipt", registerMakesOne},
		{"RegisterAgainAfterRestart", registerAfterRestart},
		{"ManyAtOnceMakeOneReceipt", manyMakeOne},
		{"OtherOperationMakesAnother", otherOperation},
		{"RegisterIsRefused", registerIsRefused},
		{"LimitIsExact", limitIsExact},
		{"YearIsMoscows", yearIsMoscows},
		{"CancelTakesIncomeBack", cancelTakesBack},
		{"CancelIsRefused", cancelIsRefused},
		{"ReceiptsOfADay", receiptsOfADay},
		{"PersonIsCompared", personIsCompared},
		{"NotificationsAreRead", notificationsAreRead},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, Harness: open(t)}
			c.run(s)
		})
	}
}

// suite is one case's harness.
type suite struct {
	*testing.T
	Harness
}

var operations atomic.Int64

// operation names what nobody has asked for.
func operation() string {
	return fmt.Sprintf("taxtest-%d-%d", time.Now().UnixMilli(), operations.Add(1))
}

func (s *suite) restart() {
	s.Helper()
	if s.Restart != nil {
		s.Service = s.Restart(s.T)
	}
}

// ask asks and waits for the answer, which it holds to the rules for all.
func (s *suite) ask(q tax.Question) tax.Answer {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), answerMax)
	defer cancel()
	a, err := tax.Call(ctx, s.Service, q)
	if err != nil {
		s.Fatalf("%s: %v", q.Kind, err)
	}
	s.rules(q.Kind, a)
	return a
}

// try is ask that many may call at once.
func (s *suite) try(q tax.Question) (tax.Answer, error) {
	ctx, cancel := context.WithTimeout(s.Context(), answerMax)
	defer cancel()
	a, err := tax.Call(ctx, s.Service, q)
	if err == nil {
		s.rules(q.Kind, a)
	}
	return a, err
}

func (s *suite) rules(k tax.Kind, a tax.Answer) {
	s.Helper()
	switch {
	case a.Refused == "" && a.Text != "":
		s.Errorf("%s: not refused, with the text %q of a refusal", k, a.Text)
	case a.Refused != "" && !slices.Contains(tax.Refusals, a.Refused):
		s.Errorf("%s: %q is not one of tax.Refusals", k, a.Refused)
	case a.Refused != "" && a.Text == "":
		s.Errorf("%s: refused with %s and no text", k, a.Refused)
	case a.Refused != "" && !reflect.DeepEqual(a, tax.Answer{Refused: a.Refused, Text: a.Text}):
		s.Errorf("%s: refused, with an answer beside it: %+v", k, a)
	}
}

// refused wants a refusal.
func (s *suite) refused(q tax.Question, want tax.Refusal) {
	s.Helper()
	if a := s.ask(q); a.Refused != want {
		s.Errorf("%s: %+v, want the refusal %s", q.Kind, a, want)
	}
}

func (s *suite) status(inn string, selfEmployed, linked bool) {
	s.Helper()
	a := s.ask(tax.Question{Kind: tax.GetStatus, INN: inn})
	if a.Refused != "" || a.SelfEmployed != selfEmployed || a.Linked != linked {
		s.Errorf("the status of %s is %+v, want self-employed %t, linked %t", inn, a, selfEmployed, linked)
	}
}

// noon is in a year, by Moscow's clock.
func (s *suite) noon(year int) time.Time {
	return time.Date(year, time.June, 3, 12, 0, 0, 0, tax.Moscow)
}

func (s *suite) income(inn string, year int) int64 {
	s.Helper()
	a := s.ask(tax.Question{Kind: tax.GetIncome, INN: inn, Year: year})
	if a.Refused != "" || a.Income.Currency != money.RUB {
		s.Fatalf("the income of %s in %d is %+v, want roubles", inn, year, a)
	}
	return a.Income.Minor
}

func (s *suite) wantIncome(inn string, year int, want int64) {
	s.Helper()
	if got := s.income(inn, year); got != want {
		s.Errorf("the income of %s in %d is %d kopecks, want %d", inn, year, got, want)
	}
}

// registration registers one service of so many kopecks.
func (s *suite) registration(inn, operation string, minor int64, at time.Time) tax.Question {
	return tax.Question{Kind: tax.Register, INN: inn, Operation: operation, Receipt: &tax.Income{
		At:       at.UTC().Truncate(time.Microsecond),
		Services: []tax.Item{{Name: "Courier service", Amount: money.Amount{Minor: minor, Currency: money.RUB}, Quantity: 1}},
		Payer:    tax.Payer{Type: tax.PayerLegal, INN: "7704123450", Name: "OOO Sever"},
	}}
}

func (s *suite) registered(q tax.Question) tax.Receipt {
	s.Helper()
	a := s.ask(q)
	if a.Registered == nil {
		s.Fatalf("nothing is registered: %+v", a)
	}
	return *a.Registered
}

func statusIsTold(s *suite) {
	s.status(s.Linked, true, true)
	s.status(s.Unlinked, true, false)
	s.status(s.Other, false, false)
}

var messageForm = regexp.MustCompile(`\A[!-~]{1,64}\z`)

func answersStay(s *suite) {
	m, err := s.Service.Ask(s.Context(), tax.Question{Kind: tax.GetStatus, INN: s.Linked})
	if err != nil {
		s.Fatal(err)
	}
	if !messageForm.MatchString(string(m)) {
		s.Errorf("the message is %q, want 1 to 64 printable characters", m)
	}
	other, err := s.Service.Ask(s.Context(), tax.Question{Kind: tax.GetStatus, INN: s.Other})
	if err != nil || other == m {
		s.Fatalf("two questions, and the messages %q and %q, %v", m, other, err)
	}
	for range 3 {
		if a := s.answer(m); !a.SelfEmployed || !a.Linked {
			s.Errorf("the answer is %+v", a)
		}
		if a := s.answer(other); a.SelfEmployed {
			s.Errorf("the answer about somebody else is %+v", a)
		}
		s.restart()
	}
}

// answer waits for the answer to a message.
func (s *suite) answer(m tax.Message) tax.Answer {
	s.Helper()
	end := time.After(answerMax)
	for {
		a, err := s.Service.Answer(s.Context(), m)
		if err == nil {
			return a
		}
		if !errors.Is(err, tax.ErrPending) {
			s.Fatal(err)
		}
		select {
		case <-end:
			s.Fatalf("no answer within %s", answerMax)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func unknownMessage(s *suite) {
	if a, err := s.Service.Answer(s.Context(), "taxtest-nobody-has-asked"); !errors.Is(err, tax.ErrNoMessage) {
		s.Errorf("the answer to what nobody has asked is %+v, %v; want tax.ErrNoMessage", a, err)
	}
}

func endedContext(s *suite) {
	m, err := s.Service.Ask(s.Context(), tax.Question{Kind: tax.GetStatus, INN: s.Linked})
	if err != nil {
		s.Fatal(err)
	}
	ended, end := context.WithCancel(s.Context())
	end()
	begun := time.Now()
	if _, err := s.Service.Ask(ended, tax.Question{Kind: tax.GetStatus, INN: s.Linked}); err == nil {
		s.Error("a question whose asker has left is taken as if nothing were")
	}
	if a, err := s.Service.Answer(ended, m); err == nil || errors.Is(err, tax.ErrNoMessage) || errors.Is(err, tax.ErrPending) {
		s.Errorf("the answer to who has left is %+v, %v; want an error that says nothing of the message", a, err)
	}
	if took := time.Since(begun); took > 10*soon { // a busy machine is late
		s.Errorf("two calls whose context had ended took %s, want a second for each", took)
	}
}

// leftInTheMiddle ends the contexts of registrations that are under way.
func leftInTheMiddle(s *suite) {
	q := s.registration(s.Linked, operation(), 500_00, s.noon(s.Year))
	var wg sync.WaitGroup
	for n := range copies {
		wg.Go(func() {
			ctx, leave := context.WithTimeout(s.Context(), time.Duration(n)*100*time.Microsecond)
			defer leave()
			if a, err := tax.Call(ctx, s.Service, q); err == nil && a.Registered == nil {
				s.Errorf("an asker who may have left got %+v", a)
			}
		})
	}
	wg.Wait()
	s.registered(q)
	s.wantIncome(s.Linked, s.Year, 500_00)
}

// link asks to link somebody.
func (s *suite) link(q tax.Question) string {
	s.Helper()
	q.Kind = tax.Link
	a := s.ask(q)
	if a.Refused != "" || a.Request == "" || len(a.Request) > 64 {
		s.Fatalf("a request to link: %+v, want one with a name of 1 to 64 characters", a)
	}
	return a.Request
}

func (s *suite) wantLink(request string, want tax.LinkState) {
	s.Helper()
	a := s.ask(tax.Question{Kind: tax.GetLink, Request: request})
	if a.Refused != "" || a.Link != want || a.INN != s.Unlinked {
		s.Errorf("the request is %+v, want %s of %s", a, want, s.Unlinked)
	}
}

func linkIsConfirmed(s *suite) {
	request := s.link(tax.Question{INN: s.Unlinked})
	s.wantLink(request, tax.LinkRequested)
	s.status(s.Unlinked, true, false)
	if s.Decide == nil {
		return
	}
	s.Decide(s.T, s.Unlinked, true)
	for range 2 {
		s.wantLink(request, tax.LinkConfirmed)
		s.status(s.Unlinked, true, true)
		s.restart()
	}
	s.refused(tax.Question{Kind: tax.Link, INN: s.Unlinked}, tax.AlreadyLinked)
}

func linkIsRejected(s *suite) {
	if s.Decide == nil {
		s.Skip("nobody to decide")
	}
	first := s.link(tax.Question{INN: s.Unlinked})
	s.Decide(s.T, s.Unlinked, false)
	s.wantLink(first, tax.LinkRejected)
	s.status(s.Unlinked, true, false)
	second := s.link(tax.Question{INN: s.Unlinked})
	s.wantLink(second, tax.LinkRequested)
	s.wantLink(first, tax.LinkRejected)
	s.Decide(s.T, s.Unlinked, true)
	s.wantLink(second, tax.LinkConfirmed)
}

func linkIsRefused(s *suite) {
	s.refused(tax.Question{Kind: tax.Link, INN: s.Other}, tax.NotTaxpayer)
	s.refused(tax.Question{Kind: tax.Link, INN: s.Linked}, tax.AlreadyLinked)
	s.refused(tax.Question{Kind: tax.GetLink, Request: "taxtest-nobody"}, tax.NoRequest)
}

func linkByPhone(s *suite) {
	if s.Phone == "" {
		s.Skip("no phone")
	}
	s.wantLink(s.link(tax.Question{Phone: s.Phone}), tax.LinkRequested)
	s.status(s.Unlinked, true, false)
}

// unlink has nobody register anything more, and takes nothing back: what is
// asked again was registered.
func unlink(s *suite) {
	q := s.registration(s.Linked, operation(), 100, s.noon(s.Year))
	r := s.registered(q)
	for range 2 {
		if a := s.ask(tax.Question{Kind: tax.Unlink, INN: s.Linked}); a.Refused != "" {
			s.Errorf("unlinked: %+v", a)
		}
		s.status(s.Linked, true, false)
	}
	s.refused(s.registration(s.Linked, operation(), 100, s.noon(s.Year)), tax.NotLinked)
	if got := s.registered(q); got != r {
		s.Errorf("asked again the receipt is %+v, it was %+v", got, r)
	}
}

var receiptForm = regexp.MustCompile(`\A[0-9a-z]{10}\z`)

func registerMakesOne(s *suite) {
	q := s.registration(s.Linked, operation(), 450_000, s.noon(s.Year))
	q.Receipt.Services = append(q.Receipt.Services, tax.Item{Name: "Parking", Amount: money.Amount{Minor: 100, Currency: money.RUB}, Quantity: 3})
	r := s.registered(q)
	link, err := url.Parse(r.Link)
	if !receiptForm.MatchString(r.ID) || err != nil || !link.IsAbs() || !strings.Contains(r.Link, r.ID) {
		s.Errorf("the receipt is %+v, want an ID of 10 lower-case letters and digits, and an absolute link with it", r)
	}
	if r.INN != s.Linked || r.Operation != q.Operation || r.Amount != (money.Amount{Minor: 450_300, Currency: money.RUB}) || !r.At.Equal(q.Receipt.At) || r.Cancelled {
		s.Errorf("the receipt is %+v, which is not what was asked for", r)
	}
	s.wantIncome(s.Linked, s.Year, 450_300)
	again := q
	other := *q.Receipt
	other.Services = []tax.Item{{Name: "Another", Amount: money.Amount{Minor: 1, Currency: money.RUB}, Quantity: 1}}
	again.Receipt = &other
	for _, q := range []tax.Question{q, again} {
		if got := s.registered(q); got != r {
			s.Errorf("asked again the receipt is %+v, it was %+v", got, r)
		}
	}
	s.wantIncome(s.Linked, s.Year, 450_300)
}

func registerAfterRestart(s *suite) {
	q := s.registration(s.Linked, operation(), 100, s.noon(s.Year))
	r := s.registered(q)
	s.restart()
	s.wantIncome(s.Linked, s.Year, 100)
	if got := s.registered(q); got != r {
		s.Errorf("after a restart the receipt is %+v, it was %+v", got, r)
	}
	s.wantIncome(s.Linked, s.Year, 100)
}

func manyMakeOne(s *suite) {
	q := s.registration(s.Linked, operation(), 700, s.noon(s.Year))
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		ids = map[string]bool{}
	)
	for range copies {
		wg.Go(func() {
			a, err := s.try(q)
			if err != nil {
				return // unknown, and allowed
			}
			mu.Lock()
			defer mu.Unlock()
			if a.Registered == nil {
				s.Errorf("one of many got %+v", a)
				return
			}
			ids[a.Registered.ID] = true
		})
	}
	wg.Wait()
	ids[s.registered(q).ID] = true
	if len(ids) != 1 {
		s.Errorf("%d receipts of one operation", len(ids))
	}
	s.wantIncome(s.Linked, s.Year, 700)
}

func otherOperation(s *suite) {
	q := s.registration(s.Linked, operation(), 700, s.noon(s.Year))
	first := s.registered(q)
	q.Operation = operation()
	if second := s.registered(q); second.ID == first.ID {
		s.Error("two operations have one receipt")
	}
	s.wantIncome(s.Linked, s.Year, 1400)
}

func registerIsRefused(s *suite) {
	s.refused(s.registration(s.Other, operation(), 100, s.noon(s.Year)), tax.NotTaxpayer)
	q := s.registration(s.Unlinked, operation(), 100, s.noon(s.Year))
	s.refused(q, tax.NotLinked)
	s.refused(tax.Question{Kind: tax.GetIncome, INN: s.Other, Year: s.Year}, tax.NotTaxpayer)
	s.refused(tax.Question{Kind: tax.GetIncome, INN: s.Unlinked, Year: s.Year}, tax.NotLinked)
	if s.Decide == nil {
		return
	}
	s.link(tax.Question{INN: s.Unlinked})
	s.Decide(s.T, s.Unlinked, true)
	s.registered(q) // what was refused has made nothing
	s.wantIncome(s.Unlinked, s.Year, 100)
}

// limitIsExact has many come at once who fit, and one kopeck that does not.
func limitIsExact(s *suite) {
	const part = 30_000_00 // 80 of them
	rest := (tax.IncomeMax.Minor - s.income(s.Linked, s.Year)) / part
	var (
		wg             sync.WaitGroup
		made, refusals atomic.Int64
	)
	for range rest + 20 {
		q := s.registration(s.Linked, operation(), part, s.noon(s.Year))
		wg.Go(func() {
			switch a, err := s.try(q); {
			case err != nil:
				s.Errorf("Register: %v", err)
			case a.Registered != nil:
				made.Add(1)
			case a.Refused == tax.LimitExceeded:
				refusals.Add(1)
			default:
				s.Errorf("Register: %+v", a)
			}
		})
	}
	wg.Wait()
	if made.Load() != rest || refusals.Load() != 20 {
		s.Errorf("%d registered and %d refused, want %d and 20", made.Load(), refusals.Load(), rest)
	}
	left := tax.IncomeMax.Minor - s.income(s.Linked, s.Year)
	if left > 0 {
		s.registered(s.registration(s.Linked, operation(), left, s.noon(s.Year)))
	}
	q := s.registration(s.Linked, operation(), 1, s.noon(s.Year))
	s.refused(q, tax.LimitExceeded)
	s.wantIncome(s.Linked, s.Year, tax.IncomeMax.Minor)
	q.Receipt.At = s.noon(s.Year + 1).UTC()
	s.registered(q)
}

func yearIsMoscows(s *suite) {
	newYear := time.Date(s.Year+1, time.January, 1, 0, 0, 0, 0, tax.Moscow)
	s.registered(s.registration(s.Linked, operation(), 100, newYear.Add(-time.Second)))
	s.registered(s.registration(s.Linked, operation(), 1000, newYear))
	s.wantIncome(s.Linked, s.Year, 100)
	s.wantIncome(s.Linked, s.Year+1, 1000)
}

func (s *suite) cancellation(r tax.Receipt) tax.Question {
	return tax.Question{Kind: tax.Cancel, INN: r.INN, Operation: operation(), ReceiptID: r.ID, Reason: tax.ReasonRefund}
}

func cancelTakesBack(s *suite) {
	q := s.registration(s.Linked, operation(), 900, s.noon(s.Year))
	s.registered(s.registration(s.Linked, operation(), 50, s.noon(s.Year)))
	r := s.registered(q)
	for range 2 {
		for range 2 {
			if a := s.ask(s.cancellation(r)); a.Refused != "" {
				s.Errorf("cancelled: %+v", a)
			}
			s.wantIncome(s.Linked, s.Year, 50)
		}
		s.restart()
	}
	cancelled := r
	cancelled.Cancelled = true
	if got := s.registered(q); got != cancelled {
		s.Errorf("registered again it is %+v, want the same receipt, cancelled", got)
	}
	s.wantIncome(s.Linked, s.Year, 50)
}

func cancelIsRefused(s *suite) {
	r := s.registered(s.registration(s.Linked, operation(), 900, s.noon(s.Year)))
	wrong := r
	wrong.ID = "0000000000"
	s.refused(s.cancellation(wrong), tax.NoReceipt)
	wrong = r
	wrong.INN = s.Unlinked
	s.refused(s.cancellation(wrong), tax.NoReceipt)
	s.wantIncome(s.Linked, s.Year, 900)
}

func receiptsOfADay(s *suite) {
	day := time.Date(s.Year, time.March, 8, 0, 0, 0, 0, tax.Moscow)
	first := s.registered(s.registration(s.Linked, operation(), 100, day))
	last := s.registered(s.registration(s.Linked, operation(), 200, day.Add(24*time.Hour-time.Second)))
	before := s.registered(s.registration(s.Linked, operation(), 300, day.Add(-time.Second)))
	after := s.registered(s.registration(s.Linked, operation(), 400, day.Add(24*time.Hour)))
	s.ask(s.cancellation(last))
	last.Cancelled = true
	list := s.ask(tax.Question{Kind: tax.ListReceipts, Day: day}).Receipts
	for _, r := range []tax.Receipt{first, last} {
		if n := count(list, r); n != 1 {
			s.Errorf("%+v is %d times among %+v", r, n, list)
		}
	}
	for _, r := range []tax.Receipt{before, after} {
		if slices.ContainsFunc(list, func(o tax.Receipt) bool { return o.ID == r.ID }) {
			s.Errorf("%+v is of another day", r)
		}
	}
}

func count(list []tax.Receipt, r tax.Receipt) (n int) {
	for _, o := range list {
		if o.At.Equal(r.At) {
			o.At = r.At
		}
		if o == r {
			n++
		}
	}
	return n
}

func personIsCompared(s *suite) {
	orlov := &tax.Person{LastName: "Orlov", FirstName: "Pavel", Phone: "79990001310"}
	s.refused(tax.Question{Kind: tax.ComparePerson, INN: s.Other, Person: orlov}, tax.NotTaxpayer)
	if s.Strange == "" {
		return
	}
	got := s.ask(tax.Question{Kind: tax.ComparePerson, INN: s.Strange, Person: orlov}).Mismatched
	if !slices.Contains(got, "last_name") {
		s.Errorf("mismatched is %q, want last_name among it", got)
	}
	for _, name := range got {
		if !slices.Contains([]string{"last_name", "first_name", "phone"}, name) {
			s.Errorf("mismatched is %q, which was not asked about", name)
		}
	}
	got = s.ask(tax.Question{Kind: tax.ComparePerson, INN: s.Strange, Person: &tax.Person{FirstName: "Pavel"}}).Mismatched
	if slices.Contains(got, "last_name") {
		s.Error("a last name is mismatched that nobody has given")
	}
}

func notificationsAreRead(s *suite) {
	inns := []string{s.Unlinked, s.Linked}
	if s.Notified != "" {
		inns = append(inns, s.Notified)
	}
	notices := func(k tax.Kind) map[string]tax.Notices {
		s.Helper()
		byINN := map[string]tax.Notices{}
		list := s.ask(tax.Question{Kind: k, INNs: inns}).Notices
		for _, n := range list {
			byINN[n.INN] = n
		}
		if len(list) != len(inns) || len(byINN) != len(inns) {
			s.Fatalf("%s of %q: %+v, want one for each", k, inns, list)
		}
		return byINN
	}
	if n := notices(tax.CountNotices)[s.Unlinked]; n.Count != 0 {
		s.Errorf("who is not linked has %d notifications", n.Count)
	}
	if s.Notified == "" {
		return
	}
	before := notices(tax.CountNotices)[s.Notified].Count
	texts := notices(tax.ReadNotices)[s.Notified].Texts
	if before == 0 || len(texts) != before {
		s.Fatalf("%d notifications, and the texts %+v", before, texts)
	}
	for _, n := range texts {
		if n.ID == "" || n.Title == "" || n.Message == "" || n.Status != tax.NoticeNew || n.At.IsZero() {
			s.Errorf("a notification is not whole, or not new: %+v", n)
		}
	}
	mark := func(k tax.Kind, inn, id string) {
		s.Helper()
		if a := s.ask(tax.Question{Kind: k, Delivered: map[string][]string{inn: {id}}}); a.Refused != "" {
			s.Errorf("%s: %+v", k, a)
		}
	}
	mark(tax.DeliverNotices, s.Notified, texts[0].ID)
	mark(tax.AcknowledgeNotices, s.Linked, texts[0].ID)
	mark(tax.AcknowledgeNotices, s.Notified, "taxtest-nobody")
	if got := notices(tax.CountNotices)[s.Notified].Count; got != before {
		s.Errorf("%d notifications before anybody has read one, there were %d", got, before)
	}
	mark(tax.AcknowledgeNotices, s.Notified, texts[0].ID)
	mark(tax.AcknowledgeNotices, s.Notified, texts[0].ID)
	s.restart()
	if got := notices(tax.CountNotices)[s.Notified].Count; got != before-1 {
		s.Errorf("%d notifications after one was read, there were %d", got, before)
	}
	if slices.ContainsFunc(notices(tax.ReadNotices)[s.Notified].Texts, func(n tax.Notice) bool { return n.ID == texts[0].ID }) {
		s.Error("what was read is among what is to be read")
	}
}
