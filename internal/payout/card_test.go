package payout

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/rail"
)

// numbers compares the sealed numbers with those that drafts and payouts which
// have not ended name: it returns those that are missing, and those that nobody
// needs.
func (l *lab) numbers() (missing, spare []id.Card) {
	l.Helper()
	there := map[id.Card]bool{}
	err := l.store.Snapshot(l.Context(), func(s store.Snapshot) error {
		for of, err := range s.Sessions(l.Context(), l.project) {
			if err != nil {
				return err
			}
			names := []*instrument.Instrument{of.Draft.Instrument}
			for i := range of.Payouts {
				switch of.Payouts[i].State {
				case session.Checking, session.Checked, session.Awaiting, session.Confirmed, session.Sent, session.Unclear:
					names = append(names, of.Payouts[i].Details.Instrument)
				}
			}
			for _, i := range names {
				if i == nil || i.Card == nil || i.Card.Sealed == 0 {
					continue
				}
				there[i.Card.Sealed] = true
				if _, err := s.Card(l.Context(), l.project, i.Card.Sealed); err != nil {
					missing = append(missing, i.Card.Sealed)
				}
			}
		}
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	cards, err := l.store.Cards(l.Context(), store.CardKey{}, 100_000)
	if err != nil {
		l.Fatal(err)
	}
	for i := range cards {
		if !there[cards[i].ID] {
			spare = append(spare, cards[i].ID)
		}
	}
	return missing, spare
}

// A number is sealed for as long as somebody may have to be paid to it, and not
// a commit longer.
func TestNumbersGo(t *testing.T) {
	other := strings.Replace(cardBody(100), cardNumber, otherCard, 1)
	create := func(l *lab) id.Session {
		a, err := l.engine.Create(l.Context(), l.call(), l.parse(wire.OpCreate, cardBody(100)))
		if err != nil {
			l.Fatal(err)
		}
		return l.sessionOf(a)
	}
	start := func(l *lab, s id.Session, details string) error {
		call, body := l.call(), fmt.Sprintf(`{"session_id":%q}`, s)
		if details != "" {
			body = strings.TrimSuffix(body, "}") + "," + details[1:]
		}
		call.Key, call.Replay = "start", true
		_, err := l.engine.Start(l.Context(), call, l.parse(wire.OpStart, body))
		return err
	}
	ready := func(l *lab, s id.Session, err error) id.Session {
		if err != nil {
			l.Fatal(err)
		}
		l.receive(session.ReadyToConfirm, s)
		return s
	}
	finish := func(l *lab, s id.Session, err error) {
		if err != nil {
			l.Fatal(err)
		}
		l.receive(session.PaymentFinished, s)
	}
	says := func(l *lab, status rail.Status) {
		l.rails[instrument.KindCard].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
			return rail.Outcome{Status: status, Code: rail.IssuerDeclined}, nil
		})
	}
	for _, c := range []struct {
		name string
		run  func(*lab)
		want string // the numbers that are left
	}{
		{"created", func(l *lab) { create(l) }, cardNumber},
		{"created and cancelled", func(l *lab) {
			if err := l.cancel(create(l)); err != nil {
				l.Fatal(err)
			}
		}, ""},
		{"started as it was", func(l *lab) {
			s := create(l)
			ready(l, s, start(l, s, ""))
		}, cardNumber},
		{"started with the same card", func(l *lab) {
			s := create(l)
			ready(l, s, start(l, s, cardBody(100)))
		}, cardNumber},
		{"started with another card", func(l *lab) {
			s := create(l)
			ready(l, s, start(l, s, other))
		}, otherCard},
		{"started with an account", func(l *lab) {
			s := create(l)
			ready(l, s, start(l, s, accountBody(accountNumber, 100)))
		}, ""},
		{"started twice with the same key", func(l *lab) {
			s := create(l)
			ready(l, s, start(l, s, other))
			if err := start(l, s, other); err != nil {
				l.Fatal(err)
			}
		}, otherCard},
		{"a start that is refused", func(l *lab) {
			s := create(l)
			if err := start(l, s, strings.Replace(other, `"currency":"rub"`, `"currency":"usd"`, 1)); fault.CodeOf(err) != fault.Invalid {
				l.Fatal(err)
			}
		}, cardNumber},
		{"a start that comes too late", func(l *lab) {
			s := create(l)
			if err := l.cancel(s); err != nil {
				l.Fatal(err)
			}
			if err := start(l, s, other); fault.CodeOf(err) != fault.WrongState {
				l.Fatal(err)
			}
		}, ""},
		{"several", func(l *lab) {
			a, err := l.engine.MultiInit(l.Context(), l.call(), l.parse(wire.OpMulti, multiBody(cardBody(100), other)))
			if err != nil {
				l.Fatal(err)
			}
			ready(l, l.sessionOf(a), nil)
		}, cardNumber + otherCard},
		{"several, for want of money", func(l *lab) {
			a, err := l.engine.MultiInit(l.Context(), l.call(), l.parse(wire.OpMulti, multiBody(cardBody(99_999), other)))
			if err != nil {
				l.Fatal(err)
			}
			finish(l, l.sessionOf(a), nil)
		}, ""},
		{"cancelled", func(l *lab) {
			s := ready(l, l.init(cardBody(100)), nil)
			finish(l, s, l.cancel(s))
		}, ""},
		{"not confirmed in time", func(l *lab) {
			s := ready(l, l.init(cardBody(100)), nil)
			l.advance(241 * time.Minute)
			finish(l, s, nil)
		}, ""},
		{"paid", func(l *lab) {
			s := ready(l, l.init(cardBody(100)), nil)
			finish(l, s, l.confirm(s))
		}, ""},
		{"declined", func(l *lab) {
			says(l, rail.Failed)
			s := ready(l, l.init(cardBody(100)), nil)
			finish(l, s, l.confirm(s))
		}, ""},
		{"unclear", func(l *lab) {
			says(l, rail.Unknown)
			s := ready(l, l.init(cardBody(100)), nil)
			if err := l.confirm(s); err != nil {
				l.Fatal(err)
			}
			l.until(s, session.Unclear)
		}, cardNumber},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.rails[instrument.KindCard].query = func(string, int) (rail.Outcome, error) { return rail.Outcome{Status: rail.Unknown}, nil }
			l.start()
			c.run(l)
			if missing, spare := l.numbers(); len(missing)+len(spare) > 0 {
				t.Errorf("%v are missing and %v spare", missing, spare)
			}
			cards, err := l.store.Cards(t.Context(), store.CardKey{}, 100)
			if err != nil {
				t.Fatal(err)
			}
			left := ""
			for i := range cards {
				number, err := l.engine.vault.Open(cards[i])
				if err != nil {
					t.Fatal(err)
				}
				left += string(number)
			}
			if left != c.want {
				t.Errorf("%q is left, want %q", left, c.want)
			}
			l.clean()
			e := l.engine
			l.close()
			if n := len(e.cards.byKey); n != len(cards) {
				t.Errorf("%d are in memory, want %d", n, len(cards))
			}
		})
	}
}

// A session that nobody starts keeps the number that it was created with for its
// time, and can be started later with another. What a payout waits for stays,
// however old, and what nothing names goes.
func TestNumbersOfForgottenDrafts(t *testing.T) {
	l := newLab(t)
	create := func() id.Session {
		a, err := l.engine.Create(t.Context(), l.call(), l.parse(wire.OpCreate, cardBody(100)))
		if err != nil {
			t.Fatal(err)
		}
		return l.sessionOf(a)
	}
	start := func(s id.Session, body string) error {
		_, err := l.engine.Start(t.Context(), l.call(), l.parse(wire.OpStart, strings.Replace(body, "{", fmt.Sprintf(`{"session_id":%q,`, s), 1)))
		return err
	}
	left := func(want int) {
		t.Helper()
		if err := l.engine.wipe(t.Context()); err != nil {
			t.Fatal(err)
		}
		cards, err := l.store.Cards(t.Context(), store.CardKey{}, 100)
		if err != nil || len(cards) != want {
			t.Errorf("%d numbers are left, error %v; want %d", len(cards), err, want)
		}
	}
	forgotten, late, renewed := create(), create(), create()
	l.init(cardBody(100))
	if missing, _ := l.numbers(); len(missing) > 0 {
		t.Fatal("numbers are missing")
	}
	err := l.store.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		lost, err := l.engine.vault.Seal(l.project, id.Card(l.engine.ids.Next()), cardNumber, l.engine.now())
		return &store.Changes{Batch: id.Batch(l.engine.ids.Next()), Cards: []vault.Sealed{lost}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	l.clock.advance(draftLife - time.Minute)
	if err := start(late, `{"metadata":1}`); err != nil {
		t.Errorf("in its time: %v", err)
	}
	left(5)
	l.clock.advance(time.Minute)
	for _, s := range []id.Session{forgotten, renewed} {
		if err := start(s, `{"metadata":1}`); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("after its time: %v", err)
		}
	}
	left(5) // clocks differ
	l.clock.advance(wipeGap)
	left(2) // of the two payouts
	if missing, spare := l.numbers(); len(missing) != 2 || len(spare) != 0 {
		t.Errorf("%v are missing and %v spare, want the numbers of two drafts missing", missing, spare)
	}
	if err := start(renewed, cardBody(100)); err != nil {
		t.Errorf("with the card again: %v", err)
	}
	left(3)
	l.clean()
}
