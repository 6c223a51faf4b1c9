package payout

import (
	"context"
	"database/sql"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // to write past the engine

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/rail"
)

// A check that finds nothing proves something only if it finds what is wrong.
func TestCheckFindsWhatWasChangedBehindTheEngine(t *testing.T) {
	for _, c := range []struct {
		name string
		do   string
		says string // part of a problem that must be found
	}{
		{"amount of an entry", `UPDATE entries SET available = available - 1, held = held + 1 WHERE kind = 'hold'`, "was changed"},
		{"time of an entry", `UPDATE entries SET at = at + 1 WHERE no = 1`, "was changed"},
		{"reference of a deposit", `UPDATE entries SET reference = 'other' WHERE no = 1`, "was changed"},
		{"entry removed in the middle", `DELETE FROM entries WHERE no = 2`, "stands where 2 should"},
		{"last entry removed", `DELETE FROM entries WHERE no = (SELECT max(no) FROM entries)`, "the chain ends"},
		{"balance moved", `UPDATE books SET available = available + 5, deposits = deposits - 5`, "the balances say"},
		{"money held without a payout", `UPDATE books SET available = available - 5, held = held + 5`, "live payouts hold"},
		{"hash replaced", `UPDATE entries SET hash = zeroblob(32) WHERE no = 2`, "was changed"},
		{"paid payout made to fail", `UPDATE payouts SET state = 'failed' WHERE state = 'paid'`, "has the entries"},
		{"failed payout made paid", `UPDATE payouts SET state = 'paid' WHERE state = 'failed'`, "has the entries"},
		{"live payout made to end", `UPDATE payouts SET state = 'cancelled' WHERE state = 'awaiting_confirm'`, "has the entries"},
		{"fee of a payout", `UPDATE payouts SET progress = json_set(progress, '$.fee', 1)`, "want"},
		{"roubles of a quote", `UPDATE payouts SET progress = json_set(progress, '$.quote.amount.minor', 1) WHERE progress LIKE '%quote%'`, "is quoted as"},
		{"price of a quote", `UPDATE payouts SET progress = json_set(progress, '$.quote.price', 8100000000) WHERE progress LIKE '%quote%'`, "is quoted as"},
		{"quote lost", `UPDATE payouts SET progress = json_remove(progress, '$.quote') WHERE progress LIKE '%quote%'`, "without a quote"},
		{"quote invented", `UPDATE payouts SET details = json_set(details, '$.amount.currency', 'RUB')`, "has a quote"},
		{"lock shortened", `UPDATE payouts SET progress = json_set(progress, '$.quote.until', 1) WHERE progress LIKE '%quote%'`, "its rate is locked until"},
		{"proof of a payment lost", `DELETE FROM attempts WHERE outcome = 'accepted'`, "0 accepted"},
		{"proof of a payment invented", `UPDATE attempts SET outcome = 'accepted'`, "1 accepted"},
		{"attempt left open", `UPDATE attempts SET outcome = 'open' WHERE outcome = 'declined'`, "1 open"},
		{"event lost", `DELETE FROM events WHERE type = 'payment_finished'`, "were promised"},
		{"event of another type", `UPDATE events SET type = 'ready_to_confirm'`, "payment_finished, want 1"},
		{"sequence number twice", `UPDATE events SET seq = 1`, "the book counts"},
		{"task lost", `DELETE FROM tasks`, `has the task "", want "expire"`},
		{"task of another kind", `UPDATE tasks SET kind = 'send'`, `has the task "send"`},
		{"session lost", `DELETE FROM sessions WHERE state = 'paid'`, "belong to no session"},
	} {
		t.Run(c.name, func(t *testing.T) { lifeOfThree(t).wantFound(c.do, c.says) })
	}
}

func TestCheckFindsWhatWasChangedInReturns(t *testing.T) {
	for _, c := range []struct {
		name string
		do   string
		says string
	}{
		{"return forgotten", `UPDATE payouts SET state = 'paid' WHERE state = 'returned'`, "its returns do not say so"},
		{"return invented", `UPDATE payouts SET state = 'returned' WHERE state = 'paid'`, "has the entries"},
		{"fee that went back", `UPDATE payouts SET progress = json_set(progress, '$.refunds[0].fee', 1) WHERE state = 'returned'`, "want"},
		{"entry of a return lost", `DELETE FROM entries WHERE kind = 'return'`, "has the entries"},
		{"money in suspense without a return", `UPDATE payouts SET progress = json_remove(progress, '$.refunds') WHERE state = 'paid'`, "in suspense"},
		{"other amount in suspense", `UPDATE payouts SET progress = json_set(progress, '$.refunds[0].amount.minor', 1) WHERE state = 'paid'`, "in suspense"},
		{"partner not told", `UPDATE events SET type = 'ready_to_confirm' WHERE type = 'payment_refunded'`, "0 payment_refunded for 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := returnLab(t)
			s, p := l.paidAccount()
			l.take(p.Rail, back(p, "R-1", 100_00))
			l.receive(session.PaymentRefunded, s)
			_, p = l.paidAccount()
			l.take(p.Rail, back(p, "R-2", 40_00))
			l.clean()
			l.wantFound(c.do, c.says)
		})
	}
}

// wantFound changes the database behind the engine's back, and wants a check to
// find it and say so.
func (l *lab) wantFound(do, says string) {
	l.Helper()
	l.alter(do)
	r, err := Check(l.Context(), l.store)
	if err != nil {
		l.Fatal(err)
	}
	if !strings.Contains(strings.Join(r.Problems, "\n"), says) {
		l.Errorf("problems %q, want one with %q", r.Problems, says)
	}
}

// alter changes rows by hand while the engine is closed.
func (l *lab) alter(do string) {
	l.Helper()
	l.close()
	db, err := sql.Open("sqlite", filepath.Join(l.dir, "payoutd.db"))
	if err != nil {
		l.Fatal(err)
	}
	changed, err := db.Exec(do)
	if err != nil {
		l.Fatal(err)
	}
	if n, _ := changed.RowsAffected(); n == 0 {
		l.Fatal("nothing was changed")
	}
	if err := db.Close(); err != nil {
		l.Fatal(err)
	}
	l.open()
}

// A head that was kept is that of an entry for good, whatever is booked after it.
func TestCheckTellsHeads(t *testing.T) {
	l := lifeOfThree(t)
	kept := l.clean().Heads
	if len(kept) != 1 || kept[0].Project != l.project {
		t.Fatalf("heads %+v", kept)
	}
	l.deposit("1.00")
	r, err := l.engine.Check(t.Context(), kept...)
	if err != nil || !r.Clean() {
		t.Fatalf("%+v, %v", r, err)
	}
	now := r.Heads[0]
	for name, wrong := range map[string]Head{
		"another hash":                {l.project, kept[0].Entries, now.Hash},
		"an entry to come":            {l.project, now.Entries + 1, now.Hash},
		"no entry":                    {l.project, 0, now.Hash},
		"a project that is not there": {"nobody", 1, now.Hash},
	} {
		if r, err := l.engine.Check(t.Context(), now, wrong); err != nil || len(r.Problems) != 1 {
			t.Errorf("%s: %+v, %v; want one problem", name, r, err)
		}
	}
	hashes := map[int64]string{}
	if err := l.store.Snapshot(t.Context(), func(snapshot store.Snapshot) error {
		for e, err := range snapshot.Entries(t.Context(), l.project) {
			if err != nil {
				return err
			}
			hashes[e.No] = hex.EncodeToString(e.Hash[:])
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, h := range []Head{kept[0], now} {
		if h.Hash == "" || hashes[h.Entries] != h.Hash {
			t.Errorf("head %+v, entries %v", h, hashes)
		}
	}
	if now.Entries != kept[0].Entries+1 || now.Entries != int64(len(hashes)) {
		t.Errorf("head %+v after %+v, %d entries", now, kept[0], len(hashes))
	}
}

// lifeOfThree is a book with a paid, a failed and a live payout, the last one in
// foreign currency.
func lifeOfThree(t *testing.T) *lab {
	l := newLab(t, daily)
	l.start()
	card := l.rails[instrument.KindCard]
	paid := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, paid)
	if err := l.confirm(paid); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, paid)
	card.set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined}, nil
	})
	failed := l.init(cardBody(100))
	l.receive(session.ReadyToConfirm, failed)
	if err := l.confirm(failed); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, failed)
	live := l.init(dollars(100))
	l.receive(session.ReadyToConfirm, live)
	l.clean()
	return l
}
