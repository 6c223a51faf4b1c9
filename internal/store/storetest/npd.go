package storetest

import (
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
)

// npdRequest makes one with a value in every member; it is not written.
func (b *bed) npdRequest(p id.Project, n int) store.NPDRequest {
	r := fill[store.NPDRequest](&filler{n: n * 1000})
	r.Project, r.ID, r.Revision, r.EndsAt = p, id.NPDRequest(b.ids.Next()), 0, noon
	return r
}

func npdRequests(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	first, second := b.npdRequest("p", 1), b.npdRequest("q", 2)
	second.Message, second.Answer = "", nil
	b.write(func(c *store.Changes) { c.NPD = append(c.NPD, second, first) })
	for _, want := range []store.NPDRequest{first, second} {
		got, err := b.NPDRequest(b.ctx, want.Key())
		b.must(err)
		want.Revision = got.Revision
		same(b, "read", got, want)
		rows := b.load(store.Reads{NPD: []store.NPDKey{want.Key(), want.Key()}})
		same(b, "loaded", rows.NPD, map[store.NPDKey]store.NPDRequest{want.Key(): want})
	}
	theirs := store.NPDKey{Project: "q", Request: first.ID}
	_, err := b.NPDRequest(b.ctx, theirs)
	b.refused(err, fault.NotFound, "another project's")
	if rows := b.load(store.Reads{NPD: []store.NPDKey{theirs}}); len(rows.NPD) != 0 {
		b.Errorf("loaded by another project: %s", show(rows.NPD))
	}

	changed, err := b.NPDRequest(b.ctx, second.Key())
	b.must(err)
	changed.Message, changed.Answer = "m-2", first.Answer
	b.write(func(c *store.Changes) { c.NPD = append(c.NPD, changed) })
	got, err := b.NPDRequest(b.ctx, second.Key())
	b.must(err)
	if got.Revision <= changed.Revision {
		b.Errorf("revision %d after a write at %d", got.Revision, changed.Revision)
	}
	stale := changed
	changed.Revision = got.Revision
	same(b, "changed", got, changed)
	for name, wrong := range map[string]store.NPDRequest{"a revision that moved": stale, "one that exists": first} {
		other := b.npdRequest("p", 7)
		err := b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
			c.NPD = append(c.NPD, other, wrong)
			return nil
		})
		b.refused(err, fault.Internal, name)
		_, err = b.NPDRequest(b.ctx, other.Key())
		b.refused(err, fault.NotFound, name+": its neighbour")
	}
}

func npdRequestsEnd(b *bed) {
	b.project("p", 0)
	old, older, young := b.npdRequest("p", 1), b.npdRequest("p", 2), b.npdRequest("p", 3)
	old.EndsAt, older.EndsAt, young.EndsAt = noon, noon.Add(-time.Hour), noon.Add(time.Microsecond)
	b.write(func(c *store.Changes) { c.NPD = append(c.NPD, old, older, young) })
	for n, want := range []int{1, 1, 0} { // one at a time, the oldest first
		got, err := b.Wipe(b.ctx, noon, 1)
		b.must(err)
		if got != want {
			b.Errorf("round %d: %d wiped, want %d", n, got, want)
		}
		_, err = b.NPDRequest(b.ctx, older.Key())
		b.refused(err, fault.NotFound, "the older one")
	}
	_, err := b.NPDRequest(b.ctx, old.Key())
	b.refused(err, fault.NotFound, "one at its end")
	_, err = b.NPDRequest(b.ctx, young.Key())
	b.must(err)
}
