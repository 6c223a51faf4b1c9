package payout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
)

// keyFile is a Keeper in memory.
type keyFile struct {
	mu      sync.Mutex
	keys    vault.Keys
	outside bool
}

func (f *keyFile) Keys() vault.Keys {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys
}

func (f *keyFile) MayKeep() error {
	if f.outside {
		return fault.New(fault.WrongState, "the keys come from outside")
	}
	return nil
}

func (f *keyFile) Keep(_ context.Context, k vault.Keys) error {
	if err := f.MayKeep(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = k
	return nil
}

// opensAll says that a vault opens each row of the store, and that none is
// under an older key.
func (l *lab) opensAll(keys vault.Keys) (rows int) {
	l.Helper()
	v, err := vault.New(keys)
	if err != nil {
		l.Fatal(err)
	}
	cards, err := l.store.Cards(l.Context(), store.CardKey{}, 100_000)
	if err != nil {
		l.Fatal(err)
	}
	items, err := l.store.Items(l.Context(), store.ItemKey{}, 100_000)
	if err != nil {
		l.Fatal(err)
	}
	for _, row := range cards {
		if _, err := v.Open(row); err != nil || v.Stale(row.Ciphertext) {
			l.Errorf("card %d of %s: %v", row.ID, row.Project, err)
		}
	}
	for _, row := range items {
		if len(row.Ciphertext) == 0 {
			continue
		}
		if _, err := v.OpenItem(row); err != nil || v.Stale(row.Ciphertext) {
			l.Errorf("%s of %s: %v", row.ID, row.Partner, err)
		}
	}
	return len(cards) + len(items)
}

func TestRotate(t *testing.T) {
	for _, fingerprints := range []bool{false, true} {
		t.Run(fmt.Sprint("fingerprints ", fingerprints), func(t *testing.T) {
			l := newLab(t)
			got := l.reached()
			old := l.keys
			file := &keyFile{keys: old}
			tokens := map[vault.Kind]vault.Token{}
			for _, kind := range payable {
				tokens[kind], _ = l.issued(kind)
			}
			waiting := l.init(cardBody(100)) // sealed under the old key, sent under the new one
			done, err := l.engine.Rotate(t.Context(), file, fingerprints, nil)
			if err != nil || done.Sealed != len(payable)+1 || !done.Dropped || done.Passes < 2 {
				t.Fatalf("%+v, %v", done, err)
			}
			if file.keys.Several() {
				t.Error("the old key is still in the file")
			}
			l.opensAll(file.keys)
			if v, err := vault.New(old); err != nil || Proved(t.Context(), l.store, v) == nil {
				t.Error("the old key file would be taken at a start")
			}

			l.close()
			l.keys = file.keys
			l.open()
			l.start()
			l.receive(session.ReadyToConfirm, waiting)
			if err := l.confirm(waiting); err != nil {
				t.Fatal(err)
			}
			l.receive(session.PaymentFinished, waiting)
			if got.Load() != cardNumber {
				t.Error("another card was paid to")
			}
			for kind, token := range tokens {
				s := l.init(tokenBody(kind, token))
				l.receive(session.ReadyToConfirm, s)
				if err := l.confirm(s); err != nil {
					t.Fatal(err)
				}
				l.receive(session.PaymentFinished, s)
				if l.session(s).State != session.Paid || got.Load() != contentOf(kind) {
					t.Errorf("%s, issued before: %s", kind, l.session(s).State)
				}
			}
			l.clean()
		})
	}
}

// Payouts go on while the vault is sealed anew; none fails, and no row is left
// behind.
func TestRotateUnderLoad(t *testing.T) {
	l := newLab(t)
	l.deposit("100000000.00")
	l.reached()
	l.start()
	token, _ := l.issued(vault.CardToken)
	file := &keyFile{keys: l.keys}
	var (
		wg   sync.WaitGroup
		stop atomic.Bool
		made atomic.Int64
	)
	for n := range 8 {
		wg.Go(func() {
			for !stop.Load() {
				body := cardBody(1)
				if n%2 == 0 {
					body = tokenBody(vault.CardToken, token)
				}
				if _, err := l.engine.TokenizeCard(l.Context(), l.public(), CardInput{Number: []byte(cardNumber)}); err != nil {
					t.Errorf("tokenize: %v", err)
				}
				l.confirmWhenReady(l.init(body))
				made.Add(1)
			}
		})
	}
	for range 3 {
		before := made.Load()
		for made.Load() < before+20 {
			if t.Failed() {
				break
			}
		}
		if _, err := l.engine.Rotate(t.Context(), file, true, nil); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	if rows := l.opensAll(file.keys); int64(rows) < made.Load() {
		t.Errorf("%d rows for %d payouts", rows, made.Load())
	}
	for range made.Load() * 2 {
		h := <-l.hooks
		if h.Type != string(session.PaymentFinished) {
			continue
		}
		if h.Session.Status != "accepted" {
			t.Errorf("session %s ended %s: %s", h.Session.ID, h.Session.Status, h.body)
		}
	}
	l.clean()
}

// breaking is a store that gives up after so many transactions of sealing anew.
type breaking struct {
	store.Store
	left int
}

var errBroken = errors.New("the power failed")

func (b *breaking) Reseal(ctx context.Context, cards []store.Resealed[vault.Sealed], items []store.Resealed[vault.Item]) (int, error) {
	if b.left == 0 {
		return 0, errBroken
	}
	b.left--
	return b.Store.Reseal(ctx, cards, items)
}

// What was interrupted is taken up by the next run, with the key that was made
// for it, and seals only what was left.
func TestRotateResumes(t *testing.T) {
	l := newLab(t)
	for range rotateRows + 10 {
		l.init(cardBody(1))
	}
	l.issued(vault.AccountToken)
	file := &keyFile{keys: l.keys}
	l.engine.store = &breaking{l.store, 1}
	if _, err := l.engine.Rotate(t.Context(), file, false, nil); !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	if !file.keys.Several() || !file.keys.Promoted() {
		t.Fatal("the file has not both keys")
	}
	both := file.keys
	// Neither half of the keys alone may start on such a vault.
	dropped, err := both.Drop()
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]vault.Keys{"old": l.keys, "new": dropped} {
		v, err := vault.New(keys)
		if err != nil {
			t.Fatal(err)
		}
		if err := Proved(t.Context(), l.store, v); fault.CodeOf(err) != fault.WrongState {
			t.Errorf("with the %s key alone: %v", name, err)
		}
	}
	l.close()
	l.keys = both
	l.open()
	l.clean() // it opens with both
	state, err := l.engine.VaultState(t.Context(), file)
	if err != nil || state.Stale != 11 || state.Cards != rotateRows+10 || state.Tokens != 1 || !state.Replaced || state.Keys != 2 {
		t.Errorf("state %+v, %v", state, err)
	}
	done, err := l.engine.Rotate(t.Context(), file, false, nil)
	if err != nil || done.Sealed != 11 || !done.Dropped {
		t.Errorf("resumed: %+v, %v", done, err)
	}
	l.opensAll(file.keys)
}

// Keys that come from outside are changed outside, step by step.
func TestRotateWithKeysFromOutside(t *testing.T) {
	l := newLab(t)
	l.init(cardBody(1))
	file := &keyFile{keys: l.keys, outside: true}
	if _, err := l.engine.Rotate(t.Context(), file, false, nil); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("with one key: %v", err)
	}
	added, err := l.keys.Add(false)
	if err != nil {
		t.Fatal(err)
	}
	file.keys = added
	if _, err := l.engine.Rotate(t.Context(), file, false, nil); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("before the new one is promoted: %v", err)
	}
	if file.keys, err = added.Promote(); err != nil {
		t.Fatal(err)
	}
	done, err := l.engine.Rotate(t.Context(), file, false, nil)
	if err != nil || done.Sealed != 1 || done.Dropped {
		t.Errorf("%+v, %v", done, err)
	}
}
