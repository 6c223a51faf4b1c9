package sandbox

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/rail"
)

// referenceMax is the length of a reference that rails take (rail.Order).
const referenceMax = 35

// simulated is the rail of one method. What it knows is in the world's books,
// so that all of it survives a restart.
type simulated struct {
	world *World
	kind  instrument.Kind
	name  string
}

// Name is also the rail's name in the books.
func (r *simulated) Name() string { return r.name }

// Terms are short, since the simulator is near: Send answers within two seconds
// or later than anybody waits, and a payment is visible three seconds after.
func (r *simulated) Terms() rail.Terms {
	return rail.Terms{SendDeadline: sendDeadline, Visibility: visibility}
}

// Check writes nothing. An FPS verification ends with it.
func (r *simulated) Check(ctx context.Context, o rail.Order, open rail.Opener) (rail.Verdict, error) {
	if err := wait(ctx, r.world.latency); err != nil {
		return rail.Verdict{}, err
	}
	p, err := r.payment(ctx, o, open)
	if err != nil {
		return rail.Verdict{}, err
	}
	switch p.script.outcome {
	case CheckSlow:
		return rail.Verdict{}, wait(ctx, checkDelay)
	case CheckFailed:
		return rail.Verdict{Refused: p.script.code, Text: text(p.script.code)}, nil
	default:
		var verdict rail.Verdict
		if a := o.Destination.Account; a != nil && instrument.BIK(a.BIK) {
			verdict.Bank = rail.Bank{Name: "Bank " + a.BIK, Correspondent: "30101810000000000" + a.BIK[6:]}
		}
		return verdict, nil
	}
}

// Send books the request before it answers, or before it fails to.
func (r *simulated) Send(ctx context.Context, o rail.Order, open rail.Opener) (rail.Outcome, error) {
	switch {
	case o.Reference == "" || len(o.Reference) > referenceMax:
		return rail.Outcome{}, fault.New(fault.Invalid, "reference: want 1 to %d characters", referenceMax)
	case o.Destination.FPS != nil && o.Destination.FPS.Verify:
		return rail.Outcome{}, fault.New(fault.Invalid, "an FPS verification moves no money: it ends with the check")
	case o.Amount.Minor <= 0:
		return rail.Outcome{}, fault.New(fault.Invalid, "amount: must be greater than 0")
	}
	if err := wait(ctx, r.world.latency); err != nil {
		return rail.Outcome{}, err
	}
	p, err := r.payment(ctx, o, open)
	if err != nil {
		return rail.Outcome{}, err
	}
	got, err := r.world.books.take(ctx, p, r.world.clock.Now())
	if err != nil {
		return rail.Outcome{}, err
	}
	if p.script.outcome == Doubled && got.reached {
		if _, err := r.world.books.take(ctx, p, r.world.clock.Now()); err != nil {
			return rail.Outcome{}, err
		}
	}
	if got.found && !got.reached { // sent before: say what is known
		return r.outcome(got.payment), nil
	}
	switch p.script.outcome {
	case LostBeforeSent:
		if !got.reached {
			return rail.Outcome{}, fault.New(fault.ProviderInternal, "the connection to the rail %s broke", r.name)
		}
	case UnclearThenSucceeded, UnclearThenFailed:
		return rail.Outcome{}, fault.New(fault.ProviderInternal, "the connection to the rail %s broke before its answer", r.name)
	case Broken:
		return rail.Outcome{Status: rail.Unknown}, nil
	case Slow:
		err = wait(ctx, r.world.slow)
	case Late:
		err = wait(ctx, lateDelay)
	case Succeeded, Declined, CheckFailed, CheckSlow, AcceptedThenSucceeded, AcceptedThenDeclined, Doubled, Returned: // answers at once
	}
	if err != nil {
		return rail.Outcome{}, err
	}
	return r.outcome(got.payment), nil
}

// Query says what the books say.
func (r *simulated) Query(ctx context.Context, reference string) (rail.Outcome, error) {
	if err := wait(ctx, r.world.latency); err != nil {
		return rail.Outcome{}, err
	}
	got, err := r.world.books.ask(ctx, r.name, reference)
	if err != nil {
		return rail.Outcome{}, err
	}
	if !got.found || got.payment.status(r.world.clock.Now(), r.world.slow) == rail.NeverSeen {
		return rail.Outcome{Status: rail.NeverSeen}, nil
	}
	return r.outcome(got.payment), nil
}

// outcome is the rail's answer on a payment that it knows, or should: what it
// does not see yet is Unknown to Send.
func (r *simulated) outcome(p payment) rail.Outcome {
	switch s := p.status(r.world.clock.Now(), r.world.slow); s {
	case rail.Succeeded:
		return rail.Outcome{Status: s, Info: r.world.secret.info(r.kind, p.reference)}
	case rail.Failed:
		return rail.Outcome{Status: s, Code: p.script.code, Text: text(p.script.code)}
	case rail.NeverSeen:
		return rail.Outcome{Status: rail.Unknown}
	default:
		return rail.Outcome{Status: s}
	}
}

// payment reads an order: who is paid, as a fingerprint, and what will become
// of it.
func (r *simulated) payment(ctx context.Context, o rail.Order, open rail.Opener) (payment, error) {
	if kind := o.Destination.Kind(); kind != r.kind {
		return payment{}, fault.New(fault.Invalid, "the rail %s does not pay to %q", r.name, kind)
	}
	p := payment{rail: r.name, reference: o.Reference, amount: o.Amount}
	var destination, bank []byte
	switch d := o.Destination; r.kind {
	case instrument.KindCard:
		if open == nil {
			return payment{}, fault.New(fault.Internal, "the card number cannot be opened")
		}
		digits, err := open(ctx)
		if err != nil {
			return payment{}, fault.Wrap(fault.Internal, err, "the card number cannot be opened")
		}
		destination = digits
	case instrument.KindAccount:
		destination, bank = []byte(d.Account.Number), []byte(d.Account.BIK)
	case instrument.KindFPS:
		destination, bank = []byte(d.FPS.Phone), []byte(d.FPS.BankID)
	case instrument.KindWallet:
		destination = []byte(d.Wallet.Account)
	}
	p.script = scriptOf(r.kind, destination, o.Amount)
	p.payee = r.world.secret.derive("payee "+string(r.kind), destination, bank)
	return p, nil
}

// wait lets d pass, or returns when ctx ends; for an ended ctx at once.
func wait(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return tooLate(ctx)
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return tooLate(ctx)
	}
}

// tooLate is the error of a call whose caller stopped waiting: whether it had
// an effect is open.
func tooLate(ctx context.Context) error {
	return fault.Wrap(fault.ProviderTimeout, ctx.Err(), "the rail did not answer in time")
}
