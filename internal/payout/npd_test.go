package payout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/tax"
)

// fakeTax does what the test tells it.
type fakeTax struct {
	mu     sync.Mutex
	asked  []tax.Question
	ask    func(context.Context, tax.Question) error // nil takes all
	answer func(tax.Message) (tax.Answer, error)     // nil is pending
}

func (s *fakeTax) Ask(ctx context.Context, q tax.Question) (tax.Message, error) {
	s.mu.Lock()
	ask := s.ask
	s.asked = append(s.asked, q)
	m := tax.Message(fmt.Sprint("m", len(s.asked)))
	s.mu.Unlock()
	if ask != nil {
		if err := ask(ctx, q); err != nil {
			return "", err
		}
	}
	return m, nil
}

func (s *fakeTax) Answer(_ context.Context, m tax.Message) (tax.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer == nil {
		return tax.Answer{}, tax.ErrPending
	}
	return s.answer(m)
}

// set changes what it does.
func (s *fakeTax) set(ask func(context.Context, tax.Question) error, answer func(tax.Message) (tax.Answer, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask, s.answer = ask, answer
}

func (s *fakeTax) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// newTaxLab is a lab with a tax service, and the right to ask it.
func newTaxLab(t *testing.T) (*lab, *fakeTax) {
	l := newLab(t, func(p *partner.Project) { p.SelfEmployed = true })
	service := &fakeTax{}
	l.engine.tax = service
	return l, service
}

// npd does one operation and returns its answer's body.
func (l *lab) npd(c Call, op wire.Op, body string) (string, error) {
	l.Helper()
	r, err := wire.Parse(op, 1, c.Project, []byte(body))
	if err != nil {
		l.Fatal(err)
	}
	do := l.engine.NPDAsk
	switch op {
	case wire.OpNPDStatus:
		do = l.engine.NPDStatus
	case wire.OpNotices, wire.OpRead, wire.OpDelivered, wire.OpUpdate:
		do = l.engine.NPDNotices
	}
	a, err := do(l.Context(), c, r)
	return string(a.Body), err
}

// ask asks whether somebody is self-employed, and returns the body of the poll.
func (l *lab) ask() string {
	l.Helper()
	body, err := l.npd(l.call(), wire.OpNPDCheck, `{"tax_reference":"772912345698"}`)
	request, ok := strings.CutPrefix(body, `{"status":"ok",`)
	if err != nil || !ok {
		l.Fatalf("check: %s, %v", body, err)
	}
	return "{" + request
}

func (l *lab) wantPoll(request, want string) {
	l.Helper()
	if got, err := l.npd(l.call(), wire.OpNPDStatus, request); err != nil || got != want {
		l.Errorf("poll: %s, %v; want %s", got, err, want)
	}
}

const (
	isPending = `{"status":"pending"}`
	isLinked  = `{"status":"ok","is_professional_income_taxpayer":true,"is_linked":true}`
)

func linked(tax.Message) (tax.Answer, error) {
	return tax.Answer{SelfEmployed: true, Linked: true}, nil
}

var errAway = errors.New("nobody is there")

func away(context.Context, tax.Question) error { return errAway }

func TestNPDAnswerComesLater(t *testing.T) {
	l, service := newTaxLab(t)
	request := l.ask()
	l.wantPoll(request, isPending)
	l.wantPoll(request, isPending)
	service.set(nil, func(m tax.Message) (tax.Answer, error) {
		if m != "m1" {
			t.Errorf("asked for the answer to %s", m)
		}
		return linked(m)
	})
	l.wantPoll(request, isLinked)
	service.set(away, func(tax.Message) (tax.Answer, error) { return tax.Answer{}, errAway })
	l.wantPoll(request, isLinked) // it is known
	if n := service.questions(); n != 1 {
		t.Errorf("%d questions", n)
	}
	l.close()
	l.open()
	l.engine.tax = service
	l.wantPoll(request, isLinked)
}

// Who can't be asked is asked when the partner comes again.
func TestNPDServiceIsAway(t *testing.T) {
	l, service := newTaxLab(t)
	for _, hangs := range []bool{false, true} {
		service.set(func(ctx context.Context, _ tax.Question) error {
			if hangs {
				<-ctx.Done()
			}
			return errAway
		}, linked)
		began := time.Now()
		request := l.ask()
		l.wantPoll(request, isPending)
		if took := time.Since(began); took > 2*npdTimeout+patience/4 {
			t.Errorf("held for %s", took)
		}
		service.set(nil, linked)
		l.wantPoll(request, isLinked)
	}
}

func TestNPDServiceForgets(t *testing.T) {
	l, service := newTaxLab(t)
	request := l.ask()
	service.set(nil, func(m tax.Message) (tax.Answer, error) {
		if m == "m1" {
			return tax.Answer{}, tax.ErrNoMessage
		}
		return linked(m)
	})
	l.wantPoll(request, isPending)
	l.wantPoll(request, isLinked)
	if n := service.questions(); n != 2 {
		t.Errorf("%d questions", n)
	}

	request = l.ask()
	service.set(away, func(tax.Message) (tax.Answer, error) { return tax.Answer{}, tax.ErrNoMessage })
	l.wantPoll(request, isPending)
	service.set(nil, linked)
	l.wantPoll(request, isLinked)
}

func TestNPDUnclearAnswers(t *testing.T) {
	l, service := newTaxLab(t)
	request := l.ask()
	service.set(nil, func(tax.Message) (tax.Answer, error) { return tax.Answer{}, errAway })
	l.wantPoll(request, isPending) // unknown is not no
	service.set(nil, func(tax.Message) (tax.Answer, error) {
		return tax.Answer{Refused: tax.Failed, Text: "внутренняя ошибка"}, nil
	})
	l.wantPoll(request, `{"status":"error","error":{"code":"npd_service_internal_error","description":"the tax service failed"}}`)
}

// Of many who poll at once all see the same answer, and it is that of later.
func TestNPDPollsAtOnce(t *testing.T) {
	l, service := newTaxLab(t)
	request := l.ask()
	var n int
	service.set(nil, func(tax.Message) (tax.Answer, error) { // the lock of fakeTax guards n
		n++
		return tax.Answer{SelfEmployed: true, Linked: n%2 == 0}, nil
	})
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		seen = map[string]int{}
	)
	for range 50 {
		wg.Go(func() {
			got, err := l.npd(l.call(), wire.OpNPDStatus, request)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[got]++
		})
	}
	wg.Wait()
	if len(seen) != 1 {
		t.Errorf("they saw %v", seen)
	}
}

func TestNPDRequestIsTheProjects(t *testing.T) {
	l, service := newTaxLab(t)
	service.set(nil, linked)
	birch := l.join(partner.Project{ID: "birch", SelfEmployed: true})
	request := l.ask()
	gone := func(c Call, request string) {
		t.Helper()
		if got, err := l.npd(c, wire.OpNPDStatus, request); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s, %v", got, err)
		}
	}
	gone(birch, request)
	gone(l.call(), `{"request_id":"npd-1"}`)
	l.wantPoll(request, isLinked)
	l.clock.advance(npdLife)
	gone(l.call(), request)
	if err := l.engine.wipe(t.Context()); err != nil {
		t.Error(err)
	}
	gone(l.call(), request)
	r, err := wire.Parse(wire.OpNPDStatus, 1, nil, []byte(request))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.store.NPDRequest(t.Context(), store.NPDKey{Project: l.project, Request: r.NPD}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("it was not swept: %v", err)
	}
}

// An answer that comes while the request is swept is nobody's any more.
func TestNPDSweptMeanwhile(t *testing.T) {
	l, service := newTaxLab(t)
	request := l.ask()
	service.set(nil, func(m tax.Message) (tax.Answer, error) {
		if _, err := l.store.Wipe(t.Context(), l.engine.now().Add(npdLife), 10); err != nil {
			t.Error(err)
		}
		return linked(m)
	})
	if got, err := l.npd(l.call(), wire.OpNPDStatus, request); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("%s, %v", got, err)
	}
}

func TestNPDNeedsTheRight(t *testing.T) {
	l, service := newTaxLab(t)
	service.set(nil, linked)
	birch := l.join(partner.Project{ID: "birch"})
	questions := map[wire.Op]string{
		wire.OpNPDCheck:  `{"tax_reference":"772912345698"}`,
		wire.OpNPDPerson: `{"tax_reference":"772912345698","full_name":"Orlov Pavel","phone":"79990001310"}`,
		wire.OpNPDStatus: `{"request_id":"npd-1"}`,
		wire.OpNotices:   `{"tax_references":["772912345698"]}`,
	}
	refused := func(c Call) {
		t.Helper()
		for op, body := range questions {
			if got, err := l.npd(c, op, body); fault.CodeOf(err) != fault.Unauthorized {
				t.Errorf("%s: %s, %v", op, got, err)
			}
		}
	}
	refused(birch)
	l.engine.sandbox = true
	if _, err := l.npd(birch, wire.OpNPDCheck, questions[wire.OpNPDCheck]); err != nil {
		t.Errorf("in a sandbox: %v", err)
	}
	l.engine.tax, l.engine.sandbox = nil, false
	refused(l.call())
	if n := service.questions(); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestNPDNotices(t *testing.T) {
	l, service := newTaxLab(t)
	const people = `{"tax_references":["772912345698"]}`
	l.meet("772912345698")
	service.set(nil, func(tax.Message) (tax.Answer, error) {
		return tax.Answer{Notices: []tax.Notices{{INN: "772912345698", Count: 2}}}, nil
	})
	if got, err := l.npd(l.call(), wire.OpNotices, people); err != nil || got != `{"status":"ok","notifications":[{"tax_reference":"772912345698","count":2}]}` {
		t.Errorf("%s, %v", got, err)
	}
	for name, fails := range map[string]func(){
		"not there": func() { service.set(away, nil) },
		"failed": func() {
			service.set(nil, func(tax.Message) (tax.Answer, error) { return tax.Answer{Refused: tax.Failed, Text: "no"}, nil })
		},
		"in words that no partner knows": func() {
			service.set(nil, func(tax.Message) (tax.Answer, error) { return tax.Answer{Refused: tax.NoReceipt, Text: "no"}, nil })
		},
	} {
		fails()
		if got, err := l.npd(l.call(), wire.OpNotices, people); fault.CodeOf(err) != fault.TaxFailed {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if testing.Short() {
		return
	}
	service.set(nil, nil) // never answers
	began := time.Now()
	if got, err := l.npd(l.call(), wire.OpNotices, people); fault.CodeOf(err) != fault.TaxFailed || !errors.Is(err, tax.ErrPending) {
		t.Errorf("late: %s, %v", got, err)
	}
	if took := time.Since(began); took < noticeTimeout || took > noticeTimeout+patience/4 {
		t.Errorf("held for %s", took)
	}
}

// meet says that the project has to do with a person.
func (l *lab) meet(inn string) {
	l.Helper()
	err := l.store.Commit(l.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{Batch: id.Batch(l.engine.ids.Next()), Keys: []store.KeyRecord{{KeyRef: acquaintance(l.project, inn)}}}, nil
	})
	if err != nil {
		l.Fatal(err)
	}
}

// Of a person with whom a project has nothing to do it learns what it learns of
// one who is not linked, and the tax service is not asked; what it marks is left
// as it is.
func TestNoticesOfStrangers(t *testing.T) {
	const known, stranger = "772912345698", "771310005942"
	l, service := newTaxLab(t)
	birch := l.join(partner.Project{ID: "birch", SelfEmployed: true})
	l.meet(known)
	service.set(nil, func(tax.Message) (tax.Answer, error) { // it tells of more people than it was asked about
		text := []tax.Notice{{ID: "n-1", Status: tax.NoticeNew}}
		return tax.Answer{Notices: []tax.Notices{{INN: stranger, Count: 7, Texts: text}, {INN: known, Count: 2, Texts: text}}}, nil
	})
	both := fmt.Sprintf(`{"tax_references":[%q,%q]}`, stranger, known)
	marks := fmt.Sprintf(`{"notifications":[{"tax_reference":%q,"message_id_list":["n-1"]},{"tax_reference":%q,"message_id_list":["n-2"]}]}`, stranger, known)
	for _, c := range []struct {
		call  Call
		op    wire.Op
		body  string
		want  string
		asked *tax.Question // nil for nothing
	}{
		{
			l.call(), wire.OpNotices, both, `{"status":"ok","notifications":[{"tax_reference":"771310005942","count":0},{"tax_reference":"772912345698","count":2}]}`,
			&tax.Question{Kind: tax.CountNotices, INNs: []string{known}},
		},
		{birch, wire.OpNotices, both, `{"status":"ok","notifications":[{"tax_reference":"771310005942","count":0},{"tax_reference":"772912345698","count":0}]}`, nil},
		{birch, wire.OpRead, both, `{"status":"ok","notifications":[{"tax_reference":"771310005942"},{"tax_reference":"772912345698"}]}`, nil},
		{l.call(), wire.OpDelivered, marks, `{"status":"ok"}`, &tax.Question{Kind: tax.DeliverNotices, Delivered: map[string][]string{known: {"n-2"}}}},
		{birch, wire.OpDelivered, marks, `{"status":"ok"}`, nil},
		{birch, wire.OpUpdate, marks, `{"status":"ok"}`, nil},
	} {
		service.asked = nil
		got, err := l.npd(c.call, c.op, c.body)
		if err != nil || got != c.want {
			t.Errorf("%s by %s: %s, %v; want %s", c.op, c.call.Project.ID, got, err, c.want)
		}
		var want []tax.Question
		if c.asked != nil {
			want = append(want, *c.asked)
		}
		if len(service.asked) != len(want) || len(want) > 0 && fmt.Sprint(service.asked) != fmt.Sprint(want) {
			t.Errorf("%s by %s: asked %+v, want %+v", c.op, c.call.Project.ID, service.asked, want)
		}
	}
}

// A project has to do with those who were linked by its widget, and no other
// project has; not with who was linked before and is shown its widget.
func TestWhoIsLinkedIsKnown(t *testing.T) {
	l, service := newTaxLab(t)
	birch := l.join(partner.Project{ID: "birch", SelfEmployed: true})
	const inn = "772912345698"
	count := func(c Call, want int) {
		t.Helper()
		service.set(nil, func(tax.Message) (tax.Answer, error) {
			return tax.Answer{Notices: []tax.Notices{{INN: inn, Count: 2}}}, nil
		})
		got, err := l.npd(c, wire.OpNotices, `{"tax_references":["`+inn+`"]}`)
		if err != nil || got != fmt.Sprintf(`{"status":"ok","notifications":[{"tax_reference":%q,"count":%d}]}`, inn, want) {
			t.Errorf("%s is told %s, %v; want %d", c.Project.ID, got, err, want)
		}
	}
	link := func(a tax.Answer) {
		t.Helper()
		service.set(nil, func(tax.Message) (tax.Answer, error) { return a, nil })
	}
	token := l.linking()
	link(tax.Answer{Refused: tax.AlreadyLinked})
	if _, err := l.engine.Link(t.Context(), token, inn); err != nil {
		t.Fatal(err)
	}
	count(l.call(), 0)

	token = l.linking()
	link(tax.Answer{Request: "r-1"})
	if _, err := l.engine.Link(t.Context(), token, inn); err != nil {
		t.Fatal(err)
	}
	count(l.call(), 0)
	link(tax.Answer{Link: tax.LinkConfirmed, INN: inn})
	if state, err := l.engine.LinkState(t.Context(), token); err != nil || state != tax.LinkConfirmed {
		t.Fatalf("%q, %v", state, err)
	}
	count(l.call(), 2)
	count(birch, 0)

	token = l.linking() // of a second time nothing new is to be written
	link(tax.Answer{Request: "r-2"})
	if _, err := l.engine.Link(t.Context(), token, inn); err != nil {
		t.Fatal(err)
	}
	link(tax.Answer{Link: tax.LinkConfirmed, INN: inn})
	if _, err := l.engine.LinkState(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	count(l.call(), 2)
}

// linking makes a public token that links somebody.
func (l *lab) linking() vault.Token {
	l.Helper()
	a, err := l.asked(l.call(), wire.OpToken, `{"self_employed_widget":{"tax_reference":"772912345698"}}`)
	if err != nil {
		l.Fatal(err)
	}
	return vault.Token(a.PublicToken)
}

func TestLink(t *testing.T) {
	l, service := newTaxLab(t)
	token := l.linking()
	state := func(want tax.LinkState, wantErr fault.Code) {
		t.Helper()
		got, err := l.engine.LinkState(t.Context(), token)
		if got != want || wantErr == "" && err != nil || wantErr != "" && fault.CodeOf(err) != wantErr {
			t.Errorf("%q, %v; want %q, %s", got, err, want, wantErr)
		}
	}
	state("", "")
	request := func(want tax.LinkState, wantErr fault.Code) {
		t.Helper()
		got, err := l.engine.Link(t.Context(), token, "772912345698")
		if got != want || wantErr == "" && err != nil || wantErr != "" && fault.CodeOf(err) != wantErr {
			t.Errorf("%q, %v; want %q, %s", got, err, want, wantErr)
		}
	}
	says := func(a tax.Answer) {
		service.set(nil, func(tax.Message) (tax.Answer, error) { return a, nil })
	}
	service.set(away, nil)
	request("", fault.TaxFailed)
	says(tax.Answer{Refused: tax.NotTaxpayer, Text: "no"})
	request("", fault.TaxpayerUnknown)
	state("", "")
	says(tax.Answer{Request: "r-1"})
	request(tax.LinkRequested, "")

	l.close() // the request is kept with the token
	l.open()
	l.engine.tax = service
	says(tax.Answer{Link: tax.LinkRequested})
	state(tax.LinkRequested, "")
	if last := service.asked[len(service.asked)-1]; last.Kind != tax.GetLink || last.Request != "r-1" {
		t.Errorf("asked %+v", last)
	}
	service.set(away, nil)
	state("", fault.TaxFailed)
	says(tax.Answer{Refused: tax.NoRequest, Text: "no"})
	state("", "")
	says(tax.Answer{Link: tax.LinkRejected})
	state(tax.LinkRejected, "")
	says(tax.Answer{Request: "r-2"})
	request(tax.LinkRequested, "")
	says(tax.Answer{Link: tax.LinkConfirmed})
	state(tax.LinkConfirmed, "")
	state("", fault.TokenUsed)
	request("", fault.TokenUsed)

	token = l.linking()
	says(tax.Answer{Refused: tax.AlreadyLinked, Text: "no"})
	request(tax.LinkConfirmed, "")
	request("", fault.TokenUsed)

	token = l.linking()
	l.clock.advance(25 * time.Hour)
	request("", fault.TokenExpired)
	l.engine.tax = nil
	state("", fault.Unauthorized)
}
