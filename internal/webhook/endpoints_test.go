package webhook

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const hook = "https://partner.example/hook"

// take acquires a slot or ends the test.
func take(t testing.TB, p *Endpoints, url string, now time.Time) func(bool) {
	t.Helper()
	release, wait, ok := p.Acquire(url, now)
	if !ok {
		t.Fatalf("no slot, wait %v", wait)
	}
	if release == nil || wait != 0 {
		t.Fatalf("a slot with release %v and wait %v", release != nil, wait)
	}
	return release
}

// refused ends the test if there is a slot, and returns the wait.
func refused(t testing.TB, p *Endpoints, url string, now time.Time) time.Duration {
	t.Helper()
	release, wait, ok := p.Acquire(url, now)
	if ok || release != nil {
		t.Fatal("a slot was given")
	}
	if wait <= 0 {
		t.Fatalf("wait %v", wait)
	}
	return wait
}

func deliver(t testing.TB, p *Endpoints, url string, now time.Time, ok bool) {
	t.Helper()
	take(t, p, url, now)(ok)
}

func TestEndpointsBoundEach(t *testing.T) {
	p := NewEndpoints(Limits{})
	deliver(t, p, hook, began, true)
	var releases []func(bool)
	for range 32 {
		releases = append(releases, take(t, p, hook, began))
	}
	if wait := refused(t, p, hook, began); wait != fullWait {
		t.Errorf("wait %v, want %v", wait, fullWait)
	}
	take(t, p, "https://other.example/hook", began)(true)

	releases[0](true)
	releases[0](true) // frees no second slot
	take(t, p, hook, began)
	refused(t, p, hook, began)
}

func TestEndpointsBoundTotal(t *testing.T) {
	p := NewEndpoints(Limits{PerEndpoint: 10, Total: 4})
	deliver(t, p, hook, began, true)
	release := take(t, p, hook, began)
	for range 3 {
		take(t, p, hook, began)
	}
	refused(t, p, hook, began)
	refused(t, p, "https://other.example/", began)
	release(true)
	take(t, p, "https://other.example/", began)
}

// Ten thousand receivers that never answer leave half of the slots to one that
// does, and the memory of them ends.
func TestEndpointsDeadReceiversLeaveRoom(t *testing.T) {
	p := NewEndpoints(Limits{})
	deliver(t, p, hook, began, true)
	dead := func(i int) string { return fmt.Sprintf("https://dead-%d.example/", i) }
	var releases []func(bool)
	for i := range 10_000 {
		if release, _, ok := p.Acquire(dead(i), began); ok {
			releases = append(releases, release)
		}
	}
	if len(releases) != 256 {
		t.Errorf("%d deliveries to dead receivers, want 256", len(releases))
	}
	live := take(t, p, hook, began)
	for _, release := range releases {
		release(false)
	}
	live(true)
	if p.total != 0 || p.unproven != 0 {
		t.Errorf("%d slots taken, %d of them unproven; want none", p.total, p.unproven)
	}

	// Tried once, they leave room for one that was not.
	var again []func(bool)
	for i := range releases {
		if release, _, ok := p.Acquire(dead(i), began); ok {
			again = append(again, release)
		}
	}
	if len(again) != 128 {
		t.Errorf("%d deliveries to receivers that have failed, want 128", len(again))
	}
	take(t, p, "https://dead-9999.example/", began)(false) // not tried before
	for _, release := range again {
		release(false)
	}
	for i := range 10_000 {
		deliver(t, p, dead(i), began, false)
	}
	if len(p.known) != 10_001 {
		t.Errorf("%d endpoints known, want 10001", len(p.known))
	}

	now := began.Add(forgetAfter)
	release := take(t, p, hook, now.Add(-time.Minute)) // under way, so not forgotten
	now = now.Add(forgetAfter)
	deliver(t, p, "https://other.example/", now, true)
	if len(p.known) != 2 {
		t.Errorf("%d endpoints known, want 2", len(p.known))
	}
	release(true)
}

// A refused Acquire leaves nothing behind.
func TestEndpointsRefusedAreNotKept(t *testing.T) {
	p := NewEndpoints(Limits{PerEndpoint: 1, Total: 1})
	take(t, p, hook, began)
	for i := range 100 {
		refused(t, p, fmt.Sprintf("https://partner-%d.example/", i), began)
	}
	if len(p.known) != 1 {
		t.Errorf("%d endpoints known, want 1", len(p.known))
	}
}

func TestBreakerOpensAfterFailuresInARow(t *testing.T) {
	p := NewEndpoints(Limits{})
	for range 9 {
		deliver(t, p, hook, began, false)
	}
	deliver(t, p, hook, began, true) // the row is broken
	for range 10 {
		deliver(t, p, hook, began, false)
	}
	if wait := refused(t, p, hook, began); wait != 15*time.Second {
		t.Errorf("open for %v, want 15s", wait)
	}
	if wait := refused(t, p, hook, began.Add(14*time.Second)); wait != time.Second {
		t.Errorf("open for %v more, want 1s", wait)
	}
	deliver(t, p, "https://other.example/", began, true)
}

func TestBreakerHalfOpen(t *testing.T) {
	opened := func(t *testing.T) (*Endpoints, time.Time) {
		p := NewEndpoints(Limits{})
		for range 10 {
			deliver(t, p, hook, began, false)
		}
		return p, began.Add(15 * time.Second)
	}
	t.Run("one delivery at a time", func(t *testing.T) {
		p, now := opened(t)
		probe := take(t, p, hook, now)
		if wait := refused(t, p, hook, now); wait != fullWait {
			t.Errorf("wait %v, want %v", wait, fullWait)
		}
		probe(true)
		for range 32 {
			take(t, p, hook, now)
		}
	})
	t.Run("a success closes it for good", func(t *testing.T) {
		p, now := opened(t)
		deliver(t, p, hook, now, true)
		for range 9 {
			deliver(t, p, hook, now, false)
		}
		deliver(t, p, hook, now, false)
		if wait := refused(t, p, hook, now); wait != 15*time.Second {
			t.Errorf("open for %v, want 15s again", wait)
		}
	})
	t.Run("a failure opens it for longer", func(t *testing.T) {
		p, now := opened(t)
		for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			deliver(t, p, hook, now, false)
			wait := refused(t, p, hook, now)
			if wait != want {
				t.Errorf("open for %v, want %v", wait, want)
			}
			now = now.Add(wait)
		}
	})
	t.Run("the wait goes by the end of the delivery", func(t *testing.T) {
		p, now := opened(t)
		probe := take(t, p, hook, now)
		now = now.Add(10 * time.Second)
		deliver(t, p, "https://other.example/", now, true) // so the time is known
		probe(false)
		if wait := refused(t, p, hook, now); wait != 30*time.Second {
			t.Errorf("open for %v, want 30s", wait)
		}
	})
}

// What was under way when the breaker opened neither opens it further nor is
// forgotten: a success still closes it.
func TestBreakerLateAnswers(t *testing.T) {
	p := NewEndpoints(Limits{})
	deliver(t, p, hook, began, true)
	var releases []func(bool)
	for range 32 {
		releases = append(releases, take(t, p, hook, began))
	}
	for _, release := range releases[:31] {
		release(false)
	}
	if wait := refused(t, p, hook, began); wait != 15*time.Second {
		t.Errorf("open for %v, want 15s", wait)
	}
	releases[31](true)
	take(t, p, hook, began)
}

func TestBreakerClockSetBack(t *testing.T) {
	p := NewEndpoints(Limits{})
	for range 10 {
		deliver(t, p, hook, began, false)
	}
	deliver(t, p, hook, began.Add(-24*time.Hour), false)
	if wait := refused(t, p, hook, began.Add(-24*time.Hour)); wait != 30*time.Second {
		t.Errorf("open for %v, want 30s", wait)
	}
}

func TestEndpointOf(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"paths and queries", "https://partner.example/a?b=c", "https://partner.example/d", true},
		{"the port of the scheme", "https://partner.example/", "https://partner.example:443/", true},
		{"the port of plain http", "http://partner.example/", "http://partner.example:80/", true},
		{"capitals", "https://PARTNER.example/", "https://partner.EXAMPLE/", true},
		{"a dot at the end", "https://partner.example./", "https://partner.example/", true},
		{"other ports", "https://partner.example:8443/", "https://partner.example/", false},
		{"schemes", "http://partner.example/", "https://partner.example/", false},
		{"other hosts", "https://a.partner.example/", "https://partner.example/", false},
		{"an IPv6 address and its port", "http://[::1]:80/", "http://[::1]/", true},
		{"no URLs", "%", "%%", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Endpoint(c.a) == Endpoint(c.b); got != c.same {
				t.Errorf("%q and %q: same %v, want %v", Endpoint(c.a), Endpoint(c.b), got, c.same)
			}
		})
	}
}

// In whatever order deliveries begin and end, no bound is broken, every refusal
// says how long to wait, and in the end no slot is lost.
func TestEndpointsAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{PerEndpoint: 3, Total: 5, Failures: 2, OpenMin: time.Second, OpenMax: 8 * time.Second}
		p := NewEndpoints(limits)
		type delivery struct {
			url     string
			release func(bool)
		}
		var under []delivery
		now, busy := began, map[string]int{}
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				url := rapid.SampledFrom([]string{"http://a/", "http://b/", "http://c/", "http://d/"}).Draw(t, "url")
				release, wait, ok := p.Acquire(url, now)
				if ok {
					under = append(under, delivery{url, release})
					busy[url]++
				} else if wait <= 0 || wait > limits.OpenMax {
					t.Fatalf("refused with wait %v", wait)
				}
			},
			"release": func(t *rapid.T) {
				if len(under) == 0 {
					t.Skip("none under way")
				}
				i := rapid.IntRange(0, len(under)-1).Draw(t, "which")
				under[i].release(rapid.Bool().Draw(t, "ok"))
				busy[under[i].url]--
				under = append(under[:i], under[i+1:]...)
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(time.Minute)).Draw(t, "step")))
			},
			"": func(t *rapid.T) {
				if len(under) > limits.Total || p.total != len(under) {
					t.Fatalf("%d under way, %d counted, at most %d", len(under), p.total, limits.Total)
				}
				for url, n := range busy {
					if n > limits.PerEndpoint {
						t.Fatalf("%d under way to %s, at most %d", n, url, limits.PerEndpoint)
					}
				}
			},
		})
		for _, d := range under {
			d.release(true)
		}
		if p.total != 0 || p.unproven != 0 || p.failing != 0 {
			t.Fatalf("%d slots lost, %d of them unproven, %d failing", p.total, p.unproven, p.failing)
		}
	})
}

func BenchmarkEndpoints(b *testing.B) {
	p := NewEndpoints(Limits{})
	for b.Loop() {
		release, _, _ := p.Acquire(hook, began)
		release(true)
	}
}
