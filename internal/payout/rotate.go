package payout

import (
	"context"
	"encoding/json"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
)

// SettingProbes is the store's setting with the probes of all keys that rows may
// be sealed with: who can't open one of them has not the right keys.
const SettingProbes = "vault_probes"

// Keeper keeps the vault keys of an installation.
type Keeper interface {
	// Keys are the present ones.
	Keys() vault.Keys
	// MayKeep is fault.WrongState where the keys come from outside and are not for
	// the program to change.
	MayKeep() error
	// Keep puts others in their place, durably; the error is that of MayKeep, or
	// that they could not be written.
	Keep(ctx context.Context, k vault.Keys) error
}

// Rotation is what came of sealing the vault anew.
type Rotation struct {
	Sealed int `json:"sealed"` // rows that were sealed anew
	Passes int `json:"passes"` // walks over the vault; the last found nothing to do
	// Dropped says that the old keys are gone; else they are to be taken away
	// outside, with `payoutd vault key drop`.
	Dropped bool `json:"dropped"`
}

// rotateRows is how many rows are sealed anew in one transaction: few, so that
// payouts never wait long.
const rotateRows = 128

// Rotate makes a new key the one that seals, seals all of the vault anew with
// it, and drops the old one, while the server goes on. One that was interrupted
// is taken up where it was: rows under the new key are passed over. fingerprints
// replaces the key of those as well. A caller that stops to wait stops it.
// begin, if any, is called when nothing stands against it and nothing is changed
// yet; its error ends it.
//
// Where the keys come from outside, the new one must have been promoted there.
func (e *Engine) Rotate(ctx context.Context, keeper Keeper, fingerprints bool, begin func() error) (Rotation, error) {
	var done Rotation
	if !e.rotating.TryLock() {
		return done, fault.New(fault.Busy, "the vault is being sealed anew by another command")
	}
	defer e.rotating.Unlock()
	if err := Proved(ctx, e.store, e.vault); err != nil {
		return done, err
	}
	keys := keeper.Keys()
	if keys.Several() && !keys.Promoted() {
		return done, fault.New(fault.WrongState, "the new vault key is not promoted: `payoutd vault key promote`, on every node")
	}
	if !keys.Several() {
		if err := keeper.MayKeep(); err != nil {
			return done, err
		}
	}
	if begin != nil {
		if err := begin(); err != nil {
			return done, err
		}
	}
	if !keys.Several() {
		next, err := keys.Add(fingerprints)
		if err == nil {
			next, err = next.Promote()
		}
		if err != nil {
			return done, err
		}
		if err := keeper.Keep(ctx, next); err != nil {
			return done, err
		}
		keys = next
	}
	if err := e.use(ctx, keys); err != nil {
		return done, err
	}
	for {
		done.Passes++
		n, err := e.resealAll(ctx)
		if done.Sealed += n; err != nil {
			return done, err
		}
		e.log.Info("sealed the vault anew", "pass", done.Passes, "rows", n)
		if n == 0 {
			break
		}
	}
	last, err := keys.Drop()
	if err != nil {
		return done, err
	}
	probe, err := e.vault.Probe()
	if err != nil {
		return done, err
	}
	if err := e.putProbes(ctx, [][]byte{probe}); err != nil {
		return done, err
	}
	// This program goes on with the old keys beside the new one: it may have rows
	// in memory that it read before they were sealed anew.
	switch err := keeper.Keep(ctx, last); {
	case err == nil:
		done.Dropped = true
	case fault.CodeOf(err) != fault.WrongState:
		return done, err
	}
	return done, nil
}

// use seals with these keys from now on. When it returns, whatever was sealed
// with the old ones is in the database: it waits until requests that are about
// to be written are, and holds new ones back so long.
func (e *Engine) use(ctx context.Context, keys vault.Keys) error {
	ready, err := vault.New(keys)
	if err != nil {
		return err
	}
	probes, err := e.probes(ctx)
	if err != nil {
		return err
	}
	if probes, err = ready.Prove(probes); err != nil {
		return err
	}
	if err := e.putProbes(ctx, probes); err != nil {
		return err
	}
	e.sealing.Lock()
	err = e.vault.Use(keys)
	e.sealing.Unlock()
	if err != nil {
		return err
	}
	return e.flush(ctx) // in case a caller did not wait for his commit
}

// probes reads the probes of the store; none if nobody has kept any yet.
func (e *Engine) probes(ctx context.Context) (probes [][]byte, err error) {
	b, err := e.store.Setting(ctx, SettingProbes)
	if fault.CodeOf(err) == fault.NotFound {
		return nil, nil
	}
	if err == nil && json.Unmarshal(b, &probes) != nil {
		err = fault.New(fault.Internal, "the setting %s can't be read", SettingProbes)
	}
	return probes, err
}

func (e *Engine) putProbes(ctx context.Context, probes [][]byte) error {
	b, err := json.Marshal(probes)
	if err != nil {
		return err
	}
	return e.store.PutSetting(ctx, SettingProbes, b)
}

// resealAll walks the vault once and tells how many rows it has sealed anew, or
// would have if nobody had changed them first.
func (e *Engine) resealAll(ctx context.Context) (n int, err error) {
	for after := (store.CardKey{}); ; {
		page, err := e.store.Cards(ctx, after, rotateRows)
		if err != nil || len(page) == 0 {
			if err != nil {
				return n, err
			}
			break
		}
		var stale []store.Resealed[vault.Sealed]
		for _, row := range page {
			after = store.CardKey{Project: row.Project, Card: row.ID}
			if !e.vault.Stale(row.Ciphertext) {
				continue
			}
			fresh, err := e.vault.Reseal(row)
			if err != nil {
				return n, err
			}
			stale = append(stale, store.Resealed[vault.Sealed]{Old: row, New: fresh})
		}
		if err := e.reseal(ctx, stale, nil); err != nil {
			return n, err
		}
		n += len(stale)
	}
	for after := (store.ItemKey{}); ; {
		page, err := e.store.Items(ctx, after, rotateRows)
		if err != nil || len(page) == 0 || sabotage == "tokens left under the old key" {
			return n, err
		}
		var stale []store.Resealed[vault.Item]
		for _, row := range page {
			after = store.ItemKey{Partner: row.Partner, Token: row.ID}
			if len(row.Ciphertext) == 0 || !e.vault.Stale(row.Ciphertext) {
				continue
			}
			fresh, err := e.vault.ResealItem(row)
			if err != nil {
				return n, err
			}
			stale = append(stale, store.Resealed[vault.Item]{Old: row, New: fresh})
		}
		if err := e.reseal(ctx, nil, stale); err != nil {
			return n, err
		}
		n += len(stale)
	}
}

func (e *Engine) reseal(ctx context.Context, cards []store.Resealed[vault.Sealed], items []store.Resealed[vault.Item]) error {
	if len(cards)+len(items) == 0 {
		return nil
	}
	_, err := e.store.Reseal(ctx, cards, items)
	return err
}

// VaultState is how the vault stands.
type VaultState struct {
	Keys     int  `json:"keys"` // encryption keys that rows may be under
	Replaced bool `json:"replaced"`
	Cards    int  `json:"cards"`  // sealed card numbers
	Tokens   int  `json:"tokens"` // what tokens stand for, wiped rows left out
	Stale    int  `json:"stale"`  // rows under an old key
	// Next is the step to take in a replacement that is under way: "promote",
	// "rotate" or "drop"; "" if there is none.
	Next string `json:"next,omitempty"`
}

// VaultState counts the rows of the vault and opens none.
func (e *Engine) VaultState(ctx context.Context, keeper Keeper) (VaultState, error) {
	keys := keeper.Keys()
	s, err := e.vaultState(ctx, keys)
	switch {
	case err != nil || !s.Replaced:
	case !keys.Promoted():
		s.Next = "promote"
	case s.Stale == 0 && s.Keys == 1 && keeper.MayKeep() != nil:
		s.Next = "drop"
	default:
		s.Next = "rotate" // which drops as well where it may
	}
	return s, err
}

func (e *Engine) vaultState(ctx context.Context, keys vault.Keys) (VaultState, error) {
	s := VaultState{Keys: 1, Replaced: keys.Several()}
	if probes, err := e.probes(ctx); err != nil {
		return s, err
	} else if len(probes) > 1 {
		s.Keys = len(probes)
	}
	count := func(ciphertext []byte) {
		if e.vault.Stale(ciphertext) {
			s.Stale++
		}
	}
	for after := (store.CardKey{}); ; {
		page, err := e.store.Cards(ctx, after, rotateRows)
		if err != nil {
			return s, err
		}
		if len(page) == 0 {
			break
		}
		for _, row := range page {
			after = store.CardKey{Project: row.Project, Card: row.ID}
			s.Cards++
			count(row.Ciphertext)
		}
	}
	for after := (store.ItemKey{}); ; {
		page, err := e.store.Items(ctx, after, rotateRows)
		if err != nil || len(page) == 0 {
			return s, err
		}
		for _, row := range page {
			after = store.ItemKey{Partner: row.Partner, Token: row.ID}
			if len(row.Ciphertext) > 0 {
				s.Tokens++
				count(row.Ciphertext)
			}
		}
	}
}

// Proved reads and keeps the probes of a store for a vault that is about to be
// used with it: fault.WrongState if it lacks a key that rows may be under.
func Proved(ctx context.Context, s store.Store, v *vault.Vault) error {
	e := &Engine{store: s}
	before, err := e.probes(ctx)
	if err != nil {
		return err
	}
	after, err := v.Prove(before)
	if err != nil || len(after) == len(before) {
		return err
	}
	return e.putProbes(ctx, after)
}
