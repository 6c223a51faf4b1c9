// Package sandbox is the world outside, simulated: rails that answer by
// documented magic values, a clock that can be moved and an inbox for webhooks.
// The program is the same as in production; only the rails differ.
//
// The rails keep books of their own, apart from the ledger and written before
// anything is answered. So a killed sandbox tells the truth when it is asked,
// and whoever doubts the ledger has a witness who does not know it.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// World is everybody who moves money: one card network, one bank, one faster
// payment system, one wallet; and the tax service. It is safe for concurrent use, and two processes
// may have the same folder open.
type World struct {
	clock   *Clock
	books   *books
	secret  secret
	latency time.Duration
	slow    time.Duration // how long a payment that is slow takes
	origin  string        // of the links of receipts
	rails   map[instrument.Kind]rail.Rail
}

// Option changes how a World is opened.
type Option func(*options)

type options struct {
	latency time.Duration
	seed    string
	noSync  bool
	slow    time.Duration
	origin  string
}

// WithLatency makes each call of a rail take at least d; by default it takes
// what a durable write takes.
func WithLatency(d time.Duration) Option { return func(o *options) { o.latency = d } }

// WithSeed makes a new folder's reference numbers and authorization codes the
// same in every run. The fingerprints can then be guessed by whoever knows the
// seed, so it is for tests. A folder that exists keeps what it began with.
func WithSeed(seed string) Option { return func(o *options) { o.seed = seed } }

// WithoutSync keeps books that a crash of the machine may lose. It is for
// measurements: a real rail waits for a disk of its own.
func WithoutSync() Option { return func(o *options) { o.noSync = true } }

// WithSlow says how long a payment that is slow takes; 3 s by default.
func WithSlow(d time.Duration) Option { return func(o *options) { o.slow = d } }

// WithOrigin says where /sandbox/* is served: the links of receipts lead there.
func WithOrigin(url string) Option { return func(o *options) { o.origin = url } }

// Open opens the world whose books are in dir, or makes one. The clock says
// when a payment that is under way ends.
func Open(dir string, clock *Clock, opts ...Option) (*World, error) {
	o := options{slow: slowDelay, origin: originDefault}
	for _, set := range opts {
		set(&o)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the simulated world: %w", err)
	}
	file := filepath.Join(dir, "world.db")
	_, err := os.Stat(file)
	secret, err := openSecret(filepath.Join(dir, "world.key"), o.seed, errors.Is(err, os.ErrNotExist))
	if err != nil {
		return nil, fmt.Errorf("key of the simulated world: %w", err)
	}
	books, err := openBooks(file, o.noSync)
	if err != nil {
		return nil, fmt.Errorf("books of the simulated world: %w", err)
	}
	w := &World{clock: clock, books: books, secret: secret, latency: o.latency, slow: o.slow, origin: o.origin}
	w.rails = map[instrument.Kind]rail.Rail{
		instrument.KindCard:    &simulated{w, instrument.KindCard, "card"},
		instrument.KindAccount: newBank(simulated{w, instrument.KindAccount, "account"}),
		instrument.KindFPS:     &simulated{w, instrument.KindFPS, "fps"},
		instrument.KindWallet:  &simulated{w, instrument.KindWallet, "wallet"},
	}
	return w, nil
}

// Close ends the world after what it has accepted is written.
func (w *World) Close() error { return w.books.close() }

// Rails are the world's rails by the method that they pay.
func (w *World) Rails() map[instrument.Kind]rail.Rail { return w.rails }

// Execution is one movement of money as the outside world has booked it.
type Execution struct {
	Rail      string
	Reference string
	Amount    money.Amount
	At        time.Time // of the sandbox's clock
}

// Executions lists every movement of money, the oldest first. Nothing in the
// books keeps a reference from standing there twice: that it does not is for
// the reader to see. An error ends the list.
func (w *World) Executions(ctx context.Context) iter.Seq2[Execution, error] {
	return w.books.executions(ctx)
}

// Total is what one rail has paid out.
type Total struct {
	Rail  string
	Count int
	Paid  money.Amount
}

// Totals sums the executions by rail and currency.
func (w *World) Totals(ctx context.Context) ([]Total, error) { return w.books.totals(ctx) }
