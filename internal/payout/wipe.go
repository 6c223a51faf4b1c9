package payout

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
)

const (
	wipeGap = time.Hour
	wipeMax = 500 // rows of each table in one transaction

	// draftLife is how long a session that was created with a card can be started
	// with it.
	draftLife = 30 * 24 * time.Hour
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
		if err != nil {
			return err
		}
		if n == 0 {
			return e.wipeDrafts(ctx)
		}
		e.log.Info("wiped what had ended", "rows", n)
	}
	return ctx.Err()
}

// wipeDrafts deletes the numbers of sessions that nobody has started in their
// time, and whatever else is as old and no payout waits for. It leaves them an
// hour more: nodes have clocks of their own.
func (e *Engine) wipeDrafts(ctx context.Context) error {
	before := e.now().Add(-draftLife - wipeGap)
	for after := (store.CardKey{}); ; {
		page, err := e.store.Cards(ctx, after, wipeMax)
		if err != nil || len(page) == 0 {
			return err
		}
		var old []store.CardKey
		for i := range page {
			after = store.CardKey{Project: page[i].Project, Card: page[i].ID}
			if page[i].CreatedAt.Before(before) {
				old = append(old, after)
			}
		}
		if old, err = e.unneeded(ctx, old); err != nil {
			return err
		}
		if len(old) == 0 {
			continue
		}
		if _, err := e.do(ctx, &wipeCards{old}); err != nil {
			return err
		}
		e.log.Info("wiped card numbers that nothing waits for", "rows", len(old))
	}
}

// unneeded leaves out the numbers of payouts that have not ended, each of which
// has a task. None comes to need a number of this age meanwhile.
func (e *Engine) unneeded(ctx context.Context, cards []store.CardKey) ([]store.CardKey, error) {
	waiting := map[id.Project]map[id.Session]bool{}
	for _, k := range cards {
		waiting[k.Project] = map[id.Session]bool{}
	}
	if len(waiting) == 0 {
		return nil, nil
	}
	err := e.store.Snapshot(ctx, func(s store.Snapshot) error {
		for p, sessions := range waiting {
			for t, err := range s.Tasks(ctx, p) {
				if err != nil {
					return err
				}
				sessions[t.Session] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for p, sessions := range waiting {
		list, err := e.store.SessionsByID(ctx, p, slices.Collect(maps.Keys(sessions)))
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			need := needed(s)
			cards = slices.DeleteFunc(cards, func(k store.CardKey) bool { return k.Project == p && slices.Contains(need, k.Card) })
		}
	}
	return cards, nil
}

// wipeCards deletes sealed numbers.
type wipeCards struct{ cards []store.CardKey }

func (*wipeCards) reads(*store.Reads) {}

func (w *wipeCards) decide(t *tx) (Answer, error) {
	t.own.CardsDone = w.cards
	return Answer{}, nil
}
