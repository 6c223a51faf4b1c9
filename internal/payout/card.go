package payout

import (
	"context"
	"sync"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
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
	byKey map[cardKey]vault.Sealed
	order []cardKey // a ring, the oldest at next
	next  int
}

type cardKey struct {
	project id.Project
	card    id.Card
}

func (c *cards) put(s vault.Sealed) {
	k := cardKey{s.Project, s.ID}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = make(map[cardKey]vault.Sealed)
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

func (c *cards) get(k cardKey) (vault.Sealed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.byKey[k]
	return s, ok
}

// card reads a sealed number.
func (e *Engine) card(ctx context.Context, k cardKey) (vault.Sealed, error) {
	if s, ok := e.cards.get(k); ok {
		return s, nil
	}
	return e.readCard(ctx, k)
}

func (e *Engine) readCard(ctx context.Context, k cardKey) (vault.Sealed, error) {
	s, err := e.store.Card(ctx, k.project, k.card)
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
	k := cardKey{p, i.Card.Sealed}
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
