package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
)

// offsetMax is how far a clock can be moved in all: ten years, so that no sum
// of times overflows and no certificate outlives the sandbox.
const offsetMax = 10 * 365 * 24 * time.Hour

// Clock is the time of the sandbox: real time plus an offset that only grows
// and that survives a restart. It governs when things become due and the times
// that are shown, never leases or HTTP time-outs. The zero Clock is real time
// and keeps its offset nowhere. It is safe for concurrent use.
type Clock struct {
	Real func() time.Time // set before the clock is used; nil: time.Now

	path   string // "" where the offset is not kept
	offset atomic.Int64

	mu    sync.Mutex
	hooks []func()
}

// OpenClock reads the clock of the folder dir, which must exist. A folder
// without one is at real time.
func OpenClock(dir string) (*Clock, error) {
	c := &Clock{path: filepath.Join(dir, "clock")}
	text, err := os.ReadFile(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("clock of the sandbox: %w", err)
	}
	offset, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil || offset < 0 || offset > offsetMax {
		return nil, fmt.Errorf("clock of the sandbox: %s holds %q, want a duration such as 4h0m0s, at most %s", c.path, text, offsetMax)
	}
	c.offset.Store(int64(offset))
	return c, nil
}

// Now is the present of the sandbox, in UTC.
func (c *Clock) Now() time.Time {
	real := time.Now
	if c.Real != nil {
		real = c.Real
	}
	return real().Add(c.Offset()).UTC()
}

// Offset is how far the clock is ahead of real time.
func (c *Clock) Offset() time.Duration { return time.Duration(c.offset.Load()) }

// OnAdvance calls f each time after the clock was moved. It must not block:
// the caller of Advance waits for it.
func (c *Clock) OnAdvance(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hooks = append(c.hooks, f)
}

// Advance moves the clock forward and keeps the new offset before anybody sees
// it, so that time does not go back after a crash. fault.Invalid if d is not
// above zero or leads further than ten years ahead.
func (c *Clock) Advance(d time.Duration) error {
	hooks, err := c.advance(d)
	for _, wake := range hooks {
		wake()
	}
	return err
}

func (c *Clock) advance(d time.Duration) ([]func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d <= 0 {
		return nil, fault.New(fault.Invalid, "advance: must be above zero: the clock only goes forward")
	}
	if d > offsetMax-c.Offset() {
		return nil, fault.New(fault.Invalid, "advance: the clock would be more than %d days ahead of real time", int(offsetMax.Hours()/24))
	}
	offset := c.Offset() + d
	if c.path != "" {
		if err := replaceFile(c.path, []byte(offset.String()+"\n")); err != nil {
			return nil, fault.Wrap(fault.Internal, err, "the clock could not be kept")
		}
	}
	c.offset.Store(int64(offset))
	return slices.Clone(c.hooks), nil
}
