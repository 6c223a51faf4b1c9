package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// soakFault is a thing that breaks under load and is mended by itself.
type soakFault struct {
	name  string
	brief bool // of the bounded form as well
	of    part
	does  func(s *soak, r *rand.Rand)
}

// part is what of an installation breaks.
type part int

const (
	ofNode part = iota
	ofDatabase
	ofReceiver
)

const cutGap = 200 * time.Millisecond

var soakFaults = []soakFault{
	{"a node killed", true, ofNode, func(s *soak, r *rand.Rand) {
		n := r.IntN(len(s.nodes))
		s.kill(n)
		s.rest(s.lasting(r, 0, 10*time.Second))
		s.startNode(n)
	}},
	{"connections cut", true, ofDatabase, func(s *soak, _ *rand.Rand) {
		for range cuts {
			s.link.cut(false)
			s.rest(cutGap)
		}
	}},
	{"answers to COMMITs lost", true, ofDatabase, func(s *soak, _ *rand.Rand) {
		s.link.loseAnswers(cuts)
		until(s.ctx, resumeMax, s.link.answersLost)
		s.link.loseAnswers(0)
	}},
	{"receiver hangs", true, ofReceiver, func(s *soak, r *rand.Rand) { s.receive(hangs, s.lasting(r, 5*time.Second, 30*time.Second)) }},
	{"database stopped", true, ofDatabase, func(s *soak, r *rand.Rand) {
		s.server.Stop(s.T)
		s.rest(s.lasting(r, 0, 10*time.Second))
		s.server.Start(s.T)
	}},
	{"network of a node stalled", true, ofDatabase, func(s *soak, r *rand.Rand) {
		s.link.stall()
		s.rest(s.lasting(r, 5*time.Second, 20*time.Second))
		s.link.flow()
	}},
	{"network of a node down", false, ofDatabase, func(s *soak, r *rand.Rand) {
		s.link.cut(true)
		s.rest(s.lasting(r, 5*time.Second, 20*time.Second))
		s.link.cut(false)
	}},
	{"a node paused", false, ofNode, func(s *soak, r *rand.Rand) {
		p := s.nodes[r.IntN(len(s.nodes))].process
		d := &drill{lab: &lab{t: s.T}, at: s.place, ctx: s.ctx}
		d.stopOutsideOfWorld(p)
		s.rest(s.lasting(r, pause, 2*pause))
		d.signal(p, syscall.SIGCONT)
	}},
	{"receiver slow", false, ofReceiver, func(s *soak, r *rand.Rand) { s.receive(isSlow, s.lasting(r, 5*time.Second, 30*time.Second)) }},
	{"receiver refuses", false, ofReceiver, func(s *soak, r *rand.Rand) { s.receive(refuses, s.lasting(r, 5*time.Second, 30*time.Second)) }},
}

// lasting draws how long a fault lasts; the bounded form has the least.
func (s *soak) lasting(r *rand.Rand, least, most time.Duration) time.Duration {
	switch {
	case s.brief:
		return min(max(least, most/20), time.Second)
	case most > least:
		return least + time.Duration(r.Int64N(int64(most-least)))
	}
	return least
}

// rest waits, less if the soak is to stop.
func (s *soak) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	case <-s.stopped:
	}
}

func (s *soak) receive(how string, d time.Duration) {
	r := &reception{how, make(chan struct{})}
	s.partners.reception.Store(r)
	s.rest(d)
	s.partners.reception.Store(nil)
	close(r.mended)
}

// kill ends a node as a power cut does.
func (s *soak) kill(n int) {
	s.mu.Lock()
	s.wanted[n] = false
	s.mu.Unlock()
	s.nodes[n].process.kill()
	s.nodes[n].disconnect()
}

// incident is one fault as it went.
type incident struct {
	Name   string
	Broke  float64 // seconds of load before
	Lasted float64 // seconds
	// Caught is how many seconds after the mending fewer payouts were under way
	// than begin in a second.
	Caught float64
	Flying int64 // payouts under way at most
}

// catchUpMax bounds how long after a fault the backlog may last: the breaker of
// a receiver is open for minutes when it has failed again and again.
const catchUpMax = 5 * time.Minute

// soakSlowly is how many seconds a payout may take in the bounded form.
const soakSlowly = 15

// breakOne breaks the next thing, and waits until its traces are gone.
func (s *soak) breakOne(r *rand.Rand) {
	if len(s.State.Deck) == 0 {
		s.State.Deck = r.Perm(len(soakFaults))
		if s.brief {
			s.State.Deck = nil
			for i := range soakFaults {
				if soakFaults[i].brief {
					s.State.Deck = append(s.State.Deck, i)
				}
			}
		}
	}
	f := soakFaults[s.State.Deck[0]]
	s.State.Deck = s.State.Deck[1:]
	s.mu.Lock()
	s.breaking = f.name
	s.mu.Unlock()
	broke := time.Now()
	t := incident{Name: f.name, Broke: s.elapsed().Seconds()}
	over, stop := context.WithCancel(s.ctx)
	most := make(chan int64)
	go func() {
		n := int64(0)
		until(over, time.Hour, func() bool { n = max(n, s.partners.flying.Load()); return false })
		most <- n
	}()
	f.does(s, r)
	mended := time.Now()
	t.Lasted = mended.Sub(broke).Seconds()
	few := s.rate
	if s.brief { // a payout may take some seconds on a machine that has other things to do
		few = soakSlowly * s.rate
	}
	if !until(s.ctx, catchUpMax, func() bool { return s.partners.flying.Load() <= int64(few) || s.isStopped() }) {
		s.Errorf("%s: %d payouts are under way %s after it was mended", f.name, s.partners.flying.Load(), catchUpMax)
		s.stop() // more load would only hide what is wrong
	}
	t.Caught = time.Since(mended).Seconds()
	stop()
	t.Flying = <-most
	s.mu.Lock()
	s.breaking = ""
	s.State.Troubles = append(s.State.Troubles, t)
	s.mu.Unlock()
	s.say("%s for %.1f s, %d payouts under way at most, caught up %.1f s later", t.Name, t.Lasted, t.Flying, t.Caught)
}

func (s *soak) isStopped() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

func (s *soak) say(format string, args ...any) {
	fmt.Printf("%s %8.0f s  %s\n", time.Now().Format(time.DateTime), s.elapsed().Seconds(), fmt.Sprintf(format, args...))
}
