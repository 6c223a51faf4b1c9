package sandbox

import (
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
)

func TestClockGoesForwardOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // real time stands still in here
		var c Clock
		start := c.Now()
		for _, d := range []time.Duration{0, -time.Second, math.MinInt64, math.MaxInt64, offsetMax + 1} {
			if err := c.Advance(d); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("Advance(%d): %v, want %s", d, err, fault.Invalid)
			}
		}
		if now := c.Now(); !now.Equal(start) {
			t.Errorf("refused advances moved it by %s", now.Sub(start))
		}
		if err := c.Advance(4 * time.Hour); err != nil {
			t.Fatal(err)
		}
		if moved := c.Now().Sub(start); moved != 4*time.Hour || c.Offset() != 4*time.Hour {
			t.Errorf("moved by %s, offset %s; want 4h", moved, c.Offset())
		}
		if err := c.Advance(offsetMax - 4*time.Hour); err != nil {
			t.Errorf("to the bound: %v", err)
		}
		if err := c.Advance(1); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("beyond the bound: %v, want %s", err, fault.Invalid)
		}
	})
}

func TestClockSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	for n := range 3 {
		c, err := OpenClock(dir)
		if err != nil {
			t.Fatal(err)
		}
		if want := time.Duration(n) * 90 * time.Minute; c.Offset() != want {
			t.Errorf("restart %d: offset %s, want %s", n, c.Offset(), want)
		}
		if err := c.Advance(90 * time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, error %v; want only the clock", files, err)
	}
}

func TestClockThatCannotBeKeptStands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	c, err := OpenClock(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.OnAdvance(func() { t.Error("it woke somebody") })
	if err := c.Advance(time.Hour); fault.CodeOf(err) != fault.Internal || c.Offset() != 0 {
		t.Errorf("Advance: %v, offset %s; want %s and no offset", err, c.Offset(), fault.Internal)
	}
}

func TestDamagedClockIsNotOpened(t *testing.T) {
	for _, text := range []string{"", "4", "-4h", "tomorrow", "4h\n4h", "2000000h"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "clock"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := OpenClock(dir); err == nil {
			t.Errorf("%q was read as %s", text, c.Offset())
		}
	}
}

func TestClockWakesWithTheNewTime(t *testing.T) {
	var c Clock
	woken := make(chan time.Duration, 2)
	for range 2 {
		c.OnAdvance(func() { woken <- c.Offset() })
	}
	if err := c.Advance(time.Minute); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if offset := <-woken; offset != time.Minute {
			t.Errorf("woken at offset %s, want 1m", offset)
		}
	}
}

func TestClockAddsUpUnderConcurrency(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenClock(dir)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := c.Advance(time.Second); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	again, err := OpenClock(dir)
	if err != nil || c.Offset() != 16*time.Second || again.Offset() != 16*time.Second {
		t.Errorf("offset %s, kept %s, error %v; want 16s", c.Offset(), again.Offset(), err)
	}
}
