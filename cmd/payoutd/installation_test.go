package main

import (
	"testing"
	"time"
)

func TestApart(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for d, fits := range map[time.Duration]bool{
		0: true, time.Minute: true, -time.Minute: true, 61 * time.Second: false, -61 * time.Second: false, 3 * time.Hour: false,
	} {
		if err := apart(now.Add(d), now); (err == nil) != fits {
			t.Errorf("%s away: %v", d, err)
		}
	}
}
