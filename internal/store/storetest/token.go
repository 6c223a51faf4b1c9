package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
)

// item makes one with a value in every member; it is not written.
func (b *bed) item(p id.Partner, n byte) vault.Item {
	i := fill[vault.Item](&filler{n: int(n) * 100})
	i.Partner, i.ID, i.Kind, i.Revision = p, id.Token(b.ids.Next()), vault.CardToken, 0
	i.Lookup = [32]byte{n, 1: 0xff}
	i.WipeAt = noon.Add(time.Hour)
	return i
}

func keyOfItem(i vault.Item) store.ItemKey { return store.ItemKey{Partner: i.Partner, Token: i.ID} }

// public makes a public token with a value in every member; it is not written.
func public(p id.Project, n byte) *vault.Public {
	t := fill[vault.Public](&filler{n: int(n) * 100})
	t.Project, t.Lookup, t.Revision, t.EndsAt = p, [32]byte{n, 1: 0xee}, 0, noon
	return &t
}

func keyOfPublic(p *vault.Public) store.PublicKey {
	return store.PublicKey{Project: p.Project, Lookup: p.Lookup}
}

func itemRoundTrip(b *bed) {
	first, second := b.item("acme", 1), b.item("birch", 2)
	second.Shown = vault.Shown{}
	b.write(func(c *store.Changes) { c.Items = append(c.Items, second, first) })
	for _, want := range []vault.Item{first, second} {
		got, err := b.Item(b.ctx, keyOfItem(want))
		b.must(err)
		if got.Revision < 1 {
			b.Errorf("revision %d, want at least 1", got.Revision)
		}
		want.Revision = got.Revision
		same(b, "read", got, want)
		found, err := b.FindItem(b.ctx, want.Partner, want.Kind, want.Lookup)
		b.must(err)
		same(b, "found", found, want)
		rows := b.load(store.Reads{Items: []store.ItemKey{keyOfItem(want), keyOfItem(want)}})
		same(b, "loaded", rows.Items, map[store.ItemKey]vault.Item{keyOfItem(want): want})
		b.must(b.Snapshot(b.ctx, func(s store.Snapshot) error {
			got, err := s.Item(b.ctx, keyOfItem(want))
			same(b, "in a snapshot", got, want)
			return err
		}))
	}
	for name, find := range map[string]func() (vault.Item, error){
		"by another partner": func() (vault.Item, error) { return b.FindItem(b.ctx, "birch", first.Kind, first.Lookup) },
		"as another kind":    func() (vault.Item, error) { return b.FindItem(b.ctx, "acme", vault.CardHash, first.Lookup) },
		"by another hash":    func() (vault.Item, error) { return b.FindItem(b.ctx, "acme", first.Kind, [32]byte{9}) },
		"another's id":       func() (vault.Item, error) { return b.Item(b.ctx, store.ItemKey{Partner: "birch", Token: first.ID}) },
		"in a snapshot": func() (i vault.Item, err error) {
			err = b.Snapshot(b.ctx, func(s store.Snapshot) error {
				_, err := s.Item(b.ctx, store.ItemKey{Partner: "birch", Token: first.ID})
				return err
			})
			return i, err
		},
	} {
		_, err := find()
		b.refused(err, fault.NotFound, name)
	}
	if rows := b.load(store.Reads{Items: []store.ItemKey{{Partner: "birch", Token: first.ID}}}); len(rows.Items) != 0 {
		b.Errorf("loaded by another partner: %s", show(rows.Items))
	}
}

func itemChanges(b *bed) {
	first := b.item("acme", 1)
	b.write(func(c *store.Changes) { c.Items = append(c.Items, first) })
	loaded, err := b.Item(b.ctx, keyOfItem(first))
	b.must(err)
	changed := loaded
	changed.DeletedAt, changed.WipeAt = noon.Add(time.Minute), noon.Add(2*time.Minute)
	b.write(func(c *store.Changes) { c.Items = append(c.Items, changed) })
	got, err := b.Item(b.ctx, keyOfItem(first))
	b.must(err)
	if got.Revision <= loaded.Revision {
		b.Errorf("revision %d after a write at %d", got.Revision, loaded.Revision)
	}
	changed.Revision = got.Revision
	same(b, "changed", got, changed)

	for name, wrong := range map[string]func(i *vault.Item){
		"a revision that moved": func(i *vault.Item) { i.Revision = loaded.Revision },
		"one that is not there": func(i *vault.Item) { i.ID++ },
		"one that exists":       func(i *vault.Item) { i.Revision = 0 },
		"another partner's":     func(i *vault.Item) { i.Partner = "birch" },
	} {
		i := got
		wrong(&i)
		other := b.item("acme", 7)
		err := b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
			c.Items = append(c.Items, other, i)
			return nil
		})
		b.refused(err, fault.Internal, name)
		_, err = b.Item(b.ctx, keyOfItem(other))
		b.refused(err, fault.NotFound, name+": its neighbour")
	}
}

func publicTokens(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	first, second := public("p", 1), public("q", 2)
	second.Widgets = vault.Widgets{}
	b.write(func(c *store.Changes) { c.Public = append(c.Public, second, first) })
	for _, want := range []*vault.Public{first, second} {
		if want.Revision != 0 {
			b.Error("Commit has changed the caller's token")
		}
		got, err := b.FindPublic(b.ctx, want.Lookup)
		b.must(err)
		want.Revision = got.Revision
		same(b, "found", got, *want)
		rows := b.load(store.Reads{Public: []store.PublicKey{keyOfPublic(want), keyOfPublic(want)}})
		same(b, "loaded", rows.Public, map[store.PublicKey]*vault.Public{keyOfPublic(want): want})
	}
	_, err := b.FindPublic(b.ctx, [32]byte{9})
	b.refused(err, fault.NotFound, "a token that is not there")
	if rows := b.load(store.Reads{Public: []store.PublicKey{{Project: "q", Lookup: first.Lookup}}}); len(rows.Public) != 0 {
		b.Errorf("loaded by another project: %s", show(rows.Public))
	}

	used := first.Clone()
	used.Widgets.Tokenize.Used, used.Attempts = false, 77
	b.write(func(c *store.Changes) { c.Public = append(c.Public, used) })
	got, err := b.FindPublic(b.ctx, first.Lookup)
	b.must(err)
	used.Revision = got.Revision
	same(b, "changed", got, *used)
	err = b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
		c.Public = append(c.Public, first)
		return nil
	})
	b.refused(err, fault.Internal, "a revision that moved")
}

// oneUseOfAPublicToken has many use one token at once, each in a commit of its
// own that looks before it writes: one of them finds it unused.
func oneUseOfAPublicToken(b *bed) {
	b.project("p", 0)
	token := public("p", 1)
	token.Widgets.Tokenize.Used = false
	b.write(func(c *store.Changes) { c.Public = append(c.Public, token) })
	const users = 32
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		wins int
	)
	for range users {
		wg.Go(func() {
			won := false
			err := b.try(store.Reads{Public: []store.PublicKey{keyOfPublic(token)}}, func(rows *store.Rows, c *store.Changes) error {
				p := rows.Public[keyOfPublic(token)]
				if won = !p.Widgets.Tokenize.Used; won {
					p.Widgets.Tokenize.Used = true
					c.Public = append(c.Public, p)
				}
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				b.Errorf("use: %v", err)
			} else if won {
				wins++
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		b.Errorf("%d of %d have used it", wins, users)
	}
}

// resealing walks all rows in pages and replaces what did not change meanwhile.
func resealing(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	var cards []vault.Sealed
	var items []vault.Item
	for n := range byte(5) {
		p := id.Project([]string{"q", "p"}[n%2])
		cards = append(cards, vault.Sealed{Project: p, ID: id.Card(b.ids.Next()), Ciphertext: []byte{n}, Fingerprint: []byte{n, n}, CreatedAt: noon})
		items = append(items, b.item(id.Partner(p), n))
	}
	b.write(func(c *store.Changes) { c.Cards, c.Items = append(c.Cards, cards...), append(c.Items, items...) })

	seenCards, seenItems := b.walk()
	slices.SortStableFunc(cards, func(a, b vault.Sealed) int { return cmp.Compare(a.Project, b.Project) })
	slices.SortStableFunc(items, func(a, b vault.Item) int { return cmp.Compare(a.Partner, b.Partner) })
	for n := range items {
		items[n].Revision = seenItems[n].Revision
	}
	same(b, "cards", seenCards, cards)
	same(b, "items", seenItems, items)

	moved := store.Resealed[vault.Sealed]{Old: cards[1], New: cards[1]}
	moved.Old.Ciphertext, moved.New.Ciphertext = []byte{99}, []byte{98}
	fresh := store.Resealed[vault.Sealed]{Old: cards[2], New: cards[2]}
	fresh.New.Ciphertext, fresh.New.Fingerprint = []byte{42}, []byte{43}
	item := store.Resealed[vault.Item]{Old: items[3], New: items[3]}
	item.New.Ciphertext, item.New.Fingerprint = []byte{44}, []byte{45}
	changed, err := b.Reseal(b.ctx, []store.Resealed[vault.Sealed]{moved, fresh}, []store.Resealed[vault.Item]{item})
	b.must(err)
	if changed != 2 {
		b.Errorf("%d rows changed, want 2", changed)
	}
	cards[2], items[3] = fresh.New, item.New
	seenCards, seenItems = b.walk()
	if seenItems[3].Revision <= items[3].Revision {
		b.Error("a change that had read the item before would go through")
	}
	items[3].Revision = seenItems[3].Revision
	same(b, "cards after", seenCards, cards)
	same(b, "items after", seenItems, items)
	got, err := b.Card(b.ctx, cards[2].Project, cards[2].ID)
	b.must(err)
	same(b, "card", got, cards[2])
	changed, err = b.Reseal(b.ctx, nil, nil)
	if changed != 0 || err != nil {
		b.Errorf("nothing to reseal: %d, %v", changed, err)
	}
}

// cardsGo removes sealed numbers with the batch that has no need of them: those
// that it has just written too, and none where it is refused.
func cardsGo(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	card := func(p id.Project, number id.Card) vault.Sealed {
		return vault.Sealed{Project: p, ID: number, Ciphertext: []byte{byte(number)}, Fingerprint: []byte{1}, CreatedAt: noon}
	}
	keyOf := func(c vault.Sealed) store.CardKey { return store.CardKey{Project: c.Project, Card: c.ID} }
	first, other, stays, late := card("p", 1), card("q", 1), card("p", 2), card("p", 3)
	b.write(func(c *store.Changes) { c.Cards = append(c.Cards, first, other, stays) })

	err := b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
		c.Cards, c.CardsDone = append(c.Cards, stays), append(c.CardsDone, keyOf(first))
		return nil
	})
	b.refused(err, fault.Internal, "a number that is sealed already")
	seen, _ := b.walk()
	same(b, "cards after a refusal", seen, []vault.Sealed{first, stays, other})

	b.write(func(c *store.Changes) {
		c.Cards, c.CardsDone = append(c.Cards, late), append(c.CardsDone, keyOf(late), keyOf(first), keyOf(first), store.CardKey{Project: "p", Card: 9})
	})
	seen, _ = b.walk()
	same(b, "cards", seen, []vault.Sealed{stays, other})

	b.write(func(c *store.Changes) { c.CardsDone = append(c.CardsDone, keyOf(other)) }) // and nothing else
	seen, _ = b.walk()
	same(b, "cards at the end", seen, []vault.Sealed{stays})
}

// walk reads all rows in pages of two.
func (b *bed) walk() (cards []vault.Sealed, items []vault.Item) {
	b.Helper()
	for after := (store.CardKey{}); ; {
		page, err := b.Cards(b.ctx, after, 2)
		b.must(err)
		if cards = append(cards, page...); len(page) < 2 {
			break
		}
		after = store.CardKey{Project: page[1].Project, Card: page[1].ID}
	}
	for after := (store.ItemKey{}); ; {
		page, err := b.Items(b.ctx, after, 2)
		b.must(err)
		if items = append(items, page...); len(page) < 2 {
			return cards, items
		}
		after = keyOfItem(page[1])
	}
}

func wiping(b *bed) {
	b.project("p", 0)
	old, older, young := b.item("acme", 1), b.item("acme", 2), b.item("acme", 3)
	old.WipeAt, older.WipeAt, young.WipeAt = noon, noon.Add(-time.Hour), noon.Add(time.Microsecond)
	ended, fresh := public("p", 1), public("p", 2)
	ended.EndsAt, fresh.EndsAt = noon.Add(-vault.KeepAfterEnd), noon.Add(-vault.KeepAfterEnd+time.Microsecond)
	b.write(func(c *store.Changes) {
		c.Items, c.Public = append(c.Items, old, older, young), append(c.Public, ended, fresh)
	})
	for n, want := range []int{2, 1, 0} { // one of each kind at a time, the oldest first
		got, err := b.Wipe(b.ctx, noon, 1)
		b.must(err)
		if got != want {
			b.Errorf("round %d: %d wiped, want %d", n, got, want)
		}
	}
	for _, was := range []vault.Item{old, older, young} {
		got, err := b.Item(b.ctx, keyOfItem(was))
		b.must(err)
		if was.ID != young.ID {
			was.Ciphertext, was.Fingerprint, was.WipeAt = nil, nil, time.Time{}
		}
		was.Revision = got.Revision
		same(b, "item", got, was)
	}
	_, err := b.FindPublic(b.ctx, ended.Lookup)
	b.refused(err, fault.NotFound, "a public token long after its end")
	_, err = b.FindPublic(b.ctx, fresh.Lookup)
	b.must(err)
}

func actsNewestFirst(b *bed) {
	var want []store.Act
	for n := range 3 {
		act := store.Act{
			Project: id.Project([]string{"", "q", "p"}[n]), ID: b.ids.Next(), At: noon.Add(-time.Duration(n) * time.Hour),
			Actor: fmt.Sprint("actor ", n), What: "token_delete", Subject: "tk_1", Text: "why",
		}
		b.write(func(c *store.Changes) { c.Acts = append(c.Acts, act) })
		want = append([]store.Act{act}, want...)
	}
	got, err := b.Audit(b.ctx, 10)
	b.must(err)
	same(b, "acts", got, want)
	got, err = b.Audit(b.ctx, 2)
	b.must(err)
	same(b, "the two newest", got, want[:2])
	err = b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
		c.Acts = append(c.Acts, want[0])
		return nil
	})
	b.refused(err, fault.Internal, "an act with the number of another")
}
