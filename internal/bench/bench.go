// Package bench measures an installation under load, as its partners load it:
// it makes projects in an empty database, starts the server as a process of its
// own, sends signed requests over loopback, takes the webhooks in and verifies
// their signatures, and proves the books when the server has stopped. Beside
// the figures it puts what the machine could do at most: the unit costs of one
// payout, measured in the same run.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// Options say what to measure and on what. The functions are those of the
// program, which alone chooses engines.
type Options struct {
	Projects int           // at least 1
	Clients  int           // connections; in a closed loop payouts at a time as well
	Duration time.Duration // for which payouts are begun
	// Key signs requests and ServerKey webhooks.
	Key, ServerKey partner.KeyType
	// Rate is how many payouts are begun in a second, whatever the answers do;
	// 0 lets each client begin one when its last has ended.
	Rate float64
	// Share takes that share of the rate which a closed loop has reached for the
	// same time just before, in place of Rate; 0 does not.
	Share float64
	// InFlight payouts are brought as far as their confirmation and then confirmed
	// all at once, in place of any loop; 0 does not. It measures memory.
	InFlight int
	// CreateOnly makes sessions and does nothing with them.
	CreateOnly bool
	// SingleRequest asks for each payout by one request that needs no confirmation.
	SingleRequest bool
	// Preload is how many finished payouts are written before.
	Preload int
	// Profile is a file for the server's CPU profile, "" for none.
	Profile string
	// Sockets finds those of the servers that run, of which one gives the profile.
	Sockets func() []string

	// Open opens the installation in this process. It must be closed before the
	// server starts.
	Open func(context.Context) (*Installation, error)
	// Scratch opens an empty database beside that of the installation, on the
	// same engine; the function returned removes it.
	Scratch func(context.Context) (store.Store, func() error, error)
	// Free is how many bytes the database may still grow by; nil if that is not
	// to be seen.
	Free func() (int64, error)
	// Settle brings the database to rest after a preload, whose traces would
	// otherwise be swept up during the run; nil if there is nothing to do.
	Settle func(context.Context) error
	// Engine names what keeps the database. Apart says that it is a server, and
	// DatabasePID is the first of its processes, whose children are the others; 0
	// if they are not on this machine.
	Engine      string
	Apart       bool
	DatabasePID int
	// Server is the command of the server. It prints its address on standard
	// output once it is ready and ends in order when it is interrupted.
	Server func() *exec.Cmd
	// Say is told what is being done; nil says nothing.
	Say func(format string, args ...any)
}

// Installation is an opened one.
type Installation struct {
	Engine     *payout.Engine
	Store      store.Bulk
	ServerKeys map[partner.KeyType]sign.PrivateKey
	Close      func() error
}

// depositKopecks is what each project begins with: more than any run pays out.
const depositKopecks = 1_000_000_000_000_00

// closeDeadline bounds what has to be done after the run was interrupted.
const closeDeadline = 10 * time.Minute

// Run measures. It ends early, with the figures so far, when ctx does while
// payouts are being made; before that it returns the error of ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	box, err := openInbox()
	if err != nil {
		return nil, err
	}
	defer box.Close()
	key, err := generate(o.Key)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, o, box, key.Public()); err != nil {
		return nil, err
	}
	o.Say("measuring the floors")
	floors, err := measure(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("floors: %w", err)
	}

	p, err := startProcess(ctx, o.Server())
	if err != nil {
		return nil, err
	}
	defer p.kill()
	r, err := drive(ctx, &o, p, box, key)
	if err != nil {
		return nil, err
	}
	if err := p.stop(); err != nil {
		return nil, err
	}

	o.Say("proving the books")
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDeadline)
	defer cancel()
	if r.Books, err = prove(after, o); err != nil {
		return nil, err
	}
	r.BooksClean = r.Books.Clean()
	r.take(o, floors)
	return r, nil
}

// drive makes payouts in the way that was asked for. Where that is a share of
// what a closed loop reaches, o has the rate afterwards.
func drive(ctx context.Context, o *Options, p *process, box *inbox, key sign.PrivateKey) (*Report, error) {
	l := newLoad(*o, p, box, key)
	if o.InFlight > 0 {
		o.Say("bringing %d payouts under way", o.InFlight)
		return l.pile(ctx)
	}
	if o.Profile != "" && o.Share == 0 {
		stop := profile(ctx, *o)
		defer stop()
	}
	o.Say("running for %s", o.Duration)
	closed, err := l.run(ctx)
	if err != nil || o.Share == 0 || ctx.Err() != nil {
		return closed, err
	}
	if closed.PayoutsPerSecond == 0 {
		return nil, errors.New("not one payout was complete in the time of the run, so there is no rate to take a share of")
	}
	o.Rate = closed.PayoutsPerSecond * o.Share
	o.Say("running at %.0f payouts per second for %s", o.Rate, o.Duration)
	if o.Profile != "" {
		stop := profile(ctx, *o)
		defer stop()
	}
	l = newLoad(*o, p, box, key)
	l.made.Store(closed.made)
	r, err := l.run(ctx)
	if err != nil {
		return nil, err
	}
	r.follow(closed)
	return r, nil
}

func (o *Options) check() error {
	switch {
	case o.Projects < 1 || o.Projects > projectsMax:
		return fault.New(fault.Invalid, "projects: want 1 to %d", projectsMax)
	case o.Clients < 1 || o.Clients > clientsMax:
		return fault.New(fault.Invalid, "clients: want 1 to %d", clientsMax)
	case o.Duration <= 0:
		return fault.New(fault.Invalid, "duration: want a time above zero, such as 10s")
	case o.Rate < 0 || o.Rate > rateMax:
		return fault.New(fault.Invalid, "rate: want 0 to %d payouts per second", rateMax)
	case o.Share < 0 || o.Share > shareMax:
		return fault.New(fault.Invalid, "rate: want 0%% to %d%%", shareMax*100)
	case o.InFlight < 0 || o.InFlight > inFlightMax:
		return fault.New(fault.Invalid, "in flight: want 0 to %d payouts", inFlightMax)
	case o.InFlight > 0 && (o.Rate > 0 || o.Share > 0 || o.CreateOnly || o.SingleRequest):
		return fault.New(fault.Invalid, "in flight: takes no rate, and payouts that are confirmed")
	case o.CreateOnly && o.SingleRequest:
		return fault.New(fault.Invalid, "create only: a single request does more than that")
	case o.Preload < 0:
		return fault.New(fault.Invalid, "preload: want 0 or more payouts")
	}
	return nil
}

// Bounds that keep a slip of the hand from swamping the machine.
const (
	projectsMax = 10_000
	clientsMax  = 4096
	rateMax     = 1_000_000
	shareMax    = 2
	inFlightMax = 1_000_000
)

func generate(kind partner.KeyType) (sign.PrivateKey, error) {
	if kind == partner.P256 {
		return sign.GenerateP256()
	}
	return sign.GenerateRSA()
}

func projectName(n int) id.Project { return id.Project(fmt.Sprintf("bench-%d", n)) }

// prepare fills the empty database: projects, deposits, finished payouts.
func prepare(ctx context.Context, o Options, box *inbox, key sign.PublicKey) (err error) {
	i, err := o.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	there, err := i.Store.Projects(ctx)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fault.New(fault.WrongState, "the database has %d projects: the benchmark needs an empty one, since it makes payouts", len(there))
	}
	box.key = i.ServerKeys[o.ServerKey].Public()

	o.Say("making %d projects", o.Projects)
	if err := makeProjects(ctx, o, i, box.URL, key); err != nil {
		return err
	}
	if o.Preload == 0 {
		return nil
	}
	if err := preload(ctx, o, i.Store); err != nil || o.Settle == nil {
		return err
	}
	o.Say("bringing the database to rest")
	return o.Settle(ctx)
}

func makeProjects(ctx context.Context, o Options, i *Installation, webhook string, key sign.PublicKey) error {
	for n := range o.Projects {
		p := partner.Project{
			ID: projectName(n), Wallet: fmt.Sprint(n + 1), Keys: []partner.Key{{ID: key.ID(), PEM: string(key.PEM())}},
			Webhook: webhook, AllowPrivateWebhooks: true, ServerKey: o.ServerKey, SingleRequest: o.SingleRequest,
		}
		// The engine reads all projects again for each that it makes, so only
		// the last is left to it.
		create := i.Store.CreateProject
		if n == o.Projects-1 {
			create = i.Engine.CreateProject
		}
		if err := create(ctx, p); err != nil {
			return err
		}
	}
	return parallel(o.Projects, min(o.Projects, 64), func(n int) error {
		_, err := i.Engine.Deposit(ctx, projectName(n), money.Amount{Minor: depositKopecks, Currency: money.RUB}, "bench")
		return err
	})
}

// prove checks the books as they are after the server has stopped.
func prove(ctx context.Context, o Options) (_ *payout.Report, err error) {
	i, err := o.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	return payout.Check(ctx, i.Store)
}
