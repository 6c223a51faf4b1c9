package webhook

import (
	"testing"
	"time"
)

func TestRound(t *testing.T) {
	at := func(minute int) time.Time { return began.Add(time.Duration(minute) * time.Minute) }
	log := []Attempt{
		{N: 1, No: 1, At: at(1)},
		{N: 2, No: 1, At: at(2)},
		{N: 1, No: 2, At: at(3)},
		{N: 2, No: 2, At: at(4), Error: Replayed},
		{N: 2, No: 3, At: at(5), Error: "timed out"},
		{N: 3, No: 1, At: at(6), Error: Replayed},
	}
	for _, c := range []struct {
		name     string
		n        int
		since    time.Time
		attempts int
	}{
		{"tried twice", 1, at(1), 2},
		{"replayed and tried since", 2, at(4), 1},
		{"replayed and never tried", 3, at(6), 0},
		{"never tried", 4, time.Time{}, 0},
	} {
		if since, attempts := Round(log, c.n); !since.Equal(c.since) || attempts != c.attempts {
			t.Errorf("%s: %d attempts since %v, want %d since %v", c.name, attempts, since, c.attempts, c.since)
		}
	}
}
