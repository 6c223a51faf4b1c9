package payout

import (
	"context"
	"time"
)

const (
	wipeGap = time.Hour
	wipeMax = 500 // rows of each table in one transaction
)

// wipeEnded wipes what tokens stood for that have ended, again and again.
func (e *Engine) wipeEnded(ctx context.Context) {
	tick := time.NewTicker(wipeGap)
	defer tick.Stop()
	for {
		if err := e.wipe(ctx); err != nil && ctx.Err() == nil {
			e.log.Error("wiping what has ended", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// wipe wipes all of it that there is now.
func (e *Engine) wipe(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := e.store.Wipe(ctx, e.now(), wipeMax)
		if err != nil || n == 0 {
			return err
		}
		e.log.Info("wiped what had ended", "rows", n)
	}
	return ctx.Err()
}
