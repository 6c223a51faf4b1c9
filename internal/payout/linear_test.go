package payout

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/history"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
)

// Whatever callers are told of the same key or session at the same time, there
// is an order of their requests, one after the other, in which each answer is
// right: on a database that fails before a commit, and says nothing after one,
// and with callers who leave before they are answered.
func TestAnswersAreLinearizable(t *testing.T) {
	const (
		rounds  = 25
		clients = 8
		each    = 4 // requests of a client in a round
	)
	var broken *flaky
	l := newLab(t)
	l.close()
	l.wrap = func(s store.Store) store.Store {
		broken = &flaky{Store: s, random: rand.New(rand.NewPCG(1, 2))}
		return broken
	}
	l.open()
	l.start()
	r := &recorder{lab: l, began: time.Now()}
	for round := range rounds {
		broken.on(false)
		awaiting := l.init(accountBody("40817810500000012345", 100))
		l.until(awaiting, session.Awaiting)
		broken.on(true)
		key := fmt.Sprintf("key %d", round)
		r.key = history.History{About: history.Key, Name: key}
		r.session = history.History{About: history.Session, Name: awaiting.String()}
		var all sync.WaitGroup
		for client := range clients {
			dice := rand.New(rand.NewPCG(uint64(round), uint64(client)))
			all.Go(func() {
				for range each {
					if dice.IntN(2) == 0 {
						r.init(client, dice, key)
					} else {
						r.act(client, dice, awaiting)
					}
				}
			})
		}
		all.Wait()
		r.check(&r.key)
		r.check(&r.session)
	}
	broken.on(false)
	l.clean()
	t.Logf("%d answers in %d histories: %d good, %d refused, %d that never came", r.good+r.refused+r.lost, 2*rounds, r.good, r.refused, r.lost)
	if broken.before.Load() == 0 || broken.after.Load() == 0 || r.lost == 0 || r.good == 0 || r.refused == 0 {
		t.Error("nothing went wrong: the test has grown blind")
	}
}

// flaky is a store that fails when it is on.
type flaky struct {
	store.Store
	mu            sync.Mutex
	random        *rand.Rand
	bad           atomic.Bool
	before, after atomic.Int64
}

func (f *flaky) on(bad bool) { f.bad.Store(bad) }

// chance is true in one of n cases while the store is on.
func (f *flaky) chance(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad.Load() && f.random.IntN(n) == 0
}

func (f *flaky) Commit(ctx context.Context, reads store.Reads, decide func(*store.Rows) (*store.Changes, error)) error {
	if f.chance(8) {
		f.before.Add(1)
		if f.chance(2) {
			return store.ErrUnknown
		}
		return fault.New(fault.Busy, "no connection")
	}
	err := f.Store.Commit(ctx, reads, decide)
	if err == nil && f.chance(8) {
		f.after.Add(1)
		return store.ErrUnknown
	}
	return err
}

func (f *flaky) Committed(ctx context.Context, b id.Batch) (bool, error) {
	if f.chance(2) {
		return false, fault.New(fault.Busy, "no connection")
	}
	return f.Store.Committed(ctx, b)
}

// recorder keeps what callers asked and were told, and when.
type recorder struct {
	*lab
	began               time.Time
	mu                  sync.Mutex
	key, session        history.History
	good, refused, lost int
}

func (r *recorder) init(client int, dice *rand.Rand, key string) {
	ask := history.Ask{Do: history.Init, Replay: dice.IntN(3) > 0, Body: 1 + dice.IntN(4)/3}
	body := accountBody("40817810500000012345", int64(ask.Body))
	c := r.call()
	c.Key, c.Replay, c.Print = key, ask.Replay, sha256.Sum256([]byte(body))
	r.record(&r.key, client, dice, ask, func(ctx context.Context) (Answer, error) {
		return r.engine.Init(ctx, c, r.parse(wire.OpInit, body))
	})
}

func (r *recorder) act(client int, dice *rand.Rand, s id.Session) {
	ask := history.Ask{Do: []history.Do{history.Confirm, history.Cancel, history.Look}[dice.IntN(3)]}
	run := map[history.Do]func(context.Context, Call, wire.Request) (Answer, error){
		history.Confirm: r.engine.Confirm, history.Cancel: r.engine.Cancel, history.Look: r.engine.Status,
	}[ask.Do]
	c := r.call()
	if ask.Do != history.Look {
		if ask.Key = dice.IntN(1 + history.KeysMax); ask.Key != 0 {
			ask.Replay = dice.IntN(2) == 0
			c.Key, c.Replay = fmt.Sprintf("%s by key %d", s, ask.Key), ask.Replay
			c.Print = sha256.Sum256([]byte(ask.Do))
		}
	}
	r.record(&r.session, client, dice, ask, func(ctx context.Context) (Answer, error) {
		return run(ctx, c, wire.Request{Session: s})
	})
}

// record makes a request. Some callers do not wait for the answer.
func (r *recorder) record(h *history.History, client int, dice *rand.Rand, ask history.Ask, run func(context.Context) (Answer, error)) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if dice.IntN(6) == 0 {
		go cancel()
	}
	from := time.Since(r.began)
	body, err := run(ctx)
	request := history.Request{Client: client, From: from, To: time.Since(r.began), Ask: ask}
	told := &request.Answer
	switch code := fault.CodeOf(err); {
	case err == nil:
		var in struct {
			Session struct {
				ID         string
				NextAction string `json:"next_action"`
			}
		}
		if err := json.Unmarshal(body.Body, &in); err != nil {
			r.Errorf("%s: %v", body.Body, err)
		}
		told.Kind, told.Replayed = history.Good, body.Replayed
		if ask.Do == history.Init {
			told.Session = in.Session.ID
		}
		told.Awaits = ask.Do == history.Look && in.Session.NextAction != ""
	case code == fault.KeyExists:
		told.Kind = history.Taken
	case code == fault.WrongState:
		told.Kind = history.Wrong
	case code == fault.Busy:
		told.Kind = history.Undone
	case errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknown):
		told.Kind = history.Lost
	default:
		r.Errorf("%+v: %v", ask, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h.Requests = append(h.Requests, request)
}

// check judges a history and counts what it has.
func (r *recorder) check(h *history.History) {
	r.Helper()
	if err := h.Judge(patience); err != nil {
		for _, request := range h.Requests {
			r.Logf("%+v", request)
		}
		r.Fatalf("%s %s: %v", h.About, h.Name, err)
	}
	r.good += h.Count(history.Good)
	r.refused += h.Count(history.Taken, history.Wrong)
	r.lost += h.Count(history.Undone, history.Lost)
}
