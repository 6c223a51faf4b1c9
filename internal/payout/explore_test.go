package payout

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/rail"
)

// One payout, explored to the end: every order in which the partner, the rail,
// the network, the clock, the workers of two nodes and crashes can act on it,
// until the whole has no state left that was not seen. The commands are those of
// production; only rows, rail and time are the explorer's.
//
// It allows more than can happen: a task may be claimed before its lease has
// ended, as if its worker had been paused, and what a worker brings back may
// arrive at any later time or never. A request to the rail may arrive late, but
// not after the window that the rail declares.
func TestExploreOnePayout(t *testing.T) {
	but := func(not ...session.State) []session.State {
		not = append(not, session.Checked) // a payout that is alone in its session leaves it in the same commit
		return slices.DeleteFunc(slices.Clone(session.States), func(s session.State) bool { return slices.Contains(not, s) })
	}
	for _, c := range []struct {
		name   string
		rules  rules
		change func(*partner.Project)
		reach  []session.State
	}{
		{"that the partner confirms", rules{}, nil, but(session.Confirmed, session.Disputed)},
		{"in a single request", rules{}, func(p *partner.Project) { p.SingleRequest = true }, but(session.Awaiting, session.Confirmed, session.Disputed)},
		{"of a node that can't promise", rules{unready: true}, nil, but(session.Disputed)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newExplorer(t, c.rules, c.change)
			if found := x.explore(); found != "" {
				t.Fatal(found)
			}
			t.Logf("%d states, %d moves, the last new state after %d moves", len(x.seen), x.moves, x.depth)
			for _, s := range session.States {
				if got, want := x.reached[s] > 0, slices.Contains(c.reach, s); got != want {
					t.Errorf("%s was reached: %t, want %t", s, got, want)
				}
			}
		})
	}
}

// What the explorer is there to find, it finds.
func TestExplorerFindsFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules rules
		want  string
	}{
		{"a time-out counts as a refusal", rules{timeoutFails: true}, "the rail has paid or may still pay"},
		{"the window of the rail is not waited for, and a late request pays again", rules{impatient: true, paysAgain: true}, "the rail has paid"},
		{"a request comes after the window, and pays again", rules{late: true, paysAgain: true}, "the rail has paid"},
		{"a crash loses the tasks", rules{forgetful: true}, "has no task"},
		{"nobody asks the rail again", rules{silent: true}, "can't end"},
		{"webhooks are not delivered", rules{undelivered: true}, "can't end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			found := newExplorer(t, c.rules, nil).explore()
			if !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

// rules are what differs between explorations. The zero rules are those of
// production and of a rail that keeps its contract.
type rules struct {
	unready bool // the node leaves the intent to a task of its own
	// faults, to be found
	timeoutFails, impatient, paysAgain, late, forgetful, silent, undelivered bool
}

const (
	reportsMax = 2 // of workers, at a time: the one that counts and one that has been overtaken
	networkMax = 1 // requests on their way to the rail, besides those that are answered
)

// truth is what the rail has done.
type truth byte

const (
	nothing truth = iota
	processing
	paid
	declined
)

// scene is one state of the whole. What it points to is never changed in place.
type scene struct {
	session *session.Session
	book    *ledger.Book
	outbox  []webhook.Event
	told    []string // types of all events, in order
	tasks   map[store.TaskKind]store.Task
	attempt store.Attempt
	keys    map[store.KeyRef]store.KeyRecord
	now     time.Time

	reports []report    // what workers are about to commit
	calls   []promise   // of the rail, which a commit has promised
	network []time.Time // requests under way to the rail, by the last moment at which they arrive

	rail     truth
	executed int  // how often it has paid
	repeated bool // it has repeated its answer unasked
	returned int  // how often it has told of the return
}

// report is a command that a worker has ready.
type report struct {
	name string
	command
	task  store.Task
	asked time.Time
}

// promise is a call of the rail that a worker has in memory.
type promise struct {
	task  store.Task
	until time.Time
	again bool // the same reference once more
}

// move leads from one scene to another. The partner can't be made to move: an
// end must be in reach without it.
type move struct {
	name    string
	partner bool
	to      *scene
}

// found is a scene that was seen, and how.
type found struct {
	from, depth int // the scene that led here first
	name        string
	back        []int // scenes that lead here without the partner
	state       session.State
	shown       string
	done        bool // the payout has ended and the partner knows
}

type explorer struct {
	*testing.T
	rules
	engine  *Engine
	caller  *partner.Project
	key     store.SessionKey
	payout  id.Payout
	first   *scene
	seen    map[string]int
	graph   []found
	reached map[session.State]int
	moves   int
	depth   int
	window  time.Duration
	fault   string
}

func newExplorer(t *testing.T, r rules, change func(*partner.Project)) *explorer {
	l := newLab(t, func(p *partner.Project) {
		if change != nil {
			change(p)
		}
	})
	x := &explorer{
		T: t, rules: r, engine: l.engine, caller: l.call().Project, seen: map[string]int{}, reached: map[session.State]int{},
	}
	x.engine.gapMax = queryGapFirst // all gaps are alike, so that attempts do not tell scenes apart
	if !r.unready {
		x.engine.tasksWorker.sending = t.Context()
	}
	terms := l.rails["bank_account"].terms
	x.window = terms.SendDeadline + terms.Visibility
	book, err := l.store.Book(t.Context(), l.project)
	if err != nil {
		t.Fatal(err)
	}
	start := &scene{book: book, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	number := id.Session(x.engine.ids.Next())
	x.key, x.payout = l.key(number), id.Payout(x.engine.ids.Next())
	details := l.parse(wire.OpInit, accountBody("40817810500000012345", 15_000)).Details
	x.first, err = x.commit(start, x.request(func(t *tx) (*session.Session, error) {
		s := t.draft(number, x.call())
		s.Draft = details
		t.put(s)
		return s, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *explorer) call() Call { return Call{Project: x.caller, Version: 2} }

func (x *explorer) request(run func(*tx) (*session.Session, error)) command {
	return &request{Call: x.call(), session: x.key, money: true, run: run}
}

// ofSession is a request about the session that exists.
func (x *explorer) ofSession(run func(*tx, *session.Session) error) command {
	return x.request(func(t *tx) (*session.Session, error) {
		s, err := t.session(x.key)
		if err != nil {
			return nil, err
		}
		t.put(s)
		return s, run(t, s)
	})
}

// commit lets the engine decide a command in a scene and returns the scene after.
func (x *explorer) commit(s *scene, c command) (*scene, error) {
	book := *s.book
	rows := &store.Rows{
		Sessions: map[store.SessionKey]*session.Session{}, Outbox: map[store.SessionKey][]webhook.Event{x.key: slices.Clone(s.outbox)},
		Books: map[id.Project]*ledger.Book{x.key.Project: &book}, Keys: maps.Clone(s.keys),
	}
	if rows.Keys == nil {
		rows.Keys = map[store.KeyRef]store.KeyRecord{}
	}
	if s.session != nil {
		rows.Sessions[x.key] = s.session
	}
	b := newBatch(x.engine, 1, s.now, rows)
	if _, err := b.decide(c); err != nil {
		return s, err
	}
	to, changes := *s, b.sum()
	to.tasks = maps.Clone(s.tasks)
	if to.tasks == nil {
		to.tasks = map[store.TaskKind]store.Task{}
	}
	to.session, to.book, to.outbox, to.keys = rows.Sessions[x.key], rows.Books[x.key.Project], rows.Outbox[x.key], rows.Keys
	for _, e := range changes.Events {
		if e.N > len(to.told) {
			to.told = append(slices.Clone(to.told), e.Type)
		}
	}
	for _, k := range changes.TasksDone {
		delete(to.tasks, k.Kind)
	}
	for _, task := range changes.Tasks {
		to.tasks[task.Kind] = task
	}
	for _, a := range changes.Attempts {
		if s.attempt.Outcome == store.AttemptAccepted && a.Outcome != store.AttemptAccepted {
			x.fault = "an accepted attempt becomes " + string(a.Outcome)
		}
		to.attempt = a
	}
	for _, k := range b.calls {
		to.promised(promise{task: store.Task{TaskKey: k, Fence: to.session.Fence}, until: s.now.Add(x.window / 2)})
	}
	return &to, nil
}

// promised gives a worker a call to make. Two that are alike are one.
func (s *scene) promised(p promise) {
	s.calls = slices.DeleteFunc(slices.Clone(s.calls), func(c promise) bool { return c.again == p.again && c.until.Equal(p.until) })
	s.calls = append(s.calls, p)
}

// next is everything that may happen in a scene.
func (x *explorer) next(s *scene) []move {
	var moves []move
	add := func(name string, to *scene) { moves = append(moves, move{name: name, to: to}) }
	try := func(name string, byPartner bool, c command) {
		if to, err := x.commit(s, c); err == nil {
			moves = append(moves, move{name, byPartner, to})
		} else if fault.CodeOf(err) == fault.Internal {
			x.fault = err.Error()
		}
	}
	try("the partner starts", true, x.ofSession(func(t *tx, s *session.Session) error {
		return t.begin(s, x.payout, x.call(), session.Details{})
	}))
	try("the partner confirms", true, x.ofSession(func(t *tx, s *session.Session) error { _, err := t.confirm(s, x.call(), nil); return err }))
	try("the partner cancels", true, x.ofSession(func(t *tx, s *session.Session) error { _, err := t.cancel(s, x.call()); return err }))
	if len(s.reports) < reportsMax {
		for _, kind := range []store.TaskKind{store.TaskCheck, store.TaskExpire, store.TaskSend, store.TaskQuery} {
			if task, ok := s.tasks[kind]; ok && !task.Due.After(s.now) {
				x.work(s, task, add)
			}
		}
		for i := range s.calls {
			x.send(s, i, add)
		}
	}
	for i, r := range s.reports {
		x.deliver(s, i, r, add)
	}
	x.outside(s, add)
	if to := x.tick(s); to != nil {
		add("time passes", to)
	}
	if len(s.reports)+len(s.calls) > 0 || x.forgetful && len(s.tasks) > 0 {
		to := *s
		to.reports, to.calls = nil, nil
		if x.forgetful {
			to.tasks = nil
		}
		add("all nodes crash", &to)
	}
	if len(s.outbox) > 0 && !x.undelivered {
		e := s.outbox[0]
		try(e.Type+" is delivered", false, &tried{project: x.caller, event: eventKey(&e), at: s.now, result: webhook.Result{OK: true}})
	}
	return moves
}

// work lets a worker run a task up to its report: the node that made it, or one
// that has claimed it.
func (x *explorer) work(s *scene, task store.Task, add func(string, *scene)) {
	for _, claimed := range []bool{false, true} {
		from, who := *s, "a worker"
		if claimed {
			own := s.session.Clone()
			own.Fence++
			from.session, who = own, "another node"
		}
		task.Fence = from.session.Fence
		with := errand{x.caller, task}
		ready := func(what string, c command) {
			to := from
			to.reports = append(slices.Clone(from.reports), report{what, c, task, s.now})
			add(who+" finds: "+what, &to)
		}
		p := &s.session.Payouts[0]
		switch task.Kind {
		case store.TaskCheck:
			if !s.now.Before(p.CreatedAt.Add(checkDeadline)) {
				ready("checked too late", &checked{errand: with, refused: fault.ProviderTimeout})
				break
			}
			ready("possible", &checked{errand: with})
			ready("refused", &checked{errand: with, refused: fault.AccountNotFound})
			again := s.now.Add(checkGapMax)
			if task.Attempt > 0 { // the next time to look is the last: what lies between is more of the same
				again = p.CreatedAt.Add(checkDeadline)
			}
			ready("no verdict", &later{with, again})
		case store.TaskExpire:
			ready("expired", &expire{with})
		case store.TaskSend:
			ready("intent", &intent{errand: with})
			ready("impossible", &abort{errand: with, code: fault.RoutingInternal})
		case store.TaskQuery:
			if x.silent {
				break
			}
			asked := s.now
			if x.impatient {
				asked = s.now.Add(x.window)
			}
			says := map[truth]rail.Status{nothing: rail.NeverSeen, processing: rail.Accepted, paid: rail.Succeeded, declined: rail.Failed}[s.rail]
			ready(string(says), &outcome{errand: with, says: rail.Outcome{Status: says, Code: rail.IssuerDeclined}, asked: asked})
			ready("no answer", &outcome{errand: with, says: rail.Outcome{Status: rail.Unknown}, asked: asked})
		}
	}
}

// send lets a worker keep a promise: the request arrives now, later or never,
// and so does the answer.
func (x *explorer) send(s *scene, i int, add func(string, *scene)) {
	c := s.calls[i]
	base := *s
	base.calls = slices.Delete(slices.Clone(s.calls), i, i+1)
	c.task.Kind = store.TaskQuery
	with := errand{x.caller, c.task}
	answer := func(name string, to scene, says rail.Status) {
		if says == rail.Unknown && x.timeoutFails {
			says = rail.Failed
		}
		to.reports = append(slices.Clone(to.reports), report{
			string(says), &outcome{errand: with, says: rail.Outcome{Status: says, Code: rail.IssuerDeclined}}, c.task, time.Time{},
		})
		add(name, &to)
	}
	if !c.again {
		to := base
		to.reports = append(slices.Clone(to.reports), report{"unkept", &unkept{with, s.session.Payouts[0].Attempt, fault.RoutingInternal, "gone"}, c.task, time.Time{}})
		add("the call has become impossible", &to)
	}
	answer("the request is lost", base, rail.Unknown)
	arrived := base
	x.arrive(&arrived)
	says := map[truth]rail.Status{processing: rail.Accepted, paid: rail.Succeeded, declined: rail.Failed}[arrived.rail]
	answer("the rail takes it", arrived, says)
	answer("the rail takes it, its answer is lost", arrived, rail.Unknown)
	if len(s.network) < networkMax {
		delayed := base
		delayed.network = append(slices.Clone(s.network), c.until.Add(x.window/2))
		answer("the request is slow", delayed, rail.Unknown)
	}
}

// arrive is a request that reaches the rail: the same reference is one payment.
func (x *explorer) arrive(s *scene) {
	if s.rail == nothing || x.paysAgain && s.executed < 2 {
		s.rail = processing
	}
}

// deliver commits a report.
func (x *explorer) deliver(s *scene, i int, r report, add func(string, *scene)) {
	base := *s
	base.reports = slices.Delete(slices.Clone(s.reports), i, i+1)
	to, err := x.commit(&base, r.command)
	if err != nil {
		if fault.CodeOf(err) == fault.Internal {
			x.fault = err.Error()
		}
		add("refused: "+r.name, &base)
		return
	}
	switch c := r.command.(type) {
	case *intent:
		to.promised(promise{r.task, c.at.Add(x.window / 2), true})
	case *outcome:
		if !c.again.IsZero() {
			to.promised(promise{r.task, c.again.Add(x.window / 2), true})
		}
	}
	add("committed: "+r.name, to)
}

// outside is what the rail and the network do by themselves.
func (x *explorer) outside(s *scene, add func(string, *scene)) {
	for i := range s.network {
		to := *s
		to.network = slices.Delete(slices.Clone(s.network), i, i+1)
		x.arrive(&to)
		add("the slow request arrives", &to)
	}
	if s.rail == processing {
		pays, declines := *s, *s
		pays.rail, declines.rail = paid, declined
		pays.executed++
		add("the rail pays", &pays)
		add("the rail declines", &declines)
	}
	task := store.Task{TaskKey: store.TaskKey{SessionKey: x.key, Payout: x.payout, Kind: store.TaskQuery}}
	if !s.repeated && (s.rail == paid || s.rail == declined) {
		from := *s
		from.repeated = true
		says := map[truth]rail.Status{paid: rail.Succeeded, declined: rail.Failed}[s.rail]
		if to, err := x.commit(&from, &outcome{errand: errand{x.caller, task}, says: rail.Outcome{Status: says, Code: rail.IssuerDeclined}}); err == nil {
			add("the rail tells its answer", to)
		}
	}
	if s.rail == paid && s.returned < 2 {
		from := *s
		from.returned++
		back := rail.Return{Reference: "back", Payment: s.session.Payouts[0].Reference, Amount: *s.session.Payouts[0].Amount(), At: s.now}
		if to, err := x.commit(&from, &returned{errand: errand{x.caller, task}, rail: "any", told: back}); err == nil {
			add("the rail tells of a return", to)
		}
	}
}

// tick moves the clock just past the next moment that matters; nil if there is
// none.
func (x *explorer) tick(s *scene) *scene {
	var next time.Time
	for _, at := range x.moments(s) {
		if at.After(s.now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		return nil
	}
	to := *s
	to.now = next
	to.calls = slices.DeleteFunc(slices.Clone(s.calls), func(c promise) bool { return !c.until.After(next) })
	if !x.late {
		to.network = slices.DeleteFunc(slices.Clone(s.network), func(last time.Time) bool { return !last.After(to.now) })
	}
	return &to
}

// moments are the times on which anything depends but the alarm about a payout
// that stays unclear, which changes nothing else.
func (x *explorer) moments(s *scene) []time.Time {
	var at []time.Time
	for _, kind := range []store.TaskKind{store.TaskCheck, store.TaskExpire, store.TaskSend, store.TaskQuery} {
		at = append(at, s.tasks[kind].Due)
	}
	if len(s.session.Payouts) > 0 {
		p := &s.session.Payouts[0]
		if p.State == session.Checking {
			at = append(at, p.CreatedAt.Add(checkDeadline))
		}
		if p.State == session.Sent || p.State == session.Unclear {
			at = append(at, p.SentAt.Add(x.window+time.Microsecond)) // after it, not at it
		}
	}
	for _, c := range s.calls {
		at = append(at, c.until)
	}
	at = append(at, s.network...)
	return at
}

// print tells scenes apart by what can still make a difference: of times, how
// far off they are, and of those that have passed, that they have.
func (x *explorer) print(s *scene) string {
	var b bytes.Buffer
	far := func(t time.Time) {
		_ = binary.Write(&b, binary.BigEndian, max(0, t.Sub(s.now)).Nanoseconds())
	}
	fmt.Fprintf(&b, "%s %d %t %d %d %v %d ", s.session.State, s.rail, s.repeated, s.returned, s.executed, s.told, len(s.outbox))
	for i := range s.session.Payouts {
		p := &s.session.Payouts[i]
		failure := fault.Code("")
		if p.Failure != nil {
			failure = p.Failure.Code
		}
		fmt.Fprintf(&b, "%s %d %s %s %t ", p.State, p.NeverSeen, failure, s.attempt.Outcome, s.tasks[store.TaskCheck].Attempt > 0)
		for j := range p.Refunds {
			fmt.Fprintf(&b, "%s ", p.Refunds[j].Status)
		}
	}
	for _, at := range x.moments(s) {
		far(at)
	}
	var reports []string
	for _, r := range s.reports {
		asked := false
		if o, ok := r.command.(*outcome); ok && len(s.session.Payouts) > 0 {
			asked = o.asked.After(s.session.Payouts[0].SentAt.Add(x.window))
		}
		due := time.Duration(0)
		counts := r.task.Fence == s.session.Fence
		if l, ok := r.command.(*later); ok && counts && s.session.State == session.Checking {
			due = max(0, l.due.Sub(s.now))
		}
		attempt := false
		if u, ok := r.command.(*unkept); ok {
			attempt = u.attempt == s.session.Payouts[0].Attempt
		}
		reports = append(reports, fmt.Sprintf("%s %s %t %t %d %t", r.name, r.task.Kind, counts, asked, due, attempt))
	}
	slices.Sort(reports)
	fmt.Fprintf(&b, "%q", reports)
	for _, c := range s.calls {
		fmt.Fprintf(&b, " %t", c.again)
	}
	return b.String()
}

// see puts a scene into the graph, if it is new, and returns its number.
func (x *explorer) see(s *scene, from int, m move) (n int, fresh bool) {
	print := x.print(s)
	n, known := x.seen[print]
	if !known {
		n = len(x.graph)
		x.seen[print] = n
		f := found{from: from, name: m.name, state: s.session.State, done: s.session.State.Final() && len(s.outbox) == 0}
		if from >= 0 {
			f.depth = x.graph[from].depth + 1
		}
		if f.state.Final() && len(s.session.Payouts) > 0 {
			f.shown = s.session.Show().Session
		}
		x.depth = max(x.depth, f.depth)
		x.reached[f.state]++
		x.graph = append(x.graph, f)
	}
	if !m.partner && from >= 0 {
		x.graph[n].back = append(x.graph[n].back, from)
	}
	return n, !known
}

// explore visits every scene, the nearest first. It returns the first fault with
// the way to it; "" if there is none.
func (x *explorer) explore() string {
	x.see(x.first, -1, move{name: "the session is created"})
	scenes := []*scene{x.first}
	for at := 0; at < len(scenes); at++ {
		moves := x.next(scenes[at])
		if x.fault != "" {
			return x.way(at) + x.fault
		}
		scenes[at] = nil
		for _, m := range moves {
			x.moves++
			n, fresh := x.see(m.to, at, m)
			if fresh {
				scenes = append(scenes, m.to)
				if wrong := x.wrong(m.to); wrong != "" {
					return x.way(n) + wrong
				}
			}
			if was := x.graph[at].shown; was != "" && x.graph[n].shown != was {
				return x.way(at) + m.name + ": the session was shown " + was + " and is now " + x.graph[n].shown
			}
		}
	}
	return x.dead()
}

// wrong is what must not be in any scene.
func (x *explorer) wrong(s *scene) string {
	if s.executed > 1 {
		return fmt.Sprintf("the rail has paid %d times", s.executed)
	}
	if len(s.session.Payouts) == 0 {
		return ""
	}
	p, held := &s.session.Payouts[0], int64(0)
	if p.State.Holds() {
		held = p.Minor() + p.Fee
	}
	count := func(h session.Hook) (n int) {
		for _, told := range s.told {
			if told == string(h) {
				n++
			}
		}
		return n
	}
	b := s.book.Balance
	switch {
	case b.Held != held:
		return fmt.Sprintf("%s, and %d are held, want %d", p.State, b.Held, held)
	case p.State == session.Paid && s.rail != paid:
		return "paid, and the rail has not paid"
	case p.State == session.Disputed:
		return "disputed, with a rail that has not contradicted itself"
	case (p.State == session.Failed || p.State == session.Cancelled) && (s.rail == paid || s.rail == processing || len(s.network) > 0):
		return "failed, and the rail has paid or may still pay"
	case (p.State == session.Failed || p.State == session.Cancelled) && b.Available+b.Deposits != 0:
		return fmt.Sprintf("%s, and %d of it did not come back", p.State, b.Available+b.Deposits)
	case count(session.PaymentFinished) > 1 || p.State.Final() != (count(session.PaymentFinished) == 1):
		return fmt.Sprintf("%s, and told %v", p.State, s.told)
	case count(session.ReadyToConfirm) > 1 || p.State == session.Awaiting && count(session.ReadyToConfirm) != 1:
		return fmt.Sprintf("%s, and told %v", p.State, s.told)
	case (p.State == session.Returned) != (count(session.PaymentRefunded) == 1):
		return fmt.Sprintf("%s, and told %v", p.State, s.told)
	case (p.State == session.Paid || p.State == session.Returned) != (s.attempt.Outcome == store.AttemptAccepted):
		return fmt.Sprintf("%s, and its attempt is %q", p.State, s.attempt.Outcome)
	}
	if kind := taskOf(p.State); kind != "" {
		if _, ok := s.tasks[kind]; !ok {
			return fmt.Sprintf("%s has no task %s", p.State, kind)
		}
	}
	return ""
}

// dead is a scene of a started session from which no end can be reached in
// which the partner knows, unless the partner does something; "" if there is none.
func (x *explorer) dead() string {
	alive := make([]bool, len(x.graph))
	var open []int
	for n := range x.graph {
		if x.graph[n].done {
			alive[n] = true
			open = append(open, n)
		}
	}
	for len(open) > 0 {
		n := open[len(open)-1]
		open = open[:len(open)-1]
		for _, from := range x.graph[n].back {
			if !alive[from] {
				alive[from] = true
				open = append(open, from)
			}
		}
	}
	for n := range x.graph {
		if !alive[n] && x.graph[n].state != session.Created {
			return x.way(n) + "it can't end"
		}
	}
	return ""
}

// way tells how a scene was reached.
func (x *explorer) way(n int) string {
	var names []string
	for ; n >= 0; n = x.graph[n].from {
		names = append(names, x.graph[n].name)
	}
	slices.Reverse(names)
	return strings.Join(names, "\n") + "\n"
}
