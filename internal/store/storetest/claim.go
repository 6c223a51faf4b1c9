package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// tasks makes one session per due time, each with a task of the kind.
func (b *bed) tasks(kind store.TaskKind, due ...time.Duration) []store.Task {
	b.Helper()
	var tasks []store.Task
	b.write(func(c *store.Changes) {
		for _, after := range due {
			s := b.start("p")
			c.Sessions = append(c.Sessions, s)
			tasks = append(tasks, task(s, kind, noon.Add(after)))
		}
		c.Tasks = tasks
	})
	return tasks
}

// claim takes tasks at noon for a minute.
func (b *bed) claim(node string, limit int, kinds ...store.TaskKind) []store.Task {
	b.Helper()
	return b.claimAt(noon, node, limit, kinds...)
}

func (b *bed) claimAt(now time.Time, node string, limit int, kinds ...store.TaskKind) []store.Task {
	b.Helper()
	tasks, err := b.ClaimTasks(b.ctx, node, now, now, time.Minute, limit, kinds...)
	b.must(err)
	return tasks
}

// claimed is how a task comes back from a claim at noon.
func claimed(t store.Task, node string, fence int64) store.Task {
	t.Owner, t.Lease, t.Fence = node, noon.Add(time.Minute), fence
	return t
}

func claimTakesWhatIsDue(b *bed) {
	b.project("p", 0)
	tasks := b.tasks(store.TaskCheck, -2*time.Second, -3*time.Second, 0, time.Microsecond, -time.Second)
	same(b, "limit 0", len(b.claim("node", 0)), 0)
	same(b, "the two oldest", b.claim("node", 2), []store.Task{claimed(tasks[1], "node", 1), claimed(tasks[0], "node", 1)})
	same(b, "the rest, one due this very moment", b.claim("node", 10), []store.Task{claimed(tasks[4], "node", 1), claimed(tasks[2], "node", 1)})
	same(b, "none is left but what is not yet due", len(b.claim("node", 10)), 0)
	stored := b.dump().Of["p"].Tasks
	for i := range stored {
		want := tasks[i]
		if i != 3 {
			want.Owner, want.Lease = "node", noon.Add(time.Minute)
		}
		same(b, "stored", stored[i], want)
	}
}

func claimTakesKinds(b *bed) {
	b.project("p", 0)
	check := b.tasks(store.TaskCheck, -time.Second)[0]
	send := b.tasks(store.TaskSend, -2*time.Second)[0]
	query := b.tasks(store.TaskQuery, -3*time.Second)[0]
	same(b, "one kind", b.claim("node", 9, store.TaskSend), []store.Task{claimed(send, "node", 1)})
	same(b, "a kind without tasks", len(b.claim("node", 9, store.TaskExpire)), 0)
	same(b, "two kinds", b.claim("node", 9, store.TaskCheck, store.TaskQuery), []store.Task{claimed(query, "node", 1), claimed(check, "node", 1)})
}

func leaseKeepsOthersOut(b *bed) {
	b.project("p", 0)
	todo := b.tasks(store.TaskCheck, 0)[0]
	same(b, "first claim", len(b.claim("first", 9)), 1)
	for _, node := range []string{"second", "first"} {
		same(b, "while the lease lasts, by "+node, len(b.claimAt(noon.Add(time.Minute-time.Microsecond), node, 9)), 0)
	}
	todo.Owner, todo.Lease, todo.Fence = "second", noon.Add(2*time.Minute), 2
	same(b, "as it has ended", b.claimAt(noon.Add(time.Minute), "second", 9), []store.Task{todo})
}

// leaseGoesByTheRealTime moves the product's clock, as a sandbox does: what is
// due follows it, leases do not.
func leaseGoesByTheRealTime(b *bed) {
	b.project("p", 0)
	todo := b.tasks(store.TaskExpire, 24*time.Hour)[0]
	ahead := noon.Add(25 * time.Hour)
	got, err := b.ClaimTasks(b.ctx, "first", ahead, noon, time.Minute, 9)
	b.must(err)
	same(b, "due by the product's clock", got, []store.Task{claimed(todo, "first", 1)})
	got, err = b.ClaimTasks(b.ctx, "second", ahead, noon.Add(time.Second), time.Minute, 9)
	b.must(err)
	same(b, "leased by the real time", len(got), 0)
}

// handedOutTaskIsLeased writes a task together with a lease, as a node does
// that goes on with it at once.
func handedOutTaskIsLeased(b *bed) {
	b.project("p", 0)
	s := b.start("p")
	s.Fence = 5
	todo := task(s, store.TaskSend, noon)
	todo.Owner, todo.Lease = "first", noon.Add(time.Second)
	b.write(func(c *store.Changes) { c.Sessions, c.Tasks = append(c.Sessions, s), append(c.Tasks, todo) })
	same(b, "while the lease lasts", len(b.claim("second", 9)), 0)
	todo.Owner, todo.Lease, todo.Fence = "second", noon.Add(time.Second+time.Minute), 6
	same(b, "after it", b.claimAt(noon.Add(time.Second), "second", 9), []store.Task{todo})
}

func claimRaisesTheFence(b *bed) {
	b.project("p", 0)
	s, other := b.stored("p"), b.stored("p")
	b.write(func(c *store.Changes) {
		c.Tasks = append(c.Tasks, task(s, store.TaskExpire, noon), task(s, store.TaskQuery, noon), task(other, store.TaskCheck, noon.Add(time.Hour)))
	})
	before := b.session(keyOf(s))
	for _, t := range b.claim("first", 9) {
		same(b, "fence of the "+string(t.Kind)+" task", t.Fence, before.Fence+1) // of both: neither shuts the other out
	}
	after := b.session(keyOf(s))
	same(b, "stored fence", after.Fence, before.Fence+1)
	same(b, "fence of a session without due tasks", b.session(keyOf(other)).Fence, 0)

	err := b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
		c.Sessions = append(c.Sessions, before)
		return nil
	})
	b.refused(err, fault.Internal, "a write of what was read before the claim")
	same(b, "fence after that", b.session(keyOf(s)).Fence, before.Fence+1)

	b.claimAt(noon.Add(time.Minute), "second", 9)
	same(b, "fence after the second claim", b.session(keyOf(s)).Fence, before.Fence+2)
}

func concurrentClaimsShareNothing(b *bed) {
	const count, nodes = 60, 6
	b.project("p", 0)
	due := make([]time.Duration, count)
	for i := range due {
		due[i] = -time.Duration(i) * time.Second
	}
	b.tasks(store.TaskCheck, due...)
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		taken = make(map[store.TaskKey]int)
	)
	for range nodes {
		all.Go(func() {
			for {
				tasks, err := b.ClaimTasks(b.ctx, "node", noon, noon, time.Minute, 7)
				if err != nil {
					b.Errorf("claim: %v", err)
				}
				if len(tasks) == 0 {
					return
				}
				mu.Lock()
				for _, t := range tasks {
					taken[t.TaskKey]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for k, times := range taken {
		if times != 1 {
			b.Errorf("task of %s was claimed %d times", k.Session, times)
		}
	}
	same(b, "tasks claimed", len(taken), count)
}

func renewIsTheOwners(b *bed) {
	b.project("p", 0)
	todo := b.tasks(store.TaskQuery, 0)[0]
	s := b.start("p")
	s.Events = 1
	b.write(func(c *store.Changes) { c.Sessions, c.Events = append(c.Sessions, s), append(c.Events, b.event(s, 1)) })
	key := store.EventKey{SessionKey: keyOf(s), N: 1}
	b.claim("first", 9)
	_, err := b.ClaimEvents(b.ctx, "first", noon, noon, time.Minute, 9)
	b.must(err)

	leases := func() [2]time.Time {
		of := b.dump().Of["p"]
		return [2]time.Time{of.Tasks[0].Lease, of.Events[0].Lease}
	}
	renew := func(node string, until time.Time) {
		b.must(b.Renew(b.ctx, node, until, []store.TaskKey{todo.TaskKey}, []store.EventKey{key}))
	}
	minute, hour := noon.Add(time.Minute), noon.Add(time.Hour)
	renew("second", hour)
	same(b, "renewed by another", leases(), [2]time.Time{minute, minute})
	renew("first", noon)
	same(b, "shortened", leases(), [2]time.Time{minute, minute})
	renew("first", hour)
	same(b, "renewed by the owner", leases(), [2]time.Time{hour, hour})
	same(b, "claimed in the prolonged lease", len(b.claimAt(hour.Add(-time.Second), "second", 9)), 0)
	same(b, "claimed after it", len(b.claimAt(hour, "second", 9)), 1)
	renew("first", hour.Add(24*time.Hour))
	same(b, "renewed after it was lost", leases()[0], hour.Add(time.Minute))

	b.must(b.Renew(b.ctx, "first", hour, nil, nil))
	gone := todo.TaskKey
	gone.Kind = store.TaskSend
	b.must(b.Renew(b.ctx, "first", hour, []store.TaskKey{gone}, nil))
}

// releaseIsTheOwners gives leases back long before their end.
func releaseIsTheOwners(b *bed) {
	b.project("p", 0)
	todo := b.tasks(store.TaskQuery, 0)[0]
	s := b.start("p")
	s.Events = 1
	b.write(func(c *store.Changes) { c.Sessions, c.Events = append(c.Sessions, s), append(c.Events, b.event(s, 1)) })
	key := store.EventKey{SessionKey: keyOf(s), N: 1}
	b.claim("first", 9)
	_, err := b.ClaimEvents(b.ctx, "first", noon, noon, time.Hour, 9)
	b.must(err)
	release := func(node string) {
		b.must(b.Release(b.ctx, node, []store.TaskKey{todo.TaskKey}, []store.EventKey{key}))
	}
	claimed := func(node string) [2]int {
		events, err := b.ClaimEvents(b.ctx, node, noon, noon, time.Hour, 9)
		b.must(err)
		return [2]int{len(b.claim(node, 9)), len(events)}
	}
	release("second")
	same(b, "claimed after another's release", claimed("second"), [2]int{0, 0})
	release("first")
	of := b.dump().Of["p"]
	same(b, "owners", [2]string{of.Tasks[0].Owner, of.Events[0].Owner}, [2]string{"", ""})
	same(b, "claimed after the owner's", claimed("second"), [2]int{1, 1})
	release("first")
	same(b, "claimed after a release that came late", claimed("third"), [2]int{0, 0})

	b.must(b.Release(b.ctx, "second", nil, nil))
	gone := todo.TaskKey
	gone.Kind = store.TaskSend
	b.must(b.Release(b.ctx, "second", []store.TaskKey{gone}, nil))
}

// listenEnds with its context, whoever nudges. Whether a nudge arrives is up to
// the engine.
func listenEnds(b *bed) {
	ctx, cancel := context.WithCancel(b.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Listen(ctx, func() {})
	}()
	b.must(b.Nudge(b.ctx))
	cancel()
	<-ended
}

func claimEvents(b *bed) {
	b.project("p", 0)
	var events []webhook.Event
	b.write(func(c *store.Changes) {
		for n, e := range []webhook.Event{
			{Due: noon, Status: webhook.Pending},
			{Due: noon.Add(-time.Minute), Status: webhook.Pending, Signature: "c2ln", Attempts: 2},
			{Due: noon.Add(time.Microsecond), Status: webhook.Pending},
			{Due: noon.Add(-time.Hour), Status: webhook.Delivered},
			{Due: noon.Add(-time.Hour), Status: webhook.GivenUp},
			{Due: noon.Add(-time.Hour), Status: webhook.Pending, Owner: "elsewhere", Lease: noon.Add(time.Second)},
		} {
			s := b.start("p")
			s.Events = n + 1
			full := b.event(s, n+1)
			full.Due, full.Status, full.Signature, full.Attempts, full.Owner, full.Lease = e.Due, e.Status, e.Signature, e.Attempts, e.Owner, e.Lease
			c.Sessions, events = append(c.Sessions, s), append(events, full)
		}
		c.Events = events
	})
	claim := func(now time.Time, limit int) []webhook.Event {
		got, err := b.ClaimEvents(b.ctx, "node", now, now, time.Minute, limit)
		b.must(err)
		return got
	}
	leased := func(e webhook.Event, from time.Time) webhook.Event {
		e.Owner, e.Lease = "node", from.Add(time.Minute)
		return e
	}
	same(b, "limit 0", len(claim(noon, 0)), 0)
	same(b, "the oldest", claim(noon, 1), []webhook.Event{leased(events[1], noon)})
	same(b, "the rest", claim(noon, 9), []webhook.Event{leased(events[0], noon)})
	later := noon.Add(time.Second)
	same(b, "due, or let go, a second later", claim(later, 9), []webhook.Event{leased(events[5], later), leased(events[2], later)})
	same(b, "all leased", len(claim(later, 9)), 0)
	same(b, "all leases ended but the delivered", len(claim(noon.Add(time.Hour), 9)), 4)
	same(b, "fence", b.session(store.SessionKey{Project: "p", Session: events[0].Session}).Fence, 0)
}

// recoverFromAnEarlierRun: an engine with one owner forgets all leases and asks
// about what was under way; any other leaves them alone.
func recoverFromAnEarlierRun(b *bed) {
	b.project("p", 0)
	send := b.tasks(store.TaskSend, 0)[0]
	query := b.tasks(store.TaskQuery, 0, time.Hour, 48*time.Hour)
	s := b.start("p")
	s.Events = 1
	b.write(func(c *store.Changes) { c.Sessions, c.Events = append(c.Sessions, s), append(c.Events, b.event(s, 1)) })
	expire := b.tasks(store.TaskExpire, time.Hour)[0]
	b.claim("dead", 9)
	_, err := b.ClaimEvents(b.ctx, "dead", noon, noon, time.Minute, 9)
	b.must(err)
	before := b.dump()
	number := b.take("dead", noon)

	later := noon.Add(time.Second)
	alone, err := b.Recover(b.ctx, later)
	b.must(err)
	if !alone {
		same(b, "content", b.dump(), before)
		b.must(b.KeepNode(b.ctx, "dead", number, later))
		return
	}
	query[1].Due, query[2].Due = later, later
	same(b, "tasks", b.dump().Of["p"].Tasks, []store.Task{send, query[0], query[1], query[2], expire})
	same(b, "tasks that can be claimed", len(b.claimAt(later, "alive", 9)), 4)
	events, err := b.ClaimEvents(b.ctx, "alive", later, later, time.Minute, 9)
	b.must(err)
	same(b, "events that can be claimed", len(events), 1)
	same(b, "state", b.session(keyOf(s)).State, session.Awaiting)
	b.refused(b.KeepNode(b.ctx, "dead", number, later), fault.Stale, "the number of an earlier run")
}
