package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/history"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/sign"
)

const (
	historiesDefault = 6 // where HISTORIES says nothing
	// keysAtOnce and sessionsAtOnce are what one round is about, each the subject
	// of a history.
	keysAtOnce     = 3
	sessionsAtOnce = 3
	copies         = 64 // callers of one key, who begin at the same moment
	deciders       = 24 // callers of one session
	asksEach       = 3  // requests of a caller
	asksOfARound   = (keysAtOnce*copies + sessionsAtOnce*deciders) * asksEach
	// impatienceMax bounds how long callers wait who do not wait for the answer.
	impatienceMax = 30 * time.Millisecond
	judgeMax      = 5 * time.Minute
	historyMax    = 20 * time.Minute
)

// historiesFolder is where histories are kept that nothing explains.
var historiesFolder = filepath.Join("..", "build", "histories")

// historiesWanted is how many histories to record, as HISTORIES says.
func historiesWanted(t *testing.T) int {
	t.Helper()
	s := os.Getenv("HISTORIES")
	if s == "" {
		return historiesDefault
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("HISTORIES=%q: want a number above zero", s)
	}
	return n
}

// TestHistoriesOfNodes records what callers of two nodes on PostgreSQL are told
// about few keys and sessions at the same time, while nodes are killed and come
// back, connections to the database are cut, and answers to COMMITs are lost.
// There must be an order of the requests that explains all answers.
func TestHistoriesOfNodes(t *testing.T) {
	t.Parallel()
	l := newLink(t, pgtest.URL(t))
	at := place{data: t.TempDir(), db: l.url}
	run(t, "migrate", "--db", at.db)
	s := newScribe(t, at, 2)
	s.record(historiesWanted(t), []trouble{
		{"kills", false, func() { s.kill(rand.IntN(2)) }},
		{"kills of both", false, func() { s.kill(0, 1) }},
		{"cuts of all connections", false, func() { l.cut(false) }},
		{"cuts of some connections", false, l.cutSome},
		{"lost answers to COMMITs", true, func() { l.loseAnswers(1 + rand.IntN(4)) }},
		{"lost answers to COMMITs", false, func() { l.loseAnswers(1 + rand.IntN(4)) }},
	}, func() { l.loseAnswers(0) })
}

// TestHistoriesOfOneNode is the same of a node on SQLite, which is killed.
func TestHistoriesOfOneNode(t *testing.T) {
	t.Parallel()
	s := newScribe(t, place{data: t.TempDir()}, 1)
	s.record(max(historiesWanted(t)/2, 1), []trouble{{"kills", false, func() { s.kill(0) }}}, func() {})
}

// trouble is one thing that goes wrong.
type trouble struct {
	name  string
	first bool // it waits for the first requests, which use keys and decide sessions
	cause func()
}

// scribe asks nodes in the name of one partner, from many callers at once, and
// writes down who asked what, when, and what the answer was.
type scribe struct {
	*testing.T
	at    place
	ctx   context.Context
	began time.Time
	nodes []*node
	key   sign.PrivateKey
	pays  [3]client.Request // by the body of an Ask; 0 is for sessions
	made  int               // keys so far

	mu       sync.Mutex
	answered int           // requests of this round
	marks    []mark        // that somebody waits for
	over     chan struct{} // closed when all callers of the round are done
	done     []*history.History
	longest  time.Duration // judgement
	slowest  time.Duration // answer
	caused   map[string]int
}

// node is one process, and a caller's way to it.
type node struct {
	process *process
	partner *client.Client
	up      chan struct{} // closed while it runs; scribe.mu guards it
}

// mark is a number of answers in a round.
type mark struct {
	answered int
	reached  chan struct{}
}

func newScribe(t *testing.T, at place, nodes int) *scribe {
	t.Helper()
	s := &scribe{T: t, at: at, ctx: t.Context(), began: time.Now(), caused: map[string]int{}}
	paid := byOutcome()[sandbox.Succeeded][0]
	for body := range s.pays {
		s.pays[body] = request(paid, int64(100_00+body))
	}
	for range nodes {
		s.nodes = append(s.nodes, &node{process: start(t, s.command(address(t))...), up: make(chan struct{})})
	}
	hooks := newReceiver(t, serverKey(t, at.data, serverP256).Verify)
	// A connection for each request: those on a kept one may be lost with others.
	transport := &http.Transport{DisableKeepAlives: true}
	calls := client.WithHTTPClient(&http.Client{Transport: transport, Timeout: time.Minute})
	s.key = newP256(t)
	for i, n := range s.nodes {
		if i == 0 {
			n.partner = enrol(t, at, n.process.url, "racer", hooks.url, s.key, []string{"--server-key", "p256"}, calls)
		} else {
			var err error
			if n.partner, err = client.New(n.process.url, "racer", s.key, calls); err != nil {
				t.Fatal(err)
			}
		}
		close(n.up)
		if !until(s.ctx, startTimeout, func() bool { _, err := n.partner.Balance(s.ctx); return err == nil }) {
			t.Fatal("a node does not know its project")
		}
	}
	return s
}

func (s *scribe) command(listen string) []string {
	return s.at.flags("serve", "--sandbox-rails", "--listen", listen, "--log-level", "warn")
}

// kill kills nodes and starts them again, where they were, after some more
// answers; those who find nobody there meanwhile wait.
func (s *scribe) kill(which ...int) {
	s.Helper()
	s.mu.Lock()
	for _, i := range which {
		s.nodes[i].up = make(chan struct{})
	}
	s.mu.Unlock()
	for _, i := range which {
		s.nodes[i].process.kill()
		s.calm(s.nodes[i].process)
	}
	if len(which) < len(s.nodes) {
		s.await(rand.IntN(copies))
	}
	for _, i := range which {
		n := s.nodes[i]
		n.process = start(s, s.command(strings.TrimPrefix(n.process.url, "http://"))...)
		close(n.up)
	}
}

// calm looks for panics and alarms.
func (s *scribe) calm(p *process) {
	s.Helper()
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "msg=alarm") {
			s.Errorf("the node said: %s", line)
		}
	}
}

// await waits until so many more requests of the round have been answered, or
// all of them.
func (s *scribe) await(more int) {
	s.mu.Lock()
	m := mark{s.answered + more, make(chan struct{})}
	s.marks = append(s.marks, m)
	s.mu.Unlock()
	select {
	case <-m.reached:
	case <-s.over:
	case <-s.ctx.Done():
	}
}

// count counts a request that was answered.
func (s *scribe) count() {
	s.answered++
	s.marks = slices.DeleteFunc(s.marks, func(m mark) bool {
		if m.answered > s.answered {
			return false
		}
		close(m.reached)
		return true
	})
}

// record plays rounds, in each of which three troubles come at moments that
// nobody chooses, more of them soon than late, until there are as many histories
// as wanted; then it compares what was told with the ledger and with the books
// of the simulated world. heal ends what is left of troubles.
func (s *scribe) record(wanted int, troubles []trouble, heal func()) {
	s.Helper()
	for len(s.done) < wanted && !s.Failed() {
		ctx, cancel := context.WithTimeout(s.T.Context(), historyMax)
		s.ctx = ctx
		var come [3]trouble
		for i := range come {
			come[i] = troubles[rand.IntN(len(troubles))]
			s.caused[come[i].name]++
		}
		s.round(func() {
			for _, t := range come {
				if t.first {
					t.cause()
				}
			}
		}, func() {
			for _, t := range come {
				if !t.first {
					s.await(rand.IntN(1 + rand.IntN(asksOfARound/3)))
					t.cause()
				}
			}
		}, heal)
		cancel()
	}
	if s.Failed() {
		for i, n := range s.nodes {
			s.Logf("node %d said:\n%s", i, n.process.stderr.String())
		}
		return
	}
	s.compare()
	for _, n := range s.nodes {
		n.process.stop(s)
		s.calm(n.process)
	}
	s.sum()
}

// round records histories of some keys and sessions at once.
func (s *scribe) round(first, meanwhile, heal func()) {
	s.Helper()
	var all []*history.History
	callers := map[*history.History]int{}
	for range keysAtOnce {
		s.made++
		h := &history.History{About: history.Key, Name: fmt.Sprintf("key-%d", s.made)}
		all, callers[h] = append(all, h), copies
	}
	for range sessionsAtOnce {
		h := &history.History{About: history.Session, Name: s.awaiting()}
		all, callers[h] = append(all, h), deciders
	}
	s.answered, s.marks, s.over = 0, nil, make(chan struct{})
	begin := make(chan struct{})
	var asking sync.WaitGroup
	for _, h := range all {
		for caller := range callers[h] {
			asking.Go(func() {
				<-begin
				for i := range asksEach {
					s.ask(h, caller, s.draw(h, i), rand.IntN(len(s.nodes)), rand.IntN(8) == 0)
				}
			})
		}
	}
	first()
	close(begin)
	go func() {
		asking.Wait()
		close(s.over)
	}()
	meanwhile()
	<-s.over
	heal()
	for _, h := range all {
		s.settle(h, callers[h])
		s.judge(h)
	}
	if s.ctx.Err() != nil {
		s.Errorf("a round took longer than %s", historyMax)
		for _, h := range all {
			last := h.Requests[max(len(h.Requests)-3, 0):]
			s.Logf("%s %s: %d requests, the last %+v", h.About, h.Name, len(h.Requests), last)
		}
	}
	s.done = append(s.done, all...)
}

// awaiting makes a session and waits until it may be decided.
func (s *scribe) awaiting() string {
	s.Helper()
	s.made++
	name := fmt.Sprintf("session-%d", s.made)
	for n := 0; ; n++ {
		partner := s.nodes[n%len(s.nodes)].partner
		made, err := partner.InitPayout(s.ctx, s.pays[0], client.WithKey(name), client.WithReplay())
		if err == nil {
			made, err = partner.WaitFor(s.ctx, made.ID, client.AwaitsConfirm)
		}
		switch {
		case err == nil:
			return made.ID
		case s.ctx.Err() != nil:
			s.Errorf("a session does not await confirmation: %v", err)
			return made.ID
		}
	}
}

// draw makes up the nth request of a caller. The first of each about a key is
// the same for most.
func (s *scribe) draw(h *history.History, n int) history.Ask {
	if h.About == history.Session {
		ask := history.Ask{Do: []history.Do{history.Confirm, history.Cancel, history.Look}[rand.IntN(3)]}
		if ask.Do != history.Look {
			ask.Key = rand.IntN(1 + history.KeysMax)
			ask.Replay = ask.Key != 0 && rand.IntN(2) == 0
		}
		return ask
	}
	if told := s.told(h); told != "" && n > 0 && rand.IntN(4) == 0 {
		return history.Ask{Do: history.Look, Session: told}
	}
	return history.Ask{Do: history.Init, Replay: rand.IntN(4) > 0, Body: 1 + rand.IntN(8)/7}
}

// told is the session that callers of a key were told of; "" if none was yet.
func (s *scribe) told(h *history.History) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range h.Requests {
		if session := h.Requests[i].Answer.Session; session != "" {
			return session
		}
	}
	return ""
}

// settle asks once more, when nothing goes wrong any more, until each is
// answered.
func (s *scribe) settle(h *history.History, caller int) {
	asks := []history.Ask{
		{Do: history.Look}, {Do: history.Confirm, Key: 1, Replay: true}, {Do: history.Cancel, Key: 2, Replay: true}, {Do: history.Look},
	}
	if h.About == history.Key {
		asks = []history.Ask{
			{Do: history.Init, Body: 1, Replay: true}, {Do: history.Init, Body: 2, Replay: true}, {Do: history.Init, Body: 1}, {Do: history.Look},
		}
	}
	for i, ask := range asks {
		if h.About == history.Key && ask.Do == history.Look {
			ask.Session = s.told(h)
		}
		for s.ctx.Err() == nil {
			kind := s.ask(h, caller, ask, i%len(s.nodes), false)
			if kind != history.Undone && kind != history.Lost {
				break
			}
		}
	}
}

// ask makes a request to a node and writes it down. Who is impatient leaves
// before long. A request that was not sent, since nobody listened, is made
// again when the node is back.
func (s *scribe) ask(h *history.History, caller int, ask history.Ask, which int, impatient bool) history.Kind {
	for {
		ctx, cancel := s.ctx, context.CancelFunc(func() {})
		if impatient {
			ctx, cancel = context.WithTimeout(s.ctx, rand.N(impatienceMax))
		}
		r := history.Request{Client: caller, Ask: ask, From: time.Since(s.began)}
		session, err := s.call(ctx, h, ask, s.nodes[which].partner)
		r.To = time.Since(s.began)
		cancel()
		if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Op == "dial" {
			s.mu.Lock()
			up := s.nodes[which].up
			s.mu.Unlock()
			select {
			case <-up:
				continue
			case <-s.ctx.Done():
				return history.Lost
			}
		}
		if r.Answer, err = toldBy(ask, session, err); err != nil {
			s.Errorf("%s %s, %+v: %v", h.About, h.Name, ask, err)
		}
		s.mu.Lock()
		h.Requests = append(h.Requests, r)
		s.slowest = max(s.slowest, r.To-r.From)
		s.count()
		s.mu.Unlock()
		return r.Answer.Kind
	}
}

func (s *scribe) call(ctx context.Context, h *history.History, ask history.Ask, c *client.Client) (client.Session, error) {
	var options []client.CallOption
	switch {
	case ask.Do == history.Init:
		options = append(options, client.WithKey(h.Name))
	case ask.Key != 0:
		options = append(options, client.WithKey(fmt.Sprintf("%s-%d", h.Name, ask.Key)))
	}
	if ask.Replay {
		options = append(options, client.WithReplay())
	}
	switch ask.Do {
	case history.Init:
		return c.InitPayout(ctx, s.pays[ask.Body], options...)
	case history.Confirm:
		return c.Confirm(ctx, h.Name, options...)
	case history.Cancel:
		return c.Cancel(ctx, h.Name, options...)
	}
	return c.Status(ctx, cmp.Or(ask.Session, h.Name))
}

// toldBy is what a caller was told, or an error if no partner should be told
// that.
func toldBy(ask history.Ask, s client.Session, err error) (history.Answer, error) {
	if err == nil {
		told := history.Answer{Kind: history.Good, Replayed: s.Replayed}
		switch ask.Do {
		case history.Init:
			told.Session = s.ID
		case history.Look:
			told.Awaits = client.AwaitsConfirm(s)
		}
		return told, nil
	}
	refused, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok, refused.Code == client.CodeInternal && refused.HTTP == http.StatusInternalServerError:
		return history.Answer{Kind: history.Lost}, nil
	case refused.Code == client.CodeInternal && refused.HTTP == http.StatusServiceUnavailable:
		return history.Answer{Kind: history.Undone}, nil
	case refused.Code == client.CodeKeyExists:
		return history.Answer{Kind: history.Taken}, nil
	case refused.Code == client.CodeWrongState:
		return history.Answer{Kind: history.Wrong}, nil
	case refused.Code == client.CodeInvalid:
		return history.Answer{Kind: history.Missing}, nil
	}
	return history.Answer{Kind: history.Lost}, err
}

// judge fails the test if nothing explains the answers, and keeps the history.
func (s *scribe) judge(h *history.History) {
	s.Helper()
	began := time.Now()
	err := h.Judge(judgeMax)
	s.longest = max(s.longest, time.Since(began))
	if err == nil {
		return
	}
	file, kept := h.Keep(historiesFolder)
	s.Errorf("%s %s: %v; %d requests are in %s (%v)", h.About, h.Name, err, len(h.Requests), file, kept)
}

// compare looks into the ledger and into the simulated world: each key has made
// one session, and each session was paid once if its callers were told that it
// was confirmed, else not.
func (s *scribe) compare() {
	s.Helper()
	s.ctx = s.T.Context()
	paid := map[string]bool{} // by the payout's ID
	var mu sync.Mutex
	var ends sync.WaitGroup
	for i, h := range s.done {
		if h.About != history.Session {
			continue
		}
		done := func(what history.Do) bool {
			return slices.ContainsFunc(h.Requests, func(r history.Request) bool { return r.Ask.Do == what && r.Answer.Kind == history.Good })
		}
		confirmed, cancelled := done(history.Confirm), done(history.Cancel) // neither, if the one that was done was lost
		ends.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, drainTimeout)
			defer cancel()
			end, err := s.nodes[i%len(s.nodes)].partner.WaitFor(ctx, h.Name, client.Finished)
			switch accepted := end.Status == client.SessionAccepted; {
			case err != nil:
				s.Error(err)
			case accepted && cancelled || !accepted && confirmed:
				s.Errorf("session %s is %s; callers were told that it was confirmed: %t, cancelled: %t", h.Name, end.Status, confirmed, cancelled)
			case accepted:
				mu.Lock()
				defer mu.Unlock()
				paid[end.Payouts[0].ID] = true
			}
		})
	}
	ends.Wait()
	var has struct{ Sessions int }
	if err := json.Unmarshal([]byte(run(s, s.at.flags("check", "--json")...)), &has); err != nil {
		s.Fatal(err)
	}
	if has.Sessions != s.made {
		s.Errorf("the ledger has %d sessions, want %d: one for each key", has.Sessions, s.made)
	}
	world, err := sandbox.Open(filepath.Join(s.at.data, "sim"), &sandbox.Clock{})
	if err != nil {
		s.Fatal(err)
	}
	defer world.Close()
	for e, err := range world.Executions(s.ctx) {
		if err != nil {
			s.Fatal(err)
		}
		if !paid[e.Reference] {
			s.Errorf("%s was paid to %s, and should not have been, or not twice", e.Amount, e.Reference)
		}
		delete(paid, e.Reference)
	}
	for payout := range paid {
		s.Errorf("payout %s is said to have succeeded, and the world has not paid it", payout)
	}
}

// sum logs what was recorded, and fails the test if it has grown blind.
func (s *scribe) sum() {
	s.Helper()
	kinds := map[history.Kind]int{}
	requests := 0
	for _, h := range s.done {
		requests += len(h.Requests)
		for i := range h.Requests {
			kinds[h.Requests[i].Answer.Kind]++
		}
	}
	s.Logf("%d histories of %d requests: %d good, %d refused, %d not done, %d of unknown outcome; the slowest answer took %s, the longest judgement %s; %v; %s in all",
		len(s.done), requests, kinds[history.Good], kinds[history.Taken]+kinds[history.Wrong], kinds[history.Undone], kinds[history.Lost],
		s.slowest.Round(time.Millisecond), s.longest.Round(10*time.Microsecond), s.caused, time.Since(s.began).Round(time.Second))
	if kinds[history.Good] == 0 || kinds[history.Taken] == 0 || kinds[history.Wrong] == 0 || kinds[history.Lost] == 0 {
		s.Errorf("%v: the test has grown blind", kinds)
	}
}
