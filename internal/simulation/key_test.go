package simulation

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/payoutd/payoutd/internal/api"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/sign"
)

// signedBody is what partners sign. What they want is done behind the door.
const signedBody = `{"session_id":"ps_131"}`

// signer is a key that partners sign by, and its signature.
type signer struct{ id, pem, signature string }

// signers are the old key of all partners and their new one.
var signers = sync.OnceValue(func() (pair [2]signer) {
	for n := range pair {
		key, err := sign.GenerateP256()
		if err == nil {
			pair[n] = signer{id: []string{"old", "new"}[n], pem: string(key.Public().PEM())}
			pair[n].signature, err = key.Sign([]byte(signedBody))
		}
		if err != nil {
			panic(err)
		}
	}
	return pair
})

func (s signer) key() partner.Key { return partner.Key{ID: s.id, PEM: s.pem} }

// learnsWithin is how soon a node knows what another one has changed.
const learnsWithin = 1100 * time.Millisecond

// keyring is what is true of a partner's keys.
type keyring struct {
	turned  bool         // it signs by the new one
	added   [2]time.Time // when they began to hold; zero: not yet
	retired [2]time.Time
}

// rekey plans that an operator gives a partner a new key and retires the old one,
// while requests are under way.
func (s *shop) rekey() {
	s.project.Keys = []partner.Key{signers()[0].key()}
	s.keyring.added[0] = s.opening
	name := string(s.project.ID)
	s.plan(s.between(name+" gets a key", time.Second, s.length/2), name+" gets a key", func() {
		s.changes(name+" gets a key", func(p *partner.Project) error {
			if len(p.Keys) == 1 {
				p.Keys = append(slices.Clip(p.Keys), signers()[1].key())
			}
			return nil
		}, func() {
			s.plan(s.between(name+" signs by it", 0, 5*time.Second), name+" signs by it", func() {
				s.tell("%s signs by its new key", name)
				s.keyring.turned = true
			})
			retire := name + " has its old key retired"
			s.plan(s.between(retire, time.Second, 10*time.Second), retire, func() {
				s.changes(retire, func(p *partner.Project) error {
					p.Keys = slices.Clone(p.Keys)
					if now := s.clock(); p.Keys[0].RetiredAt == nil {
						p.Keys[0].RetiredAt = &now
					}
					return nil
				}, func() {})
			})
		})
	})
}

// changes has an operator change a project, again and again until that is done.
func (s *shop) changes(name string, change func(*partner.Project) error, then func()) {
	s.world.start(&op{name: name, what: "change the project", do: func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		return payout.Answer{}, e.UpdateProject(ctx, s.project.ID, change)
	}, then: func(_ payout.Answer, err error) {
		if err != nil {
			again := s.number(name + " again")
			s.after(time.Second, again, func() { s.changes(again, change, then) })
			return
		}
		then()
	}})
}

// UpdateProject changes what partners sign by.
func (g *gated) UpdateProject(ctx context.Context, p partner.Project) error {
	return g.ask(ctx, "project "+string(p.ID), func() error {
		err := g.memory.UpdateProject(ctx, p)
		if err == nil {
			r := &g.n.shopBy(p.ID).keyring
			for n, k := range p.Keys {
				if r.added[n].IsZero() {
					r.added[n] = time.Now()
				}
				if k.RetiredAt != nil && r.retired[n].IsZero() {
					r.retired[n] = time.Now()
				}
			}
		}
		return err
	})
}

// signs is the key by which a request is signed: some partners forget that they
// have a new one, some that it does not hold yet.
func (s *shop) signs(name string) int {
	key := 0
	if s.keyring.turned {
		key = 1
	}
	if s.roll(name+" is signed by").IntN(6) == 0 {
		key = 1 - key
	}
	return key
}

// holds reports whether a key must let a request in at a node now, and whether it
// may: what was just changed the node need not know.
func (s *shop) holds(key int, n *node) (must, may bool) {
	knows := time.Now().Add(-learnsWithin)
	added, retired := s.keyring.added[key], s.keyring.retired[key]
	if n.blind(knows) {
		knows = time.Time{}
	}
	must = !added.IsZero() && !added.After(knows) && retired.IsZero()
	may = !added.IsZero() && (retired.IsZero() || retired.After(knows))
	return must || added.Equal(s.opening) && retired.IsZero(), may
}

// blind reports whether a node may not have read the projects since a time. One
// that stops reads no more, and is about to take no more requests.
func (n *node) blind(since time.Time) bool {
	return n.stopping || n.cut.Load() || n.sighted.After(since) || n.booted.After(since)
}

// door is the API before an engine. It lets in who has signed.
type door struct {
	*payout.Engine
	do     func(context.Context, *payout.Engine) (payout.Answer, error)
	passed bool
	answer payout.Answer
	err    error
}

// Status does whatever the request is for.
func (d *door) Status(ctx context.Context, _ payout.Call, _ wire.Request) (payout.Answer, error) {
	d.passed = true
	d.answer, d.err = d.do(ctx, d.Engine)
	return d.answer, d.err
}

// signed does a request of a partner as far as its signature lets it, and sees
// that this is as far as it must.
func (o *op) signed(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
	d := &door{Engine: e, do: o.do}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v2/session/status", strings.NewReader(signedBody))
	r.Header.Set(sign.HeaderProject, string(o.by.project.ID))
	r.Header.Set(sign.HeaderSign, signers()[o.key].signature)
	w := httptest.NewRecorder()
	api.New(d, api.Options{}).ServeHTTP(w, r)
	key := signers()[o.key].id
	switch {
	case d.passed && !o.mayPass:
		o.world.breaks("keys", "%s is signed by the %s key of %s, and is let in", o.name, key, o.by.project.ID)
	case d.passed:
		return d.answer, d.err
	case o.mustPass:
		o.world.breaks("keys", "%s is signed by the %s key of %s, and is answered: %s", o.name, key, o.by.project.ID, w.Body)
	}
	return payout.Answer{}, fault.New(fault.Unauthenticated, "%s", w.Body)
}

// safe is where the machines have the keys of the vault, each its own file.
type safe struct {
	*world
	files  []vault.Keys
	marked bool // the key of fingerprints is replaced as well
	alone  bool // the program may write the file
}

// openSafe plans that an operator replaces the vault's keys.
func (w *world) openSafe() {
	w.safe = &safe{world: w, files: make([]vault.Keys, w.machines), alone: w.config.alone}
	for slot := range w.safe.files {
		w.safe.files[slot] = secrets().vault
	}
	if name := "the vault's key is replaced"; w.roll(name).IntN(4) > 0 {
		w.plan(w.between(name, time.Second, w.length/2), name, func() {
			w.safe.marked = w.roll("fingerprints too").IntN(3) == 0
			if w.safe.alone {
				w.safe.rotate()
				return
			}
			w.safe.step(func(k vault.Keys) (vault.Keys, error) { return k.Add(w.safe.marked) }, func() {
				w.safe.step(vault.Keys.Promote, w.safe.rotate)
			})
		})
	}
}

// step gives each machine the next key file and starts it anew, one after the
// other.
func (s *safe) step(change func(vault.Keys) (vault.Keys, error), then func()) {
	next, err := change(s.files[0])
	if err != nil {
		s.breaks("vault", "the key file can't be changed: %v", err)
		return
	}
	var give func(slot int)
	give = func(slot int) {
		if slot == len(s.nodes) {
			then()
			return
		}
		s.tell("n%d gets another key file", slot+1)
		s.files[slot] = next
		s.nodes[slot].stop()
		var wait func()
		wait = func() {
			n := s.nodes[slot]
			if n.serves() == nil || n.keys != next {
				s.after(100*time.Millisecond, s.number("waiting for "+n.name), wait)
				return
			}
			give(slot + 1)
		}
		wait()
	}
	give(0)
}

// keeper is the safe as a node has it, for payout.Keeper.
type keeper struct {
	*safe
	n *node
}

func (k keeper) Keys() vault.Keys { return k.files[0] }

func (k keeper) MayKeep() error {
	if !k.safe.alone {
		return fault.New(fault.WrongState, "the keys come from outside")
	}
	return nil
}

func (k keeper) Keep(_ context.Context, next vault.Keys) error {
	if k.n.dead.Load() {
		return errDead
	}
	if err := k.MayKeep(); err != nil {
		return err
	}
	k.files[0] = next
	return nil
}

// rotate seals everything anew, again and again until that is done, and drops the
// old key.
func (s *safe) rotate() {
	name := s.number("sealing anew")
	o := &op{name: name, what: "payoutd vault rotate"}
	o.do = func(ctx context.Context, e *payout.Engine) (payout.Answer, error) {
		_, err := e.Rotate(ctx, keeper{s, o.node}, s.marked, nil)
		return payout.Answer{}, err
	}
	o.then = func(_ payout.Answer, err error) {
		switch {
		case err != nil:
			s.after(time.Second, name+" again", s.rotate)
		case s.alone:
			s.opens()
		default:
			s.step(vault.Keys.Drop, s.opens)
		}
	}
	s.start(o)
}

// opens sees that all that is sealed can be opened by the key file of each machine.
func (s *safe) opens() {
	for slot, keys := range s.files {
		v, err := vault.New(keys)
		if err != nil {
			s.breaks("vault", "the key file of n%d: %v", slot+1, err)
			return
		}
		for k, c := range s.store.cards {
			if _, err := v.Open(c); err != nil {
				s.breaks("vault", "the card %d of %s can't be opened on n%d: %v", k.Card, k.Project, slot+1, err)
			}
		}
		for k, i := range s.store.items {
			if len(i.Ciphertext) == 0 {
				continue
			}
			if _, err := v.OpenItem(i); err != nil {
				s.breaks("vault", "what %s of %s stands for can't be opened on n%d: %v", k.Token, k.Partner, slot+1, err)
			}
		}
	}
}

// Cards, Items and Reseal are what sealing anew asks of the database.
func (g *gated) Cards(ctx context.Context, after store.CardKey, limit int) (list []vault.Sealed, err error) {
	err = g.ask(ctx, "sealed cards"+of(ctx), func() (err error) { list, err = g.memory.Cards(ctx, after, limit); return err })
	return list, err
}

func (g *gated) Items(ctx context.Context, after store.ItemKey, limit int) (list []vault.Item, err error) {
	err = g.ask(ctx, "sealed tokens"+of(ctx), func() (err error) { list, err = g.memory.Items(ctx, after, limit); return err })
	return list, err
}

func (g *gated) Reseal(ctx context.Context, cards []store.Resealed[vault.Sealed], items []store.Resealed[vault.Item]) (n int, err error) {
	err = g.ask(ctx, "sealing"+of(ctx), func() (err error) { n, err = g.memory.Reseal(ctx, cards, items); return err })
	return n, err
}
