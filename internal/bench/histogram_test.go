package bench

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A percentile is never below the true one and at most 1/64 above it.
func TestPercentilesAreNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour/time.Microsecond)), 1, 300).Draw(t, "microseconds")
		p := rapid.SampledFrom([]float64{1, 50, 90, 99, 100}).Draw(t, "percentile")
		var h Histogram
		for _, n := range us {
			h.Add(time.Duration(n) * time.Microsecond)
		}
		slices.Sort(us)
		want := us[max(int(math.Ceil(float64(len(us))*p/100)), 1)-1]
		if got := h.Percentile(p).Microseconds(); got < want || got > want+want/64 {
			t.Fatalf("percentile %v is %d µs, want %d", p, got, want)
		}
	})
}

func TestHistogramEdges(t *testing.T) {
	tests := []struct {
		name string
		add  []time.Duration
		want time.Duration
	}{
		{"nothing", nil, 0},
		{"a clock that went back", []time.Duration{-time.Second}, 0},
		{"last bucket of one microsecond", []time.Duration{127 * time.Microsecond}, 127 * time.Microsecond},
		{"first bucket of two", []time.Duration{128 * time.Microsecond}, 129 * time.Microsecond},
		{"longer than any", []time.Duration{1000 * time.Hour}, (1<<32 - 1) * time.Microsecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var h Histogram
			for _, d := range test.add {
				h.Add(d)
			}
			if got := h.Percentile(50); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestHistogramMerge(t *testing.T) {
	var a, b Histogram
	a.Add(time.Millisecond)
	b.Add(3 * time.Millisecond)
	b.Add(3 * time.Millisecond)
	a.Merge(&b)
	if a.Count() != 3 || a.Percentile(50) < 3*time.Millisecond {
		t.Errorf("%d counted, half within %s", a.Count(), a.Percentile(50))
	}
}
