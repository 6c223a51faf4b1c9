package payout

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/payoutd/payoutd/internal/fault"
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
	r := &recorder{lab: l}
	for round := range rounds {
		broken.on(false)
		awaiting := l.init(accountBody("40817810500000012345", 100))
		l.until(awaiting, session.Awaiting)
		broken.on(true)
		key := fmt.Sprintf("key %d", round)
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
		r.check(keyModel, r.keys)
		r.check(sessionModel, r.sessions)
		r.keys, r.sessions = nil, nil
	}
	broken.on(false)
	l.clean()
	t.Logf("%d answers in %d histories: %d good, %d refused, %d that never came", r.total(), 2*rounds, r.good, r.refused, r.lost)
	if broken.before.Load() == 0 || broken.after.Load() == 0 || r.lost == 0 || r.good == 0 || r.refused == 0 {
		t.Error("nothing went wrong: the test has grown blind")
	}
}

// Histories that no order explains are found.
func TestWrongAnswersAreFound(t *testing.T) {
	replay := keyAsk{replay: true, body: 1}
	for name, c := range map[string]struct {
		model   porcupine.Model
		history []porcupine.Operation
	}{
		"a key makes two sessions": {keyModel, []porcupine.Operation{
			{Input: replay, Call: 1, Output: answer{kind: good, session: 7}, Return: 2},
			{Input: replay, Call: 1, Output: answer{kind: good, session: 8}, Return: 3},
		}},
		"a key is refused that is free": {keyModel, []porcupine.Operation{
			{Input: keyAsk{body: 1}, Call: 1, Output: answer{kind: refused}, Return: 2},
		}},
		"a key with another body is replayed": {keyModel, []porcupine.Operation{
			{Input: replay, Call: 1, Output: answer{kind: good, session: 7}, Return: 2},
			{Input: keyAsk{replay: true, body: 2}, Call: 3, Output: answer{kind: good, session: 7}, Return: 4},
		}},
		"confirmed and cancelled": {sessionModel, []porcupine.Operation{
			{Input: confirming, Call: 1, Output: answer{kind: good}, Return: 3},
			{Input: cancelling, Call: 2, Output: answer{kind: good}, Return: 4},
		}},
		"a status of the past": {sessionModel, []porcupine.Operation{
			{Input: confirming, Call: 1, Output: answer{kind: good}, Return: 2},
			{Input: looking, Call: 3, Output: answer{kind: good, awaits: true}, Return: 4},
		}},
	} {
		if porcupine.CheckOperations(c.model, c.history) {
			t.Errorf("%s: not found", name)
		}
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
	mu                  sync.Mutex
	keys, sessions      []porcupine.Operation
	good, refused, lost int
}

// answer is what a caller was told.
type answer struct {
	kind    answerKind
	session id.Session
	awaits  bool // confirmation, as a status says
}

type answerKind byte

const (
	good    answerKind = iota
	refused            // by the state of things
	undone             // not done, says the server
	lost               // it may have been done, or be done later
)

// keyAsk is an init with the key.
type keyAsk struct {
	replay bool
	body   int64
}

// sessionAsk is a request about the session.
type sessionAsk byte

const (
	confirming sessionAsk = iota
	cancelling
	looking
)

func (r *recorder) init(client int, dice *rand.Rand, key string) {
	ask := keyAsk{replay: dice.IntN(3) > 0, body: 1 + int64(dice.IntN(4)/3)}
	body := accountBody("40817810500000012345", ask.body)
	c := r.call()
	c.Key, c.Replay, c.Print = key, ask.replay, sha256.Sum256([]byte(body))
	r.record(&r.keys, client, dice, ask, func(ctx context.Context) (Answer, error) {
		return r.engine.Init(ctx, c, r.parse(wire.OpInit, body))
	})
}

func (r *recorder) act(client int, dice *rand.Rand, s id.Session) {
	ask := sessionAsk(dice.IntN(3))
	run := map[sessionAsk]func(context.Context, Call, wire.Request) (Answer, error){
		confirming: r.engine.Confirm, cancelling: r.engine.Cancel, looking: r.engine.Status,
	}[ask]
	r.record(&r.sessions, client, dice, ask, func(ctx context.Context) (Answer, error) {
		return run(ctx, r.call(), wire.Request{Session: s})
	})
}

// record makes a request. Some callers do not wait for the answer.
func (r *recorder) record(history *[]porcupine.Operation, client int, dice *rand.Rand, ask any, run func(context.Context) (Answer, error)) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if dice.IntN(6) == 0 {
		go cancel()
	}
	called := time.Now().UnixNano()
	body, err := run(ctx)
	op := porcupine.Operation{ClientId: client, Input: ask, Call: called, Return: time.Now().UnixNano()}
	told := answer{kind: good}
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
		told.awaits = in.Session.NextAction != ""
		told.session, _ = id.ParseSession(in.Session.ID)
	case code == fault.KeyExists || code == fault.WrongState:
		told.kind = refused
	case code == fault.Busy:
		told.kind = undone
	case errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknown):
		told.kind, op.Return = lost, math.MaxInt64
	default:
		r.Errorf("%+v: %v", ask, err)
	}
	if ask != looking && told.kind == good {
		told.awaits = false
	}
	op.Output = told
	r.mu.Lock()
	defer r.mu.Unlock()
	*history = append(*history, op)
	switch told.kind {
	case good:
		r.good++
	case refused:
		r.refused++
	default:
		r.lost++
	}
}

func (r *recorder) total() int { return r.good + r.refused + r.lost }

func (r *recorder) check(m porcupine.Model, history []porcupine.Operation) {
	r.Helper()
	if !porcupine.CheckOperations(m, history) {
		for _, op := range history {
			r.Logf("%d to %d: %+v → %+v", op.Call, op.Return, op.Input, op.Output)
		}
		r.Fatal("no order of these requests explains their answers")
	}
}

// burnt is what an idempotency key stands for.
type burnt struct {
	used    bool
	session id.Session // 0 as long as nobody was told
	body    int64      // 0 with it
}

// keyModel is an idempotency key, which makes one session or none.
var keyModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{burnt{}} },
	Step: func(state, input, output any) []any {
		s, ask, told := state.(burnt), input.(keyAsk), output.(answer)
		switch told.kind {
		case undone:
			return []any{s}
		case lost:
			if s.used {
				return []any{s}
			}
			return []any{s, burnt{used: true, body: ask.body}}
		case refused:
			if s.used && (!ask.replay || s.body != ask.body) {
				return []any{s}
			}
			return nil
		}
		switch {
		case !s.used:
			return []any{burnt{true, told.session, ask.body}}
		case !ask.replay || s.body != ask.body:
			return nil
		case s.session == 0:
			return []any{burnt{true, told.session, ask.body}}
		case s.session == told.session:
			return []any{s}
		}
		return nil
	},
}).ToModel()

// fate is what has become of a session that awaited.
type fate byte

const (
	awaits fate = iota
	confirmed
	cancelled
)

// sessionModel is a session that awaits confirmation, and gets one answer.
var sessionModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{awaits} },
	Step: func(state, input, output any) []any {
		s, ask, told := state.(fate), input.(sessionAsk), output.(answer)
		to := map[sessionAsk]fate{confirming: confirmed, cancelling: cancelled, looking: s}[ask]
		switch {
		case told.kind == undone:
			return []any{s}
		case told.kind == lost:
			if s == awaits {
				return []any{s, to}
			}
			return []any{s}
		case ask == looking:
			if told.awaits == (s == awaits) {
				return []any{s}
			}
		case told.kind == good:
			if s == awaits {
				return []any{to}
			}
		case s != awaits:
			return []any{s}
		}
		return nil
	},
}).ToModel()
