// Package clock is the time that the program goes by: that of the machine,
// without its jumps.
package clock

import (
	"sync"
	"time"
)

// slew is how slowly a Steady follows the machine's time: by a twentieth of
// what has passed.
const slew = 20

// Steady is a clock that never jumps and never goes back. It begins with the
// machine's time and goes on with the machine's monotonic clock. Where somebody
// steps the machine's time, it follows by at most a twentieth of the time that
// passes: half a minute within ten minutes, while a step by a day that is taken
// back within the hour moves it by three minutes. So nothing ends a day early,
// and nothing due stands still, because a clock was set wrong. Time that a
// machine was suspended has passed: it is made up for at once, on Linux. A Steady
// is safe for concurrent use.
type Steady struct {
	machine func() time.Time
	slept   func() time.Duration // how long the machine has been suspended in all

	mu      sync.Mutex
	seen    time.Time     // the machine's, when it was last read
	wall    time.Time     // seen without its monotonic reading
	now     time.Time     // what was shown then, in UTC
	counted time.Duration // what slept was when it was last asked
}

// New returns a clock that shows the machine's time.
func New() *Steady { return newSteady(time.Now, slept) }

func newSteady(machine func() time.Time, slept func() time.Duration) *Steady {
	seen := machine()
	return &Steady{machine: machine, slept: slept, seen: seen, wall: seen.Round(0), now: seen.Round(0).UTC(), counted: slept()}
}

// Now is the present, in UTC.
func (s *Steady) Now() time.Time {
	now, _ := s.read()
	return now
}

// Behind is how far the machine's time is ahead of what is shown; below zero if
// it was stepped back.
func (s *Steady) Behind() time.Duration {
	_, behind := s.read()
	return behind
}

func (s *Steady) read() (now time.Time, behind time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.machine()
	passed := seen.Sub(s.seen) // by the monotonic clock
	stepped := seen.Round(0).Sub(s.wall) - passed
	s.seen, s.wall, s.now = seen, seen.Round(0), s.now.Add(passed)
	behind = s.wall.Sub(s.now)
	if stepped.Abs() > time.Second { // or it has slept, in which its monotonic clock stands still
		slept := s.slept()
		woke := max(min(slept-s.counted, behind), 0)
		s.now, s.counted, behind = s.now.Add(woke), slept, behind-woke
	}
	follow := min(max(behind, -passed/slew), passed/slew)
	s.now = s.now.Add(follow)
	return s.now, behind - follow
}
