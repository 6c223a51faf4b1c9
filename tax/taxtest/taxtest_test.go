package taxtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
	"github.com/payoutd/payoutd/tax/taxtest"
)

const (
	linked   = "772912345698"
	unlinked = "772912345699"
	other    = "772912345690"
	strange  = "772912345691"
	notified = "772912345692"
	phone    = "79990001310"
)

// inspection is a tax service in memory, with at most one bug.
type inspection struct {
	bug string

	mu       sync.Mutex
	answers  map[tax.Message]tax.Answer
	states   map[string]bool // who is linked
	requests map[string]tax.Answer
	receipts []tax.Receipt
	notices  []tax.Notice
}

func newInspection(bug string) *inspection {
	return &inspection{
		bug: bug, answers: map[tax.Message]tax.Answer{}, requests: map[string]tax.Answer{},
		states:  map[string]bool{linked: true, strange: true, notified: true},
		notices: []tax.Notice{{ID: "n-1", Title: "Tax", Message: "28 roubles", Status: tax.NoticeNew, At: time.Unix(1, 0)}},
	}
}

func (i *inspection) Ask(ctx context.Context, q tax.Question) (tax.Message, error) {
	if err := ctx.Err(); err != nil {
		switch i.bug {
		case "takes a question of nobody":
			return "0", nil
		case "hangs when nobody waits":
			<-time.After(15 * time.Second)
		}
		return "", err
	}
	if i.bug == "registers side by side" && q.Kind == tax.Register {
		return i.besides(q)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keep(i.answer(q)), nil
}

// besides looks and writes without holding the lock in between.
func (i *inspection) besides(q tax.Question) (tax.Message, error) {
	i.mu.Lock()
	n := len(i.receipts)
	a := i.answer(q)
	late := i.receipts[n:]
	i.receipts = i.receipts[:n:n]
	i.mu.Unlock()
	time.Sleep(time.Millisecond)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.receipts = append(i.receipts, late...)
	return i.keep(a), nil
}

func (i *inspection) keep(a tax.Answer) tax.Message {
	m := tax.Message(fmt.Sprint(len(i.answers) + 1))
	switch i.bug {
	case "names messages badly":
		m += "\n"
	case "names all messages alike":
		m = "1"
	case "refuses without a text":
		a.Text = ""
	case "refuses in words of its own":
		if a.Refused != "" {
			a.Refused = "code_7"
		}
	case "refuses and answers":
		if a.Refused != "" {
			a.INN = linked
		}
	}
	i.answers[m] = a
	return m
}

func (i *inspection) Answer(ctx context.Context, m tax.Message) (tax.Answer, error) {
	if err := ctx.Err(); err != nil {
		if i.bug == "forgets when nobody waits" {
			return tax.Answer{}, tax.ErrNoMessage
		}
		return tax.Answer{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	a, ok := i.answers[m]
	switch {
	case !ok && i.bug == "lets the lost wait":
		return a, tax.ErrPending
	case !ok:
		return a, tax.ErrNoMessage
	case i.bug == "answers once":
		delete(i.answers, m)
	}
	return a, nil
}

func no(r tax.Refusal) tax.Answer { return tax.Answer{Refused: r, Text: "no"} }

func (i *inspection) answer(q tax.Question) tax.Answer {
	if q.Phone == phone && i.bug != "knows no phone" {
		q.INN = unlinked
	}
	switch q.Kind {
	case tax.GetStatus:
		a := tax.Answer{SelfEmployed: q.INN != other, Linked: i.states[q.INN]}
		switch i.bug {
		case "refuses who is no taxpayer":
			if q.INN == other {
				return no(tax.NotTaxpayer)
			}
		case "links on request":
			a.Linked = a.Linked || len(i.requests) > 0
		}
		return a
	case tax.Link:
		switch {
		case q.INN == other || q.INN == "":
			return no(tax.NotTaxpayer)
		case i.states[q.INN] && i.bug != "links the linked":
			return no(tax.AlreadyLinked)
		}
		name := fmt.Sprint("r", len(i.requests))
		if i.bug == "has one request" {
			name = "r"
		}
		i.requests[name] = tax.Answer{Link: tax.LinkRequested, INN: q.INN}
		return tax.Answer{Request: name}
	case tax.GetLink:
		a, ok := i.requests[q.Request]
		if !ok && i.bug != "knows every request" {
			return no(tax.NoRequest)
		}
		if i.bug == "forgets whose request it is" {
			a.INN = ""
		}
		return a
	case tax.Unlink:
		if !i.states[q.INN] && i.bug == "unlinks once" {
			return no(tax.NotLinked)
		}
		i.states[q.INN] = false
		return tax.Answer{}
	case tax.GetIncome:
		if r := i.refusal(q.INN); r != "" {
			return no(r)
		}
		return tax.Answer{Income: i.income(q.INN, q.Year)}
	case tax.Register:
		return i.register(q)
	case tax.Cancel:
		for n := range i.receipts {
			r := &i.receipts[n]
			if r.ID != q.ReceiptID || r.INN != q.INN && i.bug != "cancels anybody's" {
				continue
			}
			if r.Cancelled && i.bug == "cancels once" {
				return no(tax.NoReceipt)
			}
			r.Cancelled = i.bug != "cancels nothing"
			return tax.Answer{}
		}
		return no(tax.NoReceipt)
	case tax.ComparePerson:
		switch {
		case q.INN == other:
			return no(tax.NotTaxpayer)
		case q.INN != strange || i.bug == "compares nothing":
			return tax.Answer{}
		case i.bug == "mismatches more than it was asked":
			return tax.Answer{Mismatched: []string{"last_name", "middle_name"}}
		case q.Person.LastName == "" && i.bug != "mismatches what is not there":
			return tax.Answer{}
		}
		return tax.Answer{Mismatched: []string{"last_name"}}
	case tax.CountNotices, tax.ReadNotices:
		return i.read(q)
	case tax.DeliverNotices, tax.AcknowledgeNotices:
		for n := range i.notices {
			_, theirs := q.Delivered[notified]
			read := q.Kind == tax.AcknowledgeNotices || i.bug == "takes shown for read"
			if read && theirs && (slices.Contains(q.Delivered[notified], i.notices[n].ID) || i.bug == "reads all") && i.bug != "reads nothing" {
				i.notices[n].Status = tax.NoticeAcknowledged
			}
		}
		return tax.Answer{}
	}
	var a tax.Answer
	for _, r := range i.receipts {
		end := q.Day.Add(24 * time.Hour)
		if i.bug == "has short days" {
			end = end.Add(-3 * time.Hour)
		}
		if i.bug == "lists no cancelled ones" && r.Cancelled {
			continue
		}
		if !r.At.Before(q.Day) && r.At.Before(end) || i.bug == "lists all days" {
			a.Receipts = append(a.Receipts, r)
		}
	}
	return a
}

func (i *inspection) refusal(inn string) tax.Refusal {
	switch {
	case inn == other:
		return tax.NotTaxpayer
	case !i.states[inn] && i.bug != "needs no link":
		return tax.NotLinked
	}
	return ""
}

func (i *inspection) income(inn string, year int) money.Amount {
	sum := money.Amount{Currency: money.RUB}
	for _, r := range i.receipts {
		of := tax.YearOf(r.At)
		if i.bug == "lives in Greenwich" {
			of = r.At.UTC().Year()
		}
		if r.INN == inn && of == year && !r.Cancelled {
			sum.Minor += r.Amount.Minor
		}
	}
	return sum
}

func (i *inspection) register(q tax.Question) tax.Answer {
	for _, r := range i.receipts {
		if r.Operation != q.Operation {
			continue
		}
		switch {
		case i.bug == "registers twice":
		case i.bug == "refuses what it has registered" && !i.states[q.INN]:
			return no(tax.NotLinked)
		case i.bug == "calls a copy refused":
			return no(tax.Failed)
		case i.bug == "registers what was cancelled" && r.Cancelled:
		default:
			return tax.Answer{Registered: &r}
		}
	}
	if r := i.refusal(q.INN); r != "" {
		return no(r)
	}
	r := tax.Receipt{
		INN: q.INN, Operation: q.Operation, ID: fmt.Sprintf("r%09d", len(i.receipts)), At: q.Receipt.At,
		Amount: money.Amount{Currency: money.RUB},
	}
	for _, line := range q.Receipt.Services {
		n := int64(line.Quantity)
		if i.bug == "counts one piece" {
			n = 1
		}
		r.Amount.Minor += line.Amount.Minor * n
	}
	left := tax.IncomeMax.Minor - i.income(q.INN, tax.YearOf(r.At)).Minor
	switch {
	case i.bug == "stops before the limit":
		left--
	case i.bug == "knows no limit":
		left = 1 << 60
	}
	if r.Amount.Minor > left {
		return no(tax.LimitExceeded)
	}
	if r.Link = "https://tax.example/" + r.ID; i.bug == "has no links" {
		r.Link = r.ID
	}
	i.receipts = append(i.receipts, r)
	return tax.Answer{Registered: &r}
}

func (i *inspection) read(q tax.Question) (a tax.Answer) {
	for _, inn := range q.INNs {
		n := tax.Notices{INN: inn}
		for _, text := range i.notices {
			if text.Status == tax.NoticeNew && (inn == notified || inn == unlinked && i.bug == "tells of anybody") {
				n.Count++
				n.Texts = append(n.Texts, text)
			}
		}
		if q.Kind == tax.CountNotices {
			n.Texts = nil
		} else {
			n.Count = 0
		}
		if i.bug != "leaves out who has none" || n.Count+len(n.Texts) > 0 {
			a.Notices = append(a.Notices, n)
		}
	}
	return a
}

func (i *inspection) restart(*testing.T) tax.Service {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch i.bug {
	case "forgets receipts at a restart":
		i.receipts = nil
	case "forgets messages at a restart":
		clear(i.answers)
	case "forgets links at a restart":
		i.states[unlinked] = false
	}
	return i
}

func (i *inspection) decide(_ *testing.T, inn string, allow bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.states[inn] = allow
	for _, name := range slices.Sorted(maps.Keys(i.requests)) {
		if r := i.requests[name]; r.INN == inn && r.Link == tax.LinkRequested {
			if r.Link = tax.LinkRejected; allow {
				r.Link = tax.LinkConfirmed
			}
			i.requests[name] = r
		}
	}
}

func harness(bug string) taxtest.Harness {
	i := newInspection(bug)
	return taxtest.Harness{
		Service: i, Restart: i.restart, Linked: linked, Unlinked: unlinked, Other: other, Year: 2026,
		Phone: phone, Decide: i.decide, Strange: strange, Notified: notified,
	}
}

func TestGoodServicePasses(t *testing.T) {
	taxtest.Run(t, func(*testing.T) taxtest.Harness { return harness("") })
}

// TestBugsAreFound runs the suite on bad connectors, in a process of its own
// since there it must fail.
func TestBugsAreFound(t *testing.T) {
	bugs := []struct{ bug, found string }{
		{"refuses who is no taxpayer", "StatusIsTold"},
		{"names messages badly", "AnswersStay"},
		{"names all messages alike", "AnswersStay"},
		{"answers once", "AnswersStay"},
		{"forgets messages at a restart", "AnswersStay"},
		{"lets the lost wait", "UnknownMessage"},
		{"takes a question of nobody", "EndedContext"},
		{"hangs when nobody waits", "EndedContext"},
		{"forgets when nobody waits", "EndedContext"},
		{"links on request", "LinkIsConfirmed"},
		{"forgets links at a restart", "LinkIsConfirmed"},
		{"forgets whose request it is", "LinkIsConfirmed"},
		{"has one request", "LinkIsRejected"},
		{"links the linked", "LinkIsRefused"},
		{"knows every request", "LinkIsRefused"},
		{"refuses without a text", "LinkIsRefused"},
		{"refuses in words of its own", "LinkIsRefused"},
		{"refuses and answers", "LinkIsRefused"},
		{"knows no phone", "LinkByPhone"},
		{"unlinks once", "Unlink"},
		{"refuses what it has registered", "Unlink"},
		{"registers twice", "RegisterMakesOneReceipt"},
		{"counts one piece", "RegisterMakesOneReceipt"},
		{"has no links", "RegisterMakesOneReceipt"},
		{"forgets receipts at a restart", "RegisterAgainAfterRestart"},
		{"calls a copy refused", "ManyAtOnceMakeOneReceipt"},
		{"registers side by side", "ManyAtOnceMakeOneReceipt"},
		{"needs no link", "RegisterIsRefused"},
		{"knows no limit", "LimitIsExact"},
		{"stops before the limit", "LimitIsExact"},
		{"registers side by side", "LimitIsExact"},
		{"lives in Greenwich", "YearIsMoscows"},
		{"cancels nothing", "CancelTakesIncomeBack"},
		{"cancels once", "CancelTakesIncomeBack"},
		{"registers what was cancelled", "CancelTakesIncomeBack"},
		{"cancels anybody's", "CancelIsRefused"},
		{"has short days", "ReceiptsOfADay"},
		{"lists all days", "ReceiptsOfADay"},
		{"lists no cancelled ones", "ReceiptsOfADay"},
		{"compares nothing", "PersonIsCompared"},
		{"mismatches what is not there", "PersonIsCompared"},
		{"mismatches more than it was asked", "PersonIsCompared"},
		{"tells of anybody", "NotificationsAreRead"},
		{"leaves out who has none", "NotificationsAreRead"},
		{"takes shown for read", "NotificationsAreRead"},
		{"reads all", "NotificationsAreRead"},
		{"reads nothing", "NotificationsAreRead"},
	}
	const variable = "TAXTEST_BUG"
	if bug := os.Getenv(variable); bug != "" {
		taxtest.Run(t, func(*testing.T) taxtest.Harness { return harness(bug) })
		return
	}
	for _, b := range bugs {
		t.Run(b.bug+", "+b.found, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBugsAreFound$/^"+b.found+"$", "-test.v")
			cmd.Env = append(os.Environ(), variable+"="+b.bug)
			out, err := cmd.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("--- FAIL: TestBugsAreFound/"+b.found)) {
				t.Errorf("%s did not find a service that %s:\n%s", b.found, b.bug, out)
			}
			if strings.Contains(string(out), "panic:") {
				t.Errorf("the suite panicked:\n%s", out)
			}
		})
	}
}

// late answers the third time that it is asked.
type late struct {
	asked int
	err   error
}

func (l *late) Ask(context.Context, tax.Question) (tax.Message, error) { return "m", l.err }

func (l *late) Answer(context.Context, tax.Message) (tax.Answer, error) {
	if l.asked++; l.asked < 3 {
		return tax.Answer{}, tax.ErrPending
	}
	return tax.Answer{Linked: true}, nil
}

func TestCall(t *testing.T) {
	if a, err := tax.Call(t.Context(), &late{}, tax.Question{}); err != nil || !a.Linked {
		t.Errorf("an answer that is late: %+v, %v", a, err)
	}
	lost := errors.New("lost")
	if _, err := tax.Call(t.Context(), &late{err: lost}, tax.Question{}); !errors.Is(err, lost) {
		t.Errorf("a question that is lost: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
	defer cancel()
	if _, err := tax.Call(ctx, &late{asked: -1000}, tax.Question{}); !errors.Is(err, tax.ErrPending) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an answer that never comes: %v", err)
	}
}
