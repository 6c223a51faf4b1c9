package payout

import (
	"context"
	"errors"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/tax"
)

const (
	npdTimeout    = 2 * time.Second // of a call of the tax service while a partner waits
	noticeTimeout = 5 * time.Second // of a question whose answer the partner waits for
	npdLife       = 24 * time.Hour  // of a request (wire reference, extensions §8 no. 13)
)

var (
	errNoTax        = fault.New(fault.Unauthorized, "this server has no connection to the tax service")
	errNoNPDRequest = fault.New(fault.Invalid, "request_id: no such request")
)

// taxed refuses a project that may not ask the tax service: fault.Unauthorized
// where there is none, or the project lacks the right.
func (e *Engine) taxed(p *partner.Project) error {
	switch {
	case e.tax == nil:
		return errNoTax
	case !e.sandbox && !p.SelfEmployed:
		return fault.New(fault.Unauthorized, "self-employed people are not enabled for the project")
	}
	return nil
}

// NPDAsk takes a question to the tax service and hands it over. Where that does
// not succeed in time, the question is taken all the same, and asked when the
// partner comes for the answer. It takes no notice of an idempotency key: a
// repeat asks again, which changes nothing.
func (e *Engine) NPDAsk(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	if err := e.taxed(c.Project); err != nil {
		return Answer{}, err
	}
	now := e.now()
	asked := store.NPDRequest{
		Project: c.Project.ID, ID: id.NPDRequest(e.ids.Next()), Question: r.Question, CreatedAt: now, EndsAt: now.Add(npdLife),
	}
	asked.Message = e.askFor(ctx, asked)
	if _, err := e.do(ctx, &npdAsked{asked}); err != nil {
		return Answer{}, err
	}
	return Answer{Body: wire.NPDAsked(asked.ID)}, nil
}

// NPDStatus tells what the tax service has answered. The first answer stays.
func (e *Engine) NPDStatus(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	if err := e.taxed(c.Project); err != nil {
		return Answer{}, err
	}
	asked, err := e.store.NPDRequest(ctx, store.NPDKey{Project: c.Project.ID, Request: r.NPD})
	switch {
	case err != nil && fault.CodeOf(err) == fault.NotFound, err == nil && !e.now().Before(asked.EndsAt):
		return Answer{}, errNoNPDRequest
	case err != nil:
		return Answer{}, err
	case asked.Answer != nil:
		return Answer{Body: wire.NPDAnswer(asked.Question.Kind, *asked.Answer)}, nil
	}
	found := &npdFound{key: asked.Key(), message: asked.Message}
	if found.message == "" {
		found.message = e.askFor(ctx, asked)
	}
	if found.message != "" {
		e.fetch(ctx, asked, found)
	}
	if found.message == asked.Message && found.answer == nil {
		return Answer{Body: wire.NPDPending()}, nil
	}
	return e.do(ctx, found)
}

// fetch looks for the answer; what the service does not know any more is asked
// anew.
func (e *Engine) fetch(ctx context.Context, asked store.NPDRequest, found *npdFound) {
	limited, cancel := context.WithTimeout(ctx, npdTimeout)
	defer cancel()
	a, err := e.tax.Answer(limited, found.message)
	switch {
	case err == nil:
		found.answer = &a
	case errors.Is(err, tax.ErrNoMessage):
		found.message = e.askFor(ctx, asked)
	case !errors.Is(err, tax.ErrPending):
		e.log.Warn("the tax service does not give an answer", "project", asked.Project, "request", asked.ID, "error", err)
	}
}

// askFor asks the service; "" if it is not known to have taken the question.
func (e *Engine) askFor(ctx context.Context, asked store.NPDRequest) tax.Message {
	limited, cancel := context.WithTimeout(ctx, npdTimeout)
	defer cancel()
	m, err := e.tax.Ask(limited, asked.Question)
	if err != nil {
		e.log.Warn("the tax service does not take a question", "project", asked.Project, "request", asked.ID, "error", err)
		return ""
	}
	return m
}

// NPDNotices asks about notifications and waits for the answer: fault.TaxFailed
// if none comes in time. It takes no notice of an idempotency key.
func (e *Engine) NPDNotices(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	if err := e.taxed(c.Project); err != nil {
		return Answer{}, err
	}
	a, err := e.askTax(ctx, noticeTimeout, r.Question)
	switch {
	case err != nil:
		return Answer{}, err
	case a.Refused != "":
		return Answer{}, refusal(a)
	}
	return Answer{Body: wire.Notices(r.Question.Kind, a)}, nil
}

// npdAsked writes a new request to the tax service.
type npdAsked struct{ request store.NPDRequest }

func (*npdAsked) reads(*store.Reads) {}

func (a *npdAsked) decide(t *tx) (Answer, error) {
	t.own.NPD = append(t.own.NPD, a.request)
	return Answer{}, nil
}

// npdFound writes what has become of one. Of two that ask at once the first
// answer stays.
type npdFound struct {
	key     store.NPDKey
	message tax.Message
	answer  *tax.Answer // nil as long as there is none
}

func (f *npdFound) reads(names *store.Reads) { names.NPD = append(names.NPD, f.key) }

func (f *npdFound) decide(t *tx) (Answer, error) {
	r, ok := t.rows.NPD[f.key]
	if !ok {
		return Answer{}, errNoNPDRequest // swept meanwhile
	}
	if r.Answer == nil {
		r.Message, r.Answer = f.message, f.answer
		t.own.NPD = append(t.own.NPD, r)
	}
	if r.Answer == nil {
		return Answer{Body: wire.NPDPending()}, nil
	}
	return Answer{Body: wire.NPDAnswer(r.Question.Kind, *r.Answer)}, nil
}

// acceptNPD writes a request once, however many commands of the batch change
// it, and shows it to those that follow.
func (b *batch) acceptNPD(r store.NPDRequest) {
	k := r.Key()
	b.rows.NPD[k] = r
	if at, ok := b.npd[k]; ok {
		b.changes.NPD[at] = r
		return
	}
	b.npd[k] = len(b.changes.NPD)
	b.changes.NPD = append(b.changes.NPD, r)
}
