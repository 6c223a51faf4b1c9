package clock

import (
	"testing"
	"time"
)

// machine is one whose time can be stepped. Its readings have no monotonic part,
// so passed is kept apart and put into a Steady by hand.
type machine struct {
	wall   time.Time
	slept  time.Duration
	steady *Steady
}

func newMachine() *machine {
	m := &machine{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	m.steady = newSteady(func() time.Time { return m.wall }, func() time.Duration { return m.slept })
	return m
}

// pass lets time pass, step steps the clock. A Steady subtracts what it has seen
// last, which a step therefore moves as well: what is left is what passed.
func (m *machine) pass(d time.Duration) time.Time {
	m.wall = m.wall.Add(d)
	return m.steady.Now()
}

func (m *machine) step(d time.Duration) {
	m.wall = m.wall.Add(d)
	m.steady.seen = m.steady.seen.Add(d)
}

func TestSteadyGoesWithTheMachine(t *testing.T) {
	m := newMachine()
	for range 1000 {
		if now := m.pass(1234567 * time.Nanosecond); !now.Equal(m.wall) {
			t.Fatalf("shows %s, the machine %s", now, m.wall)
		}
	}
	if b := m.steady.Behind(); b != 0 {
		t.Errorf("%s behind, want none", b)
	}
}

func TestSteadyFollowsSteps(t *testing.T) {
	for _, row := range []struct {
		name    string
		step    time.Duration
		passes  time.Duration
		follows time.Duration
	}{
		{"a day ahead", 24 * time.Hour, time.Hour, 3 * time.Minute},
		{"a day back", -24 * time.Hour, time.Hour, -3 * time.Minute},
		{"half a minute ahead", 30 * time.Second, 10 * time.Minute, 30 * time.Second},
		{"half a minute back", -30 * time.Second, 10 * time.Minute, -30 * time.Second},
		{"a leap second", -time.Second, time.Hour, -time.Second},
		{"at once", time.Hour, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := newMachine()
			began := m.steady.Now()
			m.step(row.step)
			last := began
			for range 100 {
				now := m.pass(row.passes / 100)
				if now.Before(last) {
					t.Fatalf("went from %s back to %s", last, now)
				}
				last = now
			}
			if got := last.Sub(began) - row.passes; got != row.follows {
				t.Errorf("after %s it has followed by %s, want %s", row.passes, got, row.follows)
			}
			if got, want := m.steady.Behind(), row.step-row.follows; got != want {
				t.Errorf("%s behind, want %s", got, want)
			}
		})
	}
}

// A machine that sleeps has not had its clock stepped: what is due is due.
func TestSteadyMakesUpForSleep(t *testing.T) {
	sleep := func(m *machine, d time.Duration) {
		m.slept += d
		m.step(d)
	}
	m := newMachine()
	m.pass(time.Hour)
	for range 2 {
		sleep(m, 8*time.Hour)
		if now := m.pass(time.Minute); !now.Equal(m.wall) || m.steady.Behind() != 0 {
			t.Fatalf("shows %s, the machine %s", now, m.wall)
		}
	}
	before := m.steady.Now()
	m.step(time.Hour)
	if now := m.pass(0); !now.Equal(before) {
		t.Errorf("a step after it moves it to %s", now)
	}

	m = newMachine()
	m.step(-30 * time.Minute) // it had been fast, and was set right
	sleep(m, 10*time.Minute)
	for range 1000 {
		m.pass(time.Minute)
	}
	before = m.steady.Now()
	m.step(2 * time.Second)
	if now := m.pass(0); !now.Equal(before) {
		t.Errorf("hours later, a step by seconds moves it by %s", now.Sub(before))
	}

	m = newMachine()
	m.slept += time.Hour
	m.step(-time.Hour) // set back in its sleep
	before = m.steady.Now()
	if now := m.pass(time.Hour); now.Before(before.Add(time.Hour - time.Hour/slew)) {
		t.Errorf("went from %s back to %s", before, now)
	}
}

// The machine's own count of its sleep goes up only, and not while it is awake.
func TestSlept(t *testing.T) {
	before := slept()
	if after := slept(); before < 0 || after < before-time.Millisecond || after > before+time.Minute {
		t.Errorf("slept for %s, then for %s", before, after)
	}
}
