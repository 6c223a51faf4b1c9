package payout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
)

// The people of the fake tax service.
const (
	innLinked   = "772912345698"
	innUnlinked = "772912345699"
	innNobody   = "772912345600"
)

// trouble is what a fake tax service makes of one call.
type trouble int

const (
	noTrouble     trouble = iota
	isDown                // nothing is done, and nobody answers
	isLost                // all is done, and nobody answers
	isSlow                // the answer is not there yet
	isForgetful           // the message is not known any more
	hasFailed             // it says that it has failed
	liesOfAnother         // it answers with the receipt of another operation
	refusesOddly          // all is done, and it refuses with what can't be to the question
	panics
)

var errTaxDown = errors.New("no route to the tax service")

// taxBooks is a tax service that keeps its books right and does with its answers
// what the test tells it.
type taxBooks struct {
	mu       sync.Mutex
	unlinked map[string]bool  // people who have taken their consent back
	others   map[string]int64 // what others have registered, kopecks by INN
	receipts []tax.Receipt
	answers  map[tax.Message]tax.Answer
	asked    map[tax.Kind]int
	// meets is asked before each call, of Answer with an empty question; nil
	// makes no trouble.
	meets func(q tax.Question) trouble
}

func newTaxBooks() *taxBooks {
	return &taxBooks{unlinked: map[string]bool{}, others: map[string]int64{}, answers: map[tax.Message]tax.Answer{}, asked: map[tax.Kind]int{}}
}

// set changes what calls meet with while the engine runs.
func (f *taxBooks) set(meets func(tax.Question) trouble) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.meets = meets
}

// on makes trouble of one kind for questions of one kind.
func (f *taxBooks) on(kind tax.Kind, what trouble) {
	f.set(func(q tax.Question) trouble {
		if q.Kind == kind {
			return what
		}
		return noTrouble
	})
}

func (f *taxBooks) trouble(q tax.Question) trouble {
	if f.meets == nil {
		return noTrouble
	}
	return f.meets(q)
}

func (f *taxBooks) Ask(ctx context.Context, q tax.Question) (tax.Message, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[q.Kind]++
	m := tax.Message(fmt.Sprint("m", len(f.answers)))
	switch f.trouble(q) {
	case isDown:
		return "", errTaxDown
	case isLost:
		f.answer(q)
		return "", errTaxDown
	case hasFailed:
		f.answers[m] = tax.Answer{Refused: tax.Failed, Text: "the service has failed"}
		return m, nil
	case refusesOddly:
		f.answer(q)
		f.answers[m] = tax.Answer{Refused: tax.NoRequest, Text: "no such request"}
		return m, nil
	case liesOfAnother:
		a := f.answer(q)
		if a.Registered != nil {
			other := *a.Registered
			other.Operation = "another"
			a.Registered = &other
		}
		f.answers[m] = a
		return m, nil
	case panics:
		panic("a connector that panics")
	default:
		f.answers[m] = f.answer(q)
		return m, nil
	}
}

func (f *taxBooks) Answer(ctx context.Context, m tax.Message) (tax.Answer, error) {
	if err := ctx.Err(); err != nil {
		return tax.Answer{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.trouble(tax.Question{}) {
	case isDown, isLost:
		return tax.Answer{}, errTaxDown
	case isSlow:
		return tax.Answer{}, tax.ErrPending
	case isForgetful:
		return tax.Answer{}, tax.ErrNoMessage
	case panics:
		panic("a connector that panics")
	}
	a, ok := f.answers[m]
	if !ok {
		return tax.Answer{}, tax.ErrNoMessage
	}
	return a, nil
}

// answer does what is asked; the books are right whatever is said of them.
func (f *taxBooks) answer(q tax.Question) tax.Answer {
	switch q.Kind {
	case tax.GetStatus:
		return tax.Answer{SelfEmployed: q.INN != innNobody, Linked: f.linked(q.INN)}
	case tax.GetIncome:
		if !f.linked(q.INN) {
			return tax.Answer{Refused: tax.NotLinked}
		}
		return tax.Answer{Income: money.Amount{Minor: f.income(q.INN, q.Year), Currency: money.RUB}}
	case tax.CountNotices:
		var a tax.Answer
		for _, inn := range q.INNs {
			a.Notices = append(a.Notices, tax.Notices{INN: inn, Count: 2})
		}
		return a
	case tax.Register:
		return f.register(q)
	case tax.Cancel:
		for i := range f.receipts {
			if r := &f.receipts[i]; r.ID == q.ReceiptID && r.INN == q.INN {
				r.Cancelled = true
				return tax.Answer{}
			}
		}
		return tax.Answer{Refused: tax.NoReceipt}
	case tax.ListReceipts:
		var list []tax.Receipt
		for _, r := range f.receipts {
			if !r.At.Before(q.Day) && r.At.Before(q.Day.Add(24*time.Hour)) {
				list = append(list, r)
			}
		}
		return tax.Answer{Receipts: list}
	}
	return tax.Answer{Refused: tax.Failed}
}

func (f *taxBooks) linked(inn string) bool {
	return inn != innNobody && inn != innUnlinked && !f.unlinked[inn]
}

func (f *taxBooks) income(inn string, year int) int64 {
	sum := f.others[inn]
	for _, r := range f.receipts {
		if r.INN == inn && !r.Cancelled && tax.YearOf(r.At) == year {
			sum += r.Amount.Minor
		}
	}
	return sum
}

func (f *taxBooks) register(q tax.Question) tax.Answer {
	for _, r := range f.receipts {
		if r.Operation == q.Operation {
			return tax.Answer{Registered: &r}
		}
	}
	sum := money.Amount{Currency: money.RUB}
	for _, s := range q.Receipt.Services {
		sum.Minor += s.Amount.Minor * int64(s.Quantity)
	}
	switch {
	case !f.linked(q.INN):
		return tax.Answer{Refused: tax.NotLinked, Text: "not linked"}
	case f.income(q.INN, tax.YearOf(q.Receipt.At))+sum.Minor > tax.IncomeMax.Minor:
		return tax.Answer{Refused: tax.LimitExceeded}
	}
	id := fmt.Sprintf("r%09d", len(f.receipts))
	r := tax.Receipt{
		INN: q.INN, Operation: q.Operation, ID: id, Link: "https://tax.example/receipt/" + id, Amount: sum, At: q.Receipt.At,
	}
	f.receipts = append(f.receipts, r)
	return tax.Answer{Registered: &r}
}

// of lists the receipts of an operation.
func (f *taxBooks) of(operation string) (list []tax.Receipt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.receipts {
		if r.Operation == operation {
			list = append(list, r)
		}
	}
	return list
}

// count says how often something was asked.
func (f *taxBooks) count(k tax.Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[k]
}
