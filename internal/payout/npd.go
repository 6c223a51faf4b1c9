package payout

import (
	"context"
	"errors"
	"maps"
	"slices"
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
// if none comes in time. A person with whom the project has nothing to do is to
// it as one who is not linked: the service is not asked about them. It takes no
// notice of an idempotency key.
func (e *Engine) NPDNotices(ctx context.Context, c Call, r wire.Request) (Answer, error) {
	if err := e.taxed(c.Project); err != nil {
		return Answer{}, err
	}
	q := r.Question
	found := &acquainted{project: c.Project.ID, inns: slices.AppendSeq(slices.Clone(q.INNs), maps.Keys(q.Delivered))}
	if _, err := e.do(ctx, found); err != nil {
		return Answer{}, err
	}
	q.INNs = slices.DeleteFunc(slices.Clone(q.INNs), found.stranger)
	q.Delivered = maps.Clone(q.Delivered)
	maps.DeleteFunc(q.Delivered, func(inn string, _ []string) bool { return found.stranger(inn) })
	var told tax.Answer
	if len(q.INNs)+len(q.Delivered) > 0 {
		var err error
		switch told, err = e.askTax(ctx, noticeTimeout, q); {
		case err != nil:
			return Answer{}, err
		case told.Refused != "":
			return Answer{}, refusal(told)
		}
	}
	var all tax.Answer
	for _, inn := range r.Question.INNs {
		n := tax.Notices{INN: inn}
		if at := slices.IndexFunc(told.Notices, func(n tax.Notices) bool { return n.INN == inn }); at >= 0 && !found.stranger(inn) {
			n = told.Notices[at]
		}
		all.Notices = append(all.Notices, n)
	}
	return Answer{Body: wire.Notices(q.Kind, all)}, nil
}

// acquaintance is the key of a project that has to do with a person: the person
// was linked by a widget of the project, or an income that it paid is registered.
// That the person is linked to us, perhaps by another project, is not enough.
func acquaintance(p id.Project, inn string) store.KeyRef {
	return store.KeyRef{Project: p, Scope: store.ScopePerson, Key: inn}
}

// acquaint writes down that a project has to do with a person; the command has
// named the key.
func (t *tx) acquaint(p id.Project, inn string) {
	k := acquaintance(p, inn)
	if _, known := t.rows.Keys[k]; !known {
		t.own.Keys = append(t.own.Keys, store.KeyRecord{KeyRef: k, At: t.now})
	}
}

// acquainted finds out with whom of some people a project has to do.
type acquainted struct {
	project id.Project
	inns    []string
	with    map[string]bool // set by decide
}

func (a *acquainted) reads(names *store.Reads) {
	for _, inn := range a.inns {
		names.Keys = append(names.Keys, acquaintance(a.project, inn))
	}
}

func (a *acquainted) decide(t *tx) (Answer, error) {
	a.with = map[string]bool{}
	for _, inn := range a.inns {
		_, a.with[inn] = t.rows.Keys[acquaintance(a.project, inn)]
	}
	return Answer{}, nil
}

func (a *acquainted) stranger(inn string) bool { return !a.with[inn] }

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
