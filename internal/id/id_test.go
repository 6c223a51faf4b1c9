package id_test

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/internal/id"
)

var start = time.Date(2026, 3, 2, 9, 15, 4, 0, time.UTC)

func fixed() time.Time { return start }

func TestPrint(t *testing.T) {
	for _, tt := range []struct {
		id   fmt.Stringer
		want string
	}{
		{id.Session(7300451), "ps_7300451"},
		{id.Payout(4100982), "po_4100982"},
		{id.Refund(90131), "rf_90131"},
		{id.Event(1), "ev_1"},
		{id.Session(math.MaxInt64), "ps_9223372036854775807"},
	} {
		if got := tt.id.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestParseIsReverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, math.MaxInt64).Draw(t, "n")
		if got, err := id.ParseSession(id.Session(n).String()); err != nil || got != id.Session(n) {
			t.Fatalf("session %d: %d, %v", n, got, err)
		}
		if got, err := id.ParsePayout(id.Payout(n).String()); err != nil || got != id.Payout(n) {
			t.Fatalf("payout %d: %d, %v", n, got, err)
		}
	})
}

func TestParseSessionRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"nothing", ""},
		{"only the prefix", "ps_"},
		{"no prefix", "7300451"},
		{"a payout", "po_7300451"},
		{"capitals", "PS_7300451"},
		{"zero", "ps_0"},
		{"negative", "ps_-1"},
		{"plus", "ps_+1"},
		{"zero before", "ps_07300451"},
		{"underscore", "ps_7_300"},
		{"space before", " ps_1"},
		{"space after", "ps_1 "},
		{"new line after", "ps_1\n"},
		{"letters", "ps_1a"},
		{"hexadecimal", "ps_0x1"},
		{"too large", "ps_9223372036854775808"},
		{"far too large", "ps_" + strings.Repeat("9", 1000)},
		{"twice", "ps_ps_1"},
		{"Arabic digits", "ps_١"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := id.ParseSession(tt.text)
			if err == nil || got != 0 {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
}

func TestParseProject(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"of the reference", "acme_payouts", true},
		{"all sorts", "Acme-2.Payouts_9", true},
		{"one letter", "a", true},
		{"64 letters", strings.Repeat("a", 64), true},
		{"nothing", "", false},
		{"65 letters", strings.Repeat("a", 65), false},
		{"space", "acme payouts", false},
		{"slash", "acme/payouts", false},
		{"colon", "acme:1", false},
		{"quote", `acme"`, false},
		{"new line", "acme\n", false},
		{"NUL", "acme\x00", false},
		{"Cyrillic a", "аcme", false},
		{"not UTF-8", "acme\xff", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := id.ParseProject(tt.text)
			if (err == nil) != tt.ok || tt.ok && string(got) != tt.text || !tt.ok && got != "" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// Whatever the clock does, numbers are positive and grow.
func TestGeneratorGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := start
		g := id.NewGenerator(func() time.Time { return now })
		last := int64(0)
		for range rapid.IntRange(1, 50).Draw(t, "numbers") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "step")))
			n := g.Next()
			if n <= last {
				t.Fatalf("%d after %d", n, last)
			}
			last = n
		}
	})
}

// A clock before the epoch, or far behind, gives no negative number.
func TestGeneratorBeforeEpoch(t *testing.T) {
	g := id.NewGenerator(func() time.Time { return time.Unix(0, 0) })
	first, second := g.Next(), g.Next()
	if first <= 0 || second <= first {
		t.Errorf("%d, %d", first, second)
	}
}

// One standing millisecond gives more numbers than its sequence holds.
func TestGeneratorOutrunsTheClock(t *testing.T) {
	g := id.NewGenerator(fixed)
	seen := map[int64]bool{}
	for range 3 << 12 {
		seen[g.Next()] = true
	}
	if len(seen) != 3<<12 {
		t.Errorf("%d different numbers of %d", len(seen), 3<<12)
	}
}

// Later time is a larger number, so that lists by id are lists by time.
func TestGeneratorFollowsTheClock(t *testing.T) {
	for range 100 { // of different nodes
		early := id.NewGenerator(fixed).Next()
		late := id.NewGenerator(func() time.Time { return start.Add(time.Millisecond) }).Next()
		if late <= early {
			t.Fatalf("%d a millisecond after %d", late, early)
		}
	}
}

func TestGeneratorFitsInNumber(t *testing.T) {
	g := id.NewGenerator(func() time.Time { return time.Date(2095, 1, 1, 0, 0, 0, 0, time.UTC) })
	if n := g.Next(); n <= 0 {
		t.Errorf("%d in 2095", n)
	}
}

func TestGeneratorIsConcurrent(t *testing.T) {
	const workers, each = 8, 500
	g := id.NewGenerator(fixed)
	numbers := make([][]int64, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				numbers[w] = append(numbers[w], g.Next())
			}
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for _, row := range numbers {
		for i, n := range row {
			if i > 0 && n <= row[i-1] {
				t.Fatalf("a worker got %d after %d", n, row[i-1])
			}
			seen[n] = true
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d different numbers of %d", len(seen), workers*each)
	}
}

func BenchmarkNext(b *testing.B) {
	g := id.NewGenerator(time.Now)
	for b.Loop() {
		g.Next()
	}
}

// FuzzParse: what is read is printed as it was, so that nothing has two names.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"ps_7300451", "ps_0", "ps_-1", "ps_+1", "ps_01", "ps_9223372036854775808", "po_1", "tk_1", "acme", "../x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := id.ParseSession(s); err == nil && (n <= 0 || n.String() != s) {
			t.Errorf("%q reads as %s", s, n)
		}
		if n, err := id.ParsePayout(s); err == nil && (n <= 0 || n.String() != s) {
			t.Errorf("%q reads as %s", s, n)
		}
		if n, err := id.ParseToken(s); err == nil && (n <= 0 || n.String() != s) {
			t.Errorf("%q reads as %s", s, n)
		}
		if p, err := id.ParseProject(s); err == nil && (string(p) != s || len(s) > 64 || strings.ContainsAny(s, "/\\ \x00'\"%")) {
			t.Errorf("%q is a project", s)
		}
	})
}
