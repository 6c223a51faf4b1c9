package payout

import (
	"context"
	"slices"
	"sync"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/rail"
)

// cardsMax bounds the sealed numbers in memory: a few megabytes. A payout needs
// its card again within seconds of its start, when it is checked, and mostly
// once more, when it is sent.
const cardsMax = 8192

// cards are the numbers that were sealed last. It is only speed, as a number is
// never changed; it may be sealed anew under another key, and is then read again.
type cards struct {
	mu    sync.Mutex
	byKey map[store.CardKey]vault.Sealed
	order []store.CardKey // a ring, the oldest at next
	next  int
}

func (c *cards) put(s vault.Sealed) {
	k := store.CardKey{Project: s.Project, Card: s.ID}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = make(map[store.CardKey]vault.Sealed)
	}
	if _, there := c.byKey[k]; !there {
		if len(c.order) < cardsMax {
			c.order = append(c.order, k)
		} else {
			delete(c.byKey, c.order[c.next])
			c.order[c.next] = k
			c.next = (c.next + 1) % cardsMax
		}
	}
	c.byKey[k] = s
}

func (c *cards) get(k store.CardKey) (vault.Sealed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.byKey[k]
	return s, ok
}

func (c *cards) drop(k store.CardKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byKey, k)
}

// needed are the sealed numbers that a session may still be paid to: of its
// draft, and of payouts that have not ended.
func needed(s *session.Session) (cards []id.Card) {
	need := func(i *instrument.Instrument) {
		if i != nil && i.Card != nil && i.Card.Sealed != 0 {
			cards = append(cards, i.Card.Sealed)
		}
	}
	need(s.Draft.Instrument)
	for i := range s.Payouts {
		if p := &s.Payouts[i]; !p.State.Final() {
			need(p.Details.Instrument)
		}
	}
	return cards
}

// spare are the sealed numbers that a session has no need of any more, now that
// it has changed; before is nil for a new one.
func (t *tx) spare(before, after *session.Session) (spare []store.CardKey) {
	var had []id.Card
	if before != nil {
		had = needed(before)
	}
	for i := range t.own.Cards {
		had = append(had, t.own.Cards[i].ID)
	}
	need := needed(after)
	for _, c := range had {
		if !slices.Contains(need, c) && sabotage != "number kept" {
			spare = append(spare, store.CardKey{Project: after.Project, Card: c})
		}
	}
	return spare
}

// card reads a sealed number.
func (e *Engine) card(ctx context.Context, k store.CardKey) (vault.Sealed, error) {
	if s, ok := e.cards.get(k); ok {
		return s, nil
	}
	return e.readCard(ctx, k)
}

func (e *Engine) readCard(ctx context.Context, k store.CardKey) (vault.Sealed, error) {
	s, err := e.store.Card(ctx, k.Project, k.Card)
	if err == nil {
		e.cards.put(s)
	}
	return s, err
}

// opener opens the card of a payout for one call of a rail; nil for other
// methods.
func (e *Engine) opener(p id.Project, i *instrument.Instrument) rail.Opener {
	switch {
	case i.Card == nil:
		return nil
	case i.Card.Token != 0:
		return func(ctx context.Context) ([]byte, error) { return e.content(ctx, i.Card.Partner, i.Card.Token) }
	}
	k := store.CardKey{Project: p, Card: i.Card.Sealed}
	return func(ctx context.Context) ([]byte, error) {
		if s, ok := e.cards.get(k); ok {
			if digits, err := e.vault.Open(s); err == nil {
				return digits, nil
			}
		}
		s, err := e.readCard(ctx, k)
		if err != nil {
			return nil, err
		}
		return e.vault.Open(s)
	}
}
