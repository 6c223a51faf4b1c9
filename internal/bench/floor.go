package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/sign"
)

// Floors are what the parts of a payout cost at least on this machine and
// database. CPU times are of this process and of a database server on this
// machine, all cores together.
type Floors struct {
	Cores int `json:"cores"`
	// CommitsPerSecond is of transactions that insert one row each, by as many
	// callers at a time as there are clients: what a server would do that
	// commits each request by itself.
	CommitsPerSecond float64 `json:"commits_per_second"`
	// Signatures and verifications per second of one core.
	RSASignsPerSecond    float64 `json:"rsa_signs_per_second"`
	RSAVerifiesPerSecond float64 `json:"rsa_verifies_per_second"`
	P256SignsPerSecond   float64 `json:"p256_signs_per_second"`
	P256VerifyPerSecond  float64 `json:"p256_verifies_per_second"`
	// ExchangeCPU is of one HTTP request and its answer, of the size of those of
	// a payout, both ends, without signatures and with nothing behind it.
	ExchangeCPU float64 `json:"http_exchange_cpu_us"`
	// SignedExchangesPerSecond is of such requests that the partner signs and the
	// server verifies, both ends on all cores: what an API that does nothing
	// could do.
	SignedExchangesPerSecond float64 `json:"signed_exchanges_per_second"`
	// WebhookCPU is of one webhook: signed, delivered, verified, answered.
	WebhookCPU float64 `json:"webhook_exchange_cpu_us"`
	// CommandCPU is of the writes of one command, by two writers in batches of
	// 256. Of a database server on another machine it is the time that the writers
	// took, as if all cores of this one had been at work.
	CommandCPU float64 `json:"core_command_cpu_us"`
	// CommandsPerSecond are those that the writers wrote.
	CommandsPerSecond float64 `json:"core_commands_per_second"`
}

const (
	floorTime   = 300 * time.Millisecond // of each measurement
	writeTime   = time.Second            // of that of the writes, which come in large batches
	floorBatch  = 256                    // commands, as the engine's committer takes
	writers     = 2
	floorBodies = 400 // bytes of a request, about; answers are twice that
)

func measure(ctx context.Context, o Options) (*Floors, error) {
	f := &Floors{Cores: runtime.NumCPU()}
	for _, m := range []func(context.Context, Options) error{f.signatures, f.exchanges, f.signedExchanges, f.webhooks, f.writes} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := m(ctx, o); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// each is the CPU time of one call of do, over floorTime of calls.
func each(do func() error) (time.Duration, error) {
	began, used := now(), ownCPU()
	for n := 1; ; n++ {
		if err := do(); err != nil {
			return 0, err
		}
		if now().Sub(began) >= floorTime {
			return (ownCPU() - used) / time.Duration(n), nil
		}
	}
}

func (f *Floors) signatures(context.Context, Options) error {
	body := make([]byte, floorBodies)
	for _, k := range []struct {
		kind         partner.KeyType
		sign, verify *float64
	}{
		{partner.RSA, &f.RSASignsPerSecond, &f.RSAVerifiesPerSecond},
		{partner.P256, &f.P256SignsPerSecond, &f.P256VerifyPerSecond},
	} {
		key, err := generate(k.kind)
		if err != nil {
			return err
		}
		var signature string
		signing, err := each(func() (err error) { signature, err = key.Sign(body); return err })
		if err != nil {
			return err
		}
		public := key.Public()
		verifying, err := each(func() error { return public.Verify(body, signature) })
		if err != nil {
			return err
		}
		*k.sign, *k.verify = 1/signing.Seconds(), 1/verifying.Seconds()
	}
	return nil
}

// serveFloor answers every request with so many bytes, until the function
// returned is called.
func serveFloor(handler http.Handler) (host string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: exchangeTimeout}
	go func() { _ = s.Serve(l) }() // ends with Close
	return l.Addr().String(), func() { _ = s.Close() }, nil
}

func (f *Floors) exchanges(_ context.Context, o Options) error {
	r := &Request{Path: "/api/v2/session/start/payout", Body: make([]byte, floorBodies)}
	p, err := exchanges(o, func() (*Request, error) { return r, nil }, func([]byte, string) error { return nil })
	f.ExchangeCPU = p.cpu
	return err
}

func (f *Floors) signedExchanges(_ context.Context, o Options) error {
	key, err := generate(o.Key)
	if err != nil {
		return err
	}
	body := make([]byte, floorBodies)
	p, err := exchanges(o, func() (*Request, error) {
		signature, err := key.Sign(body)
		return &Request{Path: "/api/v2/session/create", Project: projectName(0), Signature: signature, Body: body}, err
	}, key.Public().Verify)
	f.SignedExchangesPerSecond = p.rate
	return err
}

// exchanges measures requests to a server that does nothing but look at the
// signature.
func exchanges(o Options, next func() (*Request, error), verify func(body []byte, signature string) error) (pace, error) {
	answer := make([]byte, 2*floorBodies)
	host, stop, err := serveFloor(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, max(r.ContentLength, 0))
		_, err := io.ReadFull(r.Body, body)
		if err != nil || verify(body, r.Header.Get(sign.HeaderSign)) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(answer)
	}))
	if err != nil {
		return pace{}, err
	}
	defer stop()
	conns := make([]Conn, o.Clients)
	for i := range conns {
		conns[i].Host = host
		defer conns[i].Close()
	}
	return together(o.Clients, floorTime, ownCPU, func(client int) error {
		r, err := next()
		if err != nil {
			return err
		}
		status, _, err := conns[client].Exchange(r)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
}

// pace is what several callers reach together.
type pace struct {
	cpu  float64 // microseconds of one call
	rate float64 // calls per second
}

// together measures calls of do, when so many clients call it at a time, for a
// time that used counts the CPU of.
func together(clients int, lasting time.Duration, used func() time.Duration, do func(client int) error) (pace, error) {
	calls := make([]int, clients)
	began, before := now(), used()
	err := parallel(clients, clients, func(client int) error {
		for now().Sub(began) < lasting {
			if err := do(client); err != nil {
				return err
			}
			calls[client]++
		}
		return nil
	})
	n := 0
	for _, c := range calls {
		n += c
	}
	return pace{micros(used()-before) / float64(max(n, 1)), float64(n) / now().Sub(began).Seconds()}, err
}

func (f *Floors) webhooks(ctx context.Context, o Options) error {
	key, err := generate(o.ServerKey)
	if err != nil {
		return err
	}
	box, err := openInbox()
	if err != nil {
		return err
	}
	defer box.Close()
	box.key = key.Public()
	poster := webhook.NewPoster(webhook.PosterOptions{})
	defer poster.Close()
	body := fmt.Appendf(nil, `{"session":{"id":"ps_1","note":"%0*d"}}`, 2*floorBodies, 0)
	p, err := together(min(o.Clients, 64), floorTime, ownCPU, func(int) error {
		signature, err := key.Sign(body)
		if err != nil {
			return err
		}
		if r := poster.Post(ctx, box.URL, true, webhook.Event{ID: 1, Seq: 1, Body: body, Signature: signature}); !r.OK {
			return fmt.Errorf("a webhook was not taken: %s", r.Err)
		}
		return nil
	})
	f.WebhookCPU = p.cpu
	return err
}

// writes measures the database alone, on a scratch one.
func (f *Floors) writes(ctx context.Context, o Options) (err error) {
	s, remove, err := o.Scratch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	calls := make([]int, o.Clients)
	p, err := together(o.Clients, floorTime, ownCPU, func(client int) error {
		calls[client]++
		return s.PutSetting(ctx, fmt.Sprintf("%d-%d", client, calls[client]), []byte("1"))
	})
	if err != nil {
		return err
	}
	f.CommitsPerSecond = p.rate

	// Each writer has a project of its own: the book of one is locked as long as
	// a batch lasts.
	ids, batches := id.NewGenerator(now), make([]int, writers)
	write := func(writer int) error {
		batches[writer]++
		return writeSteps(ctx, s, ids, projectName(writer), batches[writer]*floorBatch)
	}
	for writer := range writers {
		if err := s.CreateProject(ctx, partner.Project{ID: projectName(writer), Credit: depositKopecks}); err != nil {
			return err
		}
		if err := write(writer); err != nil { // what is prepared once per connection does not count
			return err
		}
	}
	if p, err = together(writers, writeTime, o.used, write); err != nil {
		return err
	}
	perBatch := float64(floorBatch * len(commands))
	f.CommandCPU, f.CommandsPerSecond = p.cpu/perBatch, p.rate*perBatch
	if o.Apart && o.DatabasePID == 0 {
		f.CommandCPU = float64(f.Cores) * second / f.CommandsPerSecond
	}
	return nil
}

// used is the CPU time of this process and of the database.
func (o *Options) used() time.Duration { return ownCPU() + o.databaseCPU() }

// databaseCPU is that of the server of the database; 0 if there is none, or if
// it is not to be seen.
func (o *Options) databaseCPU() time.Duration {
	if o.DatabasePID == 0 {
		return 0
	}
	return familyCPU(o.DatabasePID)
}

// writeSteps takes a batch of payouts through all commands, each command of
// all of them in one transaction.
func writeSteps(ctx context.Context, s store.Store, ids *id.Generator, project id.Project, first int) error {
	at := now().UTC().Truncate(time.Microsecond)
	lives := make([]life, floorBatch)
	for i := range lives {
		lives[i] = life{project: project, n: int64(first + i), card: true, ids: ids, at: at}
	}
	for _, command := range commands {
		reads := store.Reads{Books: []id.Project{project}}
		for i := range lives {
			if lives[i].session != nil {
				reads.Sessions = append(reads.Sessions, lives[i].key())
			}
		}
		var after []life
		err := s.Commit(ctx, reads, func(rows *store.Rows) (*store.Changes, error) {
			book := rows.Books[project]
			c := &store.Changes{Batch: id.Batch(ids.Next()), Books: []*ledger.Book{book}}
			after = append(after[:0], lives...) // it may run more than once
			for i := range after {
				l := &after[i]
				l.book = book
				if l.session != nil {
					l.session = rows.Sessions[l.key()]
				}
				if err := command(l); err != nil {
					return nil, err
				}
				l.addTo(c)
			}
			return c, nil
		})
		if err != nil {
			return err
		}
		lives = after
	}
	return nil
}

// second in microseconds.
const second = 1e6

// micros is a duration in microseconds.
func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
