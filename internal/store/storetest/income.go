package storetest

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/tax"
)

var (
	may  = store.IncomeKey{INN: "772912345698", Year: 2026}
	next = store.IncomeKey{INN: "772912345698", Year: 2027}
)

// reservation makes one with a value in every member; it is not written.
func (b *bed) reservation(k store.IncomeKey, p id.Project) store.Reservation {
	r := fill[store.Reservation](new(filler))
	r.IncomeKey, r.Payout, r.Project, r.Session = k, id.Payout(b.ids.Next()), p, id.Session(b.ids.Next())
	return r
}

func incomeRoundTrip(b *bed) {
	first, second := fill[store.Income](new(filler)), store.Income{IncomeKey: next}
	first.IncomeKey, first.Revision = may, 0
	b.write(func(c *store.Changes) { c.Incomes = append(c.Incomes, second, first) })
	for _, want := range []store.Income{first, second} {
		got, err := b.Income(b.ctx, want.IncomeKey)
		b.must(err)
		if got.Revision < 1 {
			b.Errorf("revision %d, want at least 1", got.Revision)
		}
		want.Revision = got.Revision
		same(b, "read", got, want)
		rows := b.load(store.Reads{Incomes: []store.IncomeKey{want.IncomeKey, want.IncomeKey}})
		same(b, "loaded", rows.Incomes, map[store.IncomeKey]store.Income{want.IncomeKey: want})
	}
	_, err := b.Income(b.ctx, store.IncomeKey{INN: may.INN, Year: 2025})
	b.refused(err, fault.NotFound, "another year")
	if rows := b.load(store.Reads{Incomes: []store.IncomeKey{{INN: "770000000000", Year: 2026}}}); len(rows.Incomes) != 0 {
		b.Errorf("another person's: %s", show(rows.Incomes))
	}

	loaded, err := b.Income(b.ctx, may)
	b.must(err)
	changed := loaded
	changed.Held, changed.Asked, changed.Registered = 0, 2, 3
	b.write(func(c *store.Changes) { c.Incomes = append(c.Incomes, changed) })
	got, err := b.Income(b.ctx, may)
	b.must(err)
	if got.Revision <= loaded.Revision {
		b.Errorf("revision %d after a write at %d", got.Revision, loaded.Revision)
	}
	changed.Revision = got.Revision
	same(b, "changed", got, changed)

	for name, wrong := range map[string]func(*store.Income){
		"a revision that moved": func(i *store.Income) { i.Revision = loaded.Revision },
		"one that is not there": func(i *store.Income) { i.Year = 2020 },
		"one that exists":       func(i *store.Income) { i.Revision = 0 },
		"less than nothing":     func(i *store.Income) { i.Held = -1 },
	} {
		i := got
		wrong(&i)
		other := b.reservation(may, "p")
		b.refused(b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
			c.Reservations, c.Incomes = append(c.Reservations, other), append(c.Incomes, i)
			return nil
		}), fault.Internal, name)
		if rows := b.load(store.Reads{Reservations: []store.ReservationKey{other.ReservationKey}}); len(rows.Reservations) != 0 {
			b.Errorf("%s: its neighbour was written", name)
		}
	}
}

func reservationsGoByKey(b *bed) {
	first, second, bare := b.reservation(may, "p"), b.reservation(next, "q"), b.reservation(may, "q")
	bare.EarnedAt, bare.Receipt, bare.State = time.Time{}, "", store.ReservationHeld
	all := []store.Reservation{second, first, bare}
	b.write(func(c *store.Changes) { c.Reservations = append(c.Reservations, all...) })
	changed := first
	changed.State, changed.Receipt, changed.EarnedAt = store.ReservationAnnulled, "20a1b2c3d4", noon.Add(time.Second)
	b.write(func(c *store.Changes) { c.Reservations = append(c.Reservations, first, changed) }) // the last word counts
	all[1] = changed
	for _, want := range all {
		rows := b.load(store.Reads{Reservations: []store.ReservationKey{want.ReservationKey, want.ReservationKey}})
		same(b, "loaded", rows.Reservations, map[store.ReservationKey]store.Reservation{want.ReservationKey: want})
		b.must(b.Snapshot(b.ctx, func(s store.Snapshot) error {
			got, err := s.Reservation(b.ctx, want.ReservationKey)
			same(b, "in a snapshot", got, want)
			return err
		}))
	}
	b.must(b.Snapshot(b.ctx, func(s store.Snapshot) error {
		_, err := s.Reservation(b.ctx, store.ReservationKey{IncomeKey: next, Payout: first.Payout})
		b.refused(err, fault.NotFound, "of another year")
		return nil
	}))
	for name, wrong := range map[string]func(*store.Reservation){
		"another project": func(r *store.Reservation) { r.Project = "q" },
		"another session": func(r *store.Reservation) { r.Session++ },
		"another amount":  func(r *store.Reservation) { r.Minor-- },
	} {
		r := changed
		wrong(&r)
		b.refused(b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error {
			c.Reservations = append(c.Reservations, r)
			return nil
		}), fault.Internal, name)
	}

	slices.SortFunc(all, func(a, b store.Reservation) int {
		return cmp.Or(cmp.Compare(a.INN, b.INN), cmp.Compare(a.Year, b.Year), cmp.Compare(a.Payout, b.Payout))
	})
	var streamed []store.Reservation
	b.must(b.Snapshot(b.ctx, func(s store.Snapshot) error {
		for r, err := range s.Reservations(b.ctx) {
			if err != nil {
				return err
			}
			streamed = append(streamed, r)
		}
		return nil
	}))
	same(b, "the stream", streamed, all)
}

func reservationsByDay(b *bed) {
	midnight := time.Date(2026, 7, 1, 0, 0, 0, 0, tax.Moscow)
	var want []store.Reservation
	for _, earned := range []time.Time{
		{}, midnight.Add(-time.Microsecond), midnight, midnight.AddDate(0, 0, 1).Add(-time.Microsecond), midnight.AddDate(0, 0, 1),
	} {
		r := b.reservation(may, "p")
		if r.EarnedAt = earned; !earned.IsZero() {
			r.EarnedAt = earned.UTC()
		}
		b.write(func(c *store.Changes) { c.Reservations = append(c.Reservations, r) })
		want = append(want, r)
	}
	got, err := b.Reservations(b.ctx, midnight, midnight.AddDate(0, 0, 1))
	b.must(err)
	same(b, "of the day", got, want[2:4])
	got, err = b.Reservations(b.ctx, time.Time{}, noon.AddDate(1, 0, 0))
	b.must(err)
	same(b, "of all times", got, want[1:])
}

// oneLimitForMany has many reserve of one limit at once, each in a commit of its
// own that looks before it writes, the first row of the person included.
func oneLimitForMany(b *bed) {
	const users, fit = 32, 5
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		wins int
	)
	for range users {
		r := b.reservation(may, "p")
		r.Minor = 1
		wg.Go(func() {
			won := false
			err := b.try(store.Reads{Incomes: []store.IncomeKey{may}}, func(rows *store.Rows, c *store.Changes) error {
				i := rows.Incomes[may]
				i.IncomeKey = may
				if won = i.Held < fit; won {
					i.Held++
					c.Incomes, c.Reservations = append(c.Incomes, i), append(c.Reservations, r)
				}
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				b.Errorf("reserve: %v", err)
			} else if won {
				wins++
			}
		})
	}
	wg.Wait()
	i, err := b.Income(b.ctx, may)
	b.must(err)
	if wins != fit || i.Held != fit {
		b.Errorf("%d of %d have reserved, the sum is %d; want %d", wins, users, i.Held, fit)
	}
}
