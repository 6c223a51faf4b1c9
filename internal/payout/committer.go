package payout

import (
	"context"
	"errors"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

const (
	batchMax = 256  // commands in one transaction
	queueMax = 4096 // commands that wait; more are refused at once

	// AnswerMax bounds how long a caller waits. Partners wait for half a minute;
	// an answer that nothing is known yet is worth more to them than none.
	AnswerMax = 15 * time.Second
)

// pending is a command that waits for its batch.
type pending struct {
	command
	answer Answer
	err    error
	done   chan struct{}
}

func newPending(c command) *pending { return &pending{command: c, done: make(chan struct{})} }

// do puts a command through the door and waits until it is committed or
// refused. fault.Busy at once if the queue is full, fault.Internal if the
// database leaves the outcome open for too long: it is no reason to send the
// same again without its key. A caller that stops to wait does not stop the
// command.
func (e *Engine) do(ctx context.Context, c command) (Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, AnswerMax, ErrNoOutcome)
	defer cancel()
	return e.put(ctx, c, false)
}

// ErrNoOutcome is the answer to a caller whose command nobody knows the outcome of.
var ErrNoOutcome error = fault.New(fault.Internal, "the request has no outcome after %s", AnswerMax)

// report is do for workers, who wait for room in the queue: what a rail has
// answered is not thrown away because partners ask for more than there is.
func (e *Engine) report(ctx context.Context, c command) error {
	if e.admit != nil {
		var names store.Reads
		c.reads(&names)
		e.admit(ctx, names)
	}
	_, err := e.put(ctx, c, true)
	return err
}

func (e *Engine) put(ctx context.Context, c command, patient bool) (Answer, error) {
	p := newPending(c)
	if err := e.enqueue(ctx, p, patient); err != nil {
		return Answer{}, err
	}
	select {
	case <-p.done:
		return p.answer, p.err
	case <-ctx.Done():
		return Answer{}, context.Cause(ctx)
	}
}

func (e *Engine) enqueue(ctx context.Context, p *pending, patient bool) error {
	e.intake.RLock() // the committer goes on while somebody waits here, so Close does not wait for ever
	defer e.intake.RUnlock()
	if e.closed {
		return fault.New(fault.Busy, "the server is stopping; send the same request again")
	}
	select {
	case e.queue <- p:
		return nil
	default:
	}
	if !patient {
		return fault.New(fault.Busy, "too busy; send the same request again later")
	}
	select {
	case e.queue <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush waits until the committer has written all that it was given before.
func (e *Engine) flush(ctx context.Context) error {
	_, err := e.put(ctx, &issue{}, true)
	return err
}

// commitLoop gathers what came while the last batch was in flight, without a
// timer, and commits it together. It ends when the queue is closed and empty.
func (e *Engine) commitLoop() {
	defer close(e.committed)
	gathered := make([]*pending, 0, batchMax)
	for first := range e.queue {
		gathered = append(gathered[:0], first)
	gather:
		for len(gathered) < batchMax {
			select {
			case p, open := <-e.queue:
				if !open {
					break gather
				}
				gathered = append(gathered, p)
			default:
				break gather
			}
		}
		e.commit(gathered)
		for _, p := range gathered {
			close(p.done)
		}
	}
}

// commit decides and writes the commands in one transaction and fills in their
// answers. If the write fails, each is tried alone, so that only the guilty one
// fails.
func (e *Engine) commit(commands []*pending) {
	began := e.real()
	b, err := e.write(commands)
	e.metrics.batch(len(commands), e.real().Sub(began), err)
	switch {
	case err == nil:
		if e.wrote != nil && !b.changes.Empty() {
			e.wrote(b.changes.Batch)
		}
		e.handOver(b)
	case len(commands) > 1 && fault.CodeOf(err) != fault.Busy && !errors.Is(err, store.ErrUnknown):
		e.log.Error("batch failed, trying its commands one by one", "commands", len(commands), "error", err)
		for i := range commands {
			e.commit(commands[i : i+1])
		}
	default:
		for _, p := range commands {
			p.answer, p.err = Answer{}, err
		}
	}
}

// write runs one transaction; on success the answers of the commands are set,
// refusals included.
func (e *Engine) write(commands []*pending) (*batch, error) {
	if err := e.checkNumber(); err != nil {
		return nil, err
	}
	ctx := context.Background() // what is in the queue is committed, whoever still waits
	var reads store.Reads
	for _, p := range commands {
		p.reads(&reads)
	}
	number := id.Batch(e.ids.Next())
	var b *batch
	err := e.store.Commit(ctx, reads, func(rows *store.Rows) (*store.Changes, error) {
		b = newBatch(e, number, e.now(), rows)
		for _, p := range commands {
			p.answer, p.err = b.decide(p.command)
		}
		return b.sum(), nil
	})
	if errors.Is(err, store.ErrUnknown) {
		err = e.lookUp(ctx, number)
	}
	return b, err
}

// lookUp finds out what became of a batch whose COMMIT was never answered.
// Nothing is tried again or answered before it is known, or has stayed unknown
// for longer than any caller waits.
func (e *Engine) lookUp(ctx context.Context, number id.Batch) error {
	e.log.Warn("the outcome of a commit is unknown, looking it up", "batch", int64(number))
	if sabotage == "unknown is written" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpMax)
	defer cancel()
	for gap := 10 * time.Millisecond; ; gap = min(2*gap, time.Second) {
		written, err := e.store.Committed(ctx, number)
		switch {
		case err == nil && written:
			return nil
		case err == nil:
			return fault.New(fault.Busy, "the database lost the request; send it again")
		}
		select {
		case <-ctx.Done():
			return store.ErrUnknown
		case <-time.After(gap):
		}
	}
}

// handOver gives this node's workers what the batch left to it.
func (e *Engine) handOver(b *batch) {
	for _, k := range b.changes.TasksDone {
		e.tasksWorker.forget(k)
	}
	for _, c := range b.changes.Cards {
		e.cards.put(c)
	}
	for _, k := range b.changes.CardsDone {
		e.cards.drop(k)
	}
	for i := range b.changes.Tasks {
		task := &b.changes.Tasks[i]
		if task.Owner == e.node {
			e.tasksWorker.add(newJob(*task, b.rows.Sessions[task.SessionKey], b.now))
		} else {
			e.tasksWorker.forget(task.TaskKey)
			if !task.Due.After(b.now) {
				e.hint()
			}
		}
	}
	b.keepCalls()
	for i := range b.changes.Events {
		switch event := &b.changes.Events[i]; {
		case event.Status != webhook.Pending:
		case event.Owner == e.node:
			e.hooks.add(*event)
		case event.Owner == "" && !event.Due.After(b.now):
			e.hooks.wake()
			e.hint()
		}
	}
	for _, s := range b.changes.Sessions {
		e.metrics.state(s)
	}
	for _, a := range b.changes.Alarms {
		e.metrics.alarms.WithLabelValues(a.Kind).Inc()
		e.log.Error("alarm", alarmLine(&a)...)
	}
}

// alarmLine is what the log tells of an alarm, which need not be about a payout.
func alarmLine(a *store.Alarm) []any {
	line := []any{"kind", a.Kind}
	if a.Project != "" {
		line = append(line, "project", a.Project)
	}
	if a.Session != 0 {
		line = append(line, "session", a.Session)
	}
	if a.Payout != 0 {
		line = append(line, "payout", a.Payout)
	}
	return append(line, "text", a.Text)
}
