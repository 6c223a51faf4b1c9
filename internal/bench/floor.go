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
// database. CPU times are of this process, all cores together.
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
	// WebhookCPU is of one webhook: signed, delivered, verified, answered.
	WebhookCPU float64 `json:"webhook_exchange_cpu_us"`
	// CommandCPU is of the writes of one command in batches of 256.
	CommandCPU float64 `json:"core_command_cpu_us"`
}

const (
	floorTime   = 300 * time.Millisecond // of each measurement
	floorBatch  = 256                    // commands, as the engine's committer takes
	floorBodies = 400                    // bytes of a request, about; answers are twice that
)

func measure(ctx context.Context, o Options) (*Floors, error) {
	f := &Floors{Cores: runtime.NumCPU()}
	for _, m := range []func(context.Context, Options) error{f.signatures, f.exchanges, f.webhooks, f.writes} {
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
	answer := make([]byte, 2*floorBodies)
	host, stop, err := serveFloor(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // of the generator's own
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(answer)
	}))
	if err != nil {
		return err
	}
	defer stop()
	r := &request{path: "/api/v2/session/start/payout", body: make([]byte, floorBodies)}
	conns := make([]conn, o.Clients)
	for i := range conns {
		conns[i].host = host
		defer conns[i].close()
	}
	f.ExchangeCPU, err = together(o.Clients, func(client int) error {
		status, _, err := conns[client].exchange(r)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	return err
}

// together is the CPU time in microseconds of one call of do, when so many
// clients call it at a time.
func together(clients int, do func(client int) error) (float64, error) {
	calls := make([]int, clients)
	began, used := now(), ownCPU()
	err := parallel(clients, clients, func(client int) error {
		for now().Sub(began) < floorTime {
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
	return micros(ownCPU()-used) / float64(max(n, 1)), err
}

func (f *Floors) webhooks(ctx context.Context, o Options) error {
	key, err := generate(o.ServerKey)
	if err != nil {
		return err
	}
	public := key.Public()
	host, stop, err := serveFloor(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := read(r)
		if err != nil || public.Verify(body, r.Header.Get(sign.HeaderSign)) != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	if err != nil {
		return err
	}
	defer stop()
	poster := webhook.NewPoster(webhook.PosterOptions{})
	defer poster.Close()
	body := make([]byte, 2*floorBodies)
	f.WebhookCPU, err = together(min(o.Clients, 64), func(int) error {
		signature, err := key.Sign(body)
		if err != nil {
			return err
		}
		if r := poster.Post(ctx, "http://"+host, true, webhook.Event{ID: 1, Seq: 1, Body: body, Signature: signature}); !r.OK {
			return fmt.Errorf("a webhook was not taken: %s", r.Err)
		}
		return nil
	})
	return err
}

// writes measures the database alone, on a scratch one.
func (f *Floors) writes(ctx context.Context, o Options) (err error) {
	s, remove, err := o.Scratch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	began, calls := now(), make([]int, o.Clients)
	_, err = together(o.Clients, func(client int) error {
		calls[client]++
		return s.PutSetting(ctx, fmt.Sprintf("%d-%d", client, calls[client]), []byte("1"))
	})
	if err != nil {
		return err
	}
	took, n := now().Sub(began), 0
	for _, c := range calls {
		n += c
	}
	f.CommitsPerSecond = float64(n) / took.Seconds()

	if err := s.CreateProject(ctx, partner.Project{ID: projectName(0), Credit: depositKopecks}); err != nil {
		return err
	}
	ids, first := id.NewGenerator(now), 0
	perBatch, err := each(func() error {
		first += floorBatch
		return writeSteps(ctx, s, ids, first)
	})
	f.CommandCPU = micros(perBatch) / float64(floorBatch*len(commands))
	return err
}

// writeSteps takes a batch of payouts through all commands, each command of
// all of them in one transaction.
func writeSteps(ctx context.Context, s store.Store, ids *id.Generator, first int) error {
	project, at := projectName(0), now().UTC().Truncate(time.Microsecond)
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

// micros is a duration in microseconds.
func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
