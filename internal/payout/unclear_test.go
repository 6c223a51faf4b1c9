package payout

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/rail"
)

// One alarm after an hour, whoever asks, however often, and after a restart.
func TestUnclearForLongRaisesOneAlarm(t *testing.T) {
	l := newLab(t)
	l.rails[instrument.KindCard].send = func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{}, errNoAnswer
	}
	l.rails[instrument.KindCard].terms.Visibility = 100 * time.Hour // it is not sent again meanwhile
	l.start()
	s := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirm(s); err != nil {
		t.Fatal(err)
	}
	p := l.until(s, session.Unclear).Payouts[0].ID
	l.stop()
	l.stop = nil
	task := store.Task{TaskKey: store.TaskKey{SessionKey: l.key(s), Payout: p, Kind: store.TaskQuery}}
	ask := func(says rail.Status) (alarms []store.Alarm) {
		t.Helper()
		cmd := &outcome{errand: errand{l.call().Project, task}, says: rail.Outcome{Status: says}, asked: l.engine.now()}
		if _, err := l.engine.do(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
		alarms, err := l.store.Alarms(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		return alarms
	}
	l.clock.advance(unclearMax - time.Minute)
	if a := ask(rail.Unknown); len(a) != 0 {
		t.Errorf("before its time: %+v", a)
	}
	l.clock.advance(2 * time.Minute)
	if a := ask(rail.Accepted); len(a) != 0 {
		t.Errorf("of a payment that the rail knows: %+v", a)
	}
	for range 3 {
		if a := ask(rail.Unknown); len(a) != 1 || a[0].Kind != "payout_unclear" || a[0].Payout != p || !strings.Contains(a[0].Text, " 1h1m0s ") {
			t.Errorf("after it: %+v", a)
		}
		l.clock.advance(unclearMax)
	}
	l.close()
	l.open()
	if a := ask(rail.Unknown); len(a) != 1 {
		t.Errorf("after a restart: %+v", a)
	}
	l.clean()
}
