package storetest

import (
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

func operators(b *bed) {
	anna := operator.Operator{Name: "anna", Role: operator.Viewer, Password: "$hash", CreatedAt: noon}
	boris := operator.Operator{Name: "Boris", Role: operator.Admin, Password: "$other", CreatedAt: noon.Add(time.Second)}
	b.must(b.AddOperator(b.ctx, anna))
	b.must(b.AddOperator(b.ctx, boris))
	b.refused(b.AddOperator(b.ctx, operator.Operator{Name: "anna", Role: operator.Admin, Password: "$mine"}), fault.Invalid, "a name that is taken")
	all, err := b.Operators(b.ctx)
	b.must(err)
	same(b, "operators", all, []operator.Operator{boris, anna})
	got, err := b.Operator(b.ctx, "anna")
	b.must(err)
	same(b, "anna", got, anna)
	_, err = b.Operator(b.ctx, "ANNA")
	b.refused(err, fault.NotFound, "a name in other letters")

	anna.Role, anna.Password = operator.Accountant, "$new"
	b.must(b.SetOperator(b.ctx, operator.Operator{Name: "anna", Role: anna.Role, Password: anna.Password, CreatedAt: noon.Add(time.Hour)}))
	got, err = b.Operator(b.ctx, "anna")
	b.must(err)
	same(b, "anna, changed", got, anna)
	b.refused(b.SetOperator(b.ctx, operator.Operator{Name: "clara"}), fault.NotFound, "a change of nobody")
	b.refused(b.RemoveOperator(b.ctx, "clara"), fault.NotFound, "a removal of nobody")
	b.must(b.RemoveOperator(b.ctx, "anna"))
	_, err = b.Operator(b.ctx, "anna")
	b.refused(err, fault.NotFound, "one that was removed")
}

// logins end by themselves, with a change of their operator, and with him.
func logins(b *bed) {
	people := map[string]operator.Operator{}
	for _, name := range []string{"anna", "boris"} {
		people[name] = operator.Operator{Name: name, Role: operator.Viewer, Password: "$hash", CreatedAt: noon}
		b.must(b.AddOperator(b.ctx, people[name]))
	}
	add := func(n byte, name string, ends time.Duration, now time.Time) operator.Login {
		b.Helper()
		l := operator.Login{Hash: [32]byte{n, 0xff}, Operator: name, CreatedAt: noon, EndsAt: noon.Add(ends)}
		b.must(b.AddLogin(b.ctx, l, now))
		return l
	}
	gone := func(l operator.Login, why string) {
		b.Helper()
		_, _, err := b.Login(b.ctx, l.Hash)
		b.refused(err, fault.NotFound, why)
	}
	there := func(l operator.Login) {
		b.Helper()
		got, of, err := b.Login(b.ctx, l.Hash)
		b.must(err)
		same(b, "login", got, l)
		same(b, "its operator", of, people[l.Operator])
	}
	short, long, other := add(1, "anna", time.Minute, noon), add(2, "anna", time.Hour, noon), add(3, "boris", time.Hour, noon)
	for _, l := range []operator.Login{short, long, other} {
		there(l)
	}
	long.EndsAt = noon.Add(2 * time.Hour)
	b.must(b.KeepLogin(b.ctx, long.Hash, long.EndsAt))
	there(long)
	there(other)
	fourth := add(4, "anna", time.Hour, noon.Add(time.Minute))
	gone(short, "one that has ended")
	there(long)
	b.must(b.EndLogin(b.ctx, fourth.Hash))
	b.must(b.EndLogin(b.ctx, fourth.Hash)) // twice is no error
	b.must(b.KeepLogin(b.ctx, fourth.Hash, noon.Add(time.Hour)))
	gone(fourth, "one that was ended")
	there(long)
	anna := people["anna"]
	anna.Role = operator.Admin
	b.must(b.SetOperator(b.ctx, anna))
	gone(long, "one of before the change")
	there(other)
	b.must(b.RemoveOperator(b.ctx, "boris"))
	gone(other, "one of somebody who was removed")
}

func sessionsNewestFirst(b *bed) {
	b.project("p", 0)
	b.project("q", 0)
	var all []*session.Session
	for range 5 {
		b.stored("q")
		one := b.full("p")
		b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, one) })
		all = append(all, b.session(keyOf(one)))
	}
	for _, test := range []struct {
		name          string
		after, before id.Session
		limit         int
		want          []int
		more          bool
	}{
		{"all", 0, 0, 10, []int{4, 3, 2, 1, 0}, false},
		{"as many as there are", 0, 0, 5, []int{4, 3, 2, 1, 0}, false},
		{"the first page", 0, 0, 2, []int{4, 3}, true},
		{"the second", 0, all[3].ID, 2, []int{2, 1}, true},
		{"the last", 0, all[1].ID, 2, []int{0}, false},
		{"between", all[0].ID, all[3].ID, 10, []int{2, 1}, false},
		{"between, by page", all[0].ID, all[4].ID, 2, []int{3, 2}, true},
		{"nothing", all[4].ID, 0, 10, nil, false},
		{"no limit", 0, 0, 0, nil, false},
	} {
		got, next, err := b.Sessions(b.ctx, store.SessionQuery{Project: "p", After: test.after, Before: test.before, Limit: test.limit})
		b.must(err)
		var want []*session.Session
		for _, n := range test.want {
			want = append(want, all[n])
		}
		same(b, test.name, got, want)
		same(b, test.name+", more", next != 0, test.more)
		if test.more {
			same(b, test.name+", next", next, want[len(want)-1].ID)
		}
	}
}

// sessionsInAState looks for a rare state, no further back than it may.
func sessionsInAState(b *bed) {
	b.project("p", 0)
	var all []id.Session
	for n := range 12 {
		s := b.start("p")
		if n%4 == 0 {
			s.State = session.Unclear
		}
		b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, s) })
		all = append(all, s.ID)
	}
	for _, test := range []struct {
		name        string
		before      int
		limit, scan int
		want        []int
		next        int // -1 for none
	}{
		{"all", 12, 10, 100, []int{8, 4, 0}, -1},
		{"two of three", 12, 2, 100, []int{8, 4}, 4},
		{"the third", 4, 2, 100, []int{0}, -1},
		{"as far as it may look", 12, 2, 6, []int{8}, 6},
		{"nothing as far as it may look", 8, 2, 3, nil, 5},
		{"exactly to the end", 4, 2, 4, []int{0}, 0},
	} {
		q := store.SessionQuery{Project: "p", State: session.Unclear, Limit: test.limit, Scan: test.scan}
		if test.before < len(all) {
			q.Before = all[test.before]
		}
		got, next, err := b.Sessions(b.ctx, q)
		b.must(err)
		var want []id.Session
		for _, n := range test.want {
			want = append(want, all[n])
		}
		same(b, test.name, each(got, func(s *session.Session) id.Session { return s.ID }), want)
		wantNext := id.Session(0)
		if test.next >= 0 {
			wantNext = all[test.next]
		}
		same(b, test.name+", next", next, wantNext)
	}
}
