package webhook

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestScheduleNext(t *testing.T) {
	for _, c := range []struct {
		name       string
		schedule   Schedule
		attempt    int
		passed     time.Duration // since the first attempt
		retryAfter time.Duration
		jitter     float64
		want       time.Duration // from now; 0 for given up
	}{
		{"after the first", Standard, 1, 0, 0, 0, 15 * time.Second},
		{"after the second", Standard, 2, 15 * time.Second, 0, 0, 30 * time.Second},
		{"after the fifth", Standard, 5, 225 * time.Second, 0, 0, 4 * time.Minute},
		{"jitter takes off a tenth at the half", Standard, 2, time.Minute, 0, 0.5, 27 * time.Second},
		{"the longest gap", Standard, 12, 9 * time.Hour, 0, 0, 6 * time.Hour},
		{"a count that would overflow", Standard, 1 << 40, 9 * time.Hour, 0, 0, 6 * time.Hour},
		{"no attempt counts as one", Standard, 0, 0, 0, 0, 15 * time.Second},
		{"a negative count", Standard, -3, 0, 0, 0, 15 * time.Second},
		{"asked to wait longer", Standard, 1, 0, time.Minute, 0.9, time.Minute},
		{"asked to wait less", Standard, 4, time.Minute, time.Second, 0, 2 * time.Minute},
		{"asked to wait too long", Standard, 1, 0, 240 * time.Hour, 0, 6 * time.Hour},
		{"asked to come at once", Standard, 1, 0, -time.Hour, 0, 15 * time.Second},
		{"the last gap ends at the end", Standard, 20, 71 * time.Hour, 0, 0, time.Hour},
		{"the end comes before what was asked", Standard, 20, 71 * time.Hour, 5 * time.Hour, 0, time.Hour},
		{"a microsecond before the end", Standard, 20, 72*time.Hour - time.Microsecond, 0, 0, time.Microsecond},
		{"given up at the end", Standard, 20, 72 * time.Hour, 0, 0, 0},
		{"given up after the end, even if asked to come", Standard, 2, 100 * time.Hour, time.Second, 0, 0},
		{"a clock set back before the first", Standard, 1, -time.Hour, 0, 0, 15 * time.Second},
		{"short, after the first", Short, 1, 0, 0, 0, 15 * time.Second},
		{"short, the longest gap", Short, 9, time.Minute, 0, 0, 15 * time.Minute},
		{"short, asked to wait too long", Short, 1, 0, time.Hour, 0, 15 * time.Minute},
		{"short, the last gap", Short, 7, 20 * time.Minute, 0, 0, 10 * time.Minute},
		{"short, given up", Short, 8, 30 * time.Minute, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := began.Add(c.passed)
			next, ok := c.schedule.Next(c.attempt, began, now, c.retryAfter, c.jitter)
			if ok != (c.want != 0) {
				t.Fatalf("go on: %v, want %v", ok, c.want != 0)
			}
			if !ok {
				if !next.IsZero() {
					t.Errorf("given up, and next at %v", next)
				}
			} else if got := next.Sub(now); got != c.want {
				t.Errorf("after %v, want %v", got, c.want)
			}
		})
	}
}

// However the jitter falls, gaps grow until they reach the longest, none is
// longer or negative, and the last attempt is made at the very end.
func TestScheduleWhole(t *testing.T) {
	for _, c := range []struct {
		name     string
		schedule Schedule
		attempts [2]int // at least, at most
	}{
		{"standard", Standard, [2]int{20, 30}},
		{"short", Short, [2]int{7, 9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				now, last := began, time.Duration(0)
				for attempt := 1; ; attempt++ {
					next, ok := c.schedule.Next(attempt, began, now, 0, rapid.Float64Range(0, 0.999).Draw(t, "jitter"))
					if !ok {
						if now.Sub(began) != c.schedule.Total {
							t.Fatalf("given up after %v, want %v", now.Sub(began), c.schedule.Total)
						}
						if attempt < c.attempts[0] || attempt > c.attempts[1] {
							t.Fatalf("%d attempts, want %d to %d", attempt, c.attempts[0], c.attempts[1])
						}
						return
					}
					gap := next.Sub(now)
					if gap <= 0 || gap > c.schedule.Longest {
						t.Fatalf("gap %d is %v", attempt, gap)
					}
					ended := next.Sub(began) == c.schedule.Total
					if floor := min(last, c.schedule.Longest*4/5); gap < floor && !ended {
						t.Fatalf("gap %d is %v, the one before was %v", attempt, gap, last)
					}
					now, last = next, gap
				}
			})
		})
	}
}

// Whatever receivers and clocks do, the next attempt is in the future and not
// beyond the end.
func TestScheduleBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom([]Schedule{Standard, Short}).Draw(t, "schedule")
		now := began.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(100*time.Hour)).Draw(t, "passed")))
		next, ok := s.Next(rapid.Int().Draw(t, "attempt"), began, now,
			time.Duration(rapid.Int64().Draw(t, "retry after")), rapid.Float64Range(0, 0.999).Draw(t, "jitter"))
		switch end := began.Add(s.Total); {
		case ok != now.Before(end):
			t.Fatalf("go on: %v at %v of %v", ok, now.Sub(began), s.Total)
		case ok && (!next.After(now) || next.After(end)):
			t.Fatalf("next at %v, now is %v, the end %v", next, now, end)
		}
	})
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, in string
		want     time.Duration
	}{
		{"none", "", 0},
		{"seconds", "120", 2 * time.Minute},
		{"zero", "0", 0},
		{"spaces around", " 5 ", 5 * time.Second},
		{"the most", "21600", 6 * time.Hour},
		{"too many", "21601", 6 * time.Hour},
		{"so many that a Duration overflows", "9300000000", 6 * time.Hour},
		{"more than 64 bits", "99999999999999999999999", 6 * time.Hour},
		{"negative", "-1", 0},
		{"signed", "+1", 0},
		{"a fraction", "1.5", 0},
		{"with a unit", "5s", 0},
		{"words", "later", 0},
		{"a date", now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{"a date in the past", now.Add(-time.Second).Format(http.TimeFormat), 0},
		{"a date far away", now.AddDate(5, 0, 0).Format(http.TimeFormat), 6 * time.Hour},
		{"an old form of date", now.Add(time.Hour).Format("Monday, 02-Jan-06 15:04:05 GMT"), time.Hour},
		{"a date that is none", "Sun, 31 Feb 2026 12:00:00 GMT", 0},
		{"a list", "120, 130", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parseRetryAfter(c.in, now); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Sun, 01 Mar 2026 12:00:00 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := parseRetryAfter(value, began); got < 0 || got > retryAfterMax {
			t.Errorf("%v", got)
		}
	})
}
