package vault_test

import (
	"bytes"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/vault"
)

// steps are the keys after each step of a replacement, read back from the file.
func steps(t *testing.T, old vault.Keys, fingerprints bool) (added, promoted, dropped vault.Keys) {
	t.Helper()
	next := func(k vault.Keys, err error) vault.Keys {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if k, err = vault.ParseKeys(k.Bytes()); err != nil {
			t.Fatal(err)
		}
		return k
	}
	added = next(old.Add(fingerprints))
	promoted = next(added.Promote())
	dropped = next(promoted.Drop())
	return added, promoted, dropped
}

func TestKeysAreReplaced(t *testing.T) {
	for _, c := range []struct {
		name         string
		fingerprints bool
	}{{"encryption", false}, {"both", true}} {
		t.Run(c.name, func(t *testing.T) {
			old := generate(t)
			before := old.Bytes()
			added, promoted, dropped := steps(t, old, c.fingerprints)
			if !bytes.Equal(old.Bytes(), before) || old.Several() {
				t.Fatal("the old keys were changed")
			}
			if !added.Several() || added.Promoted() || !promoted.Several() || !promoted.Promoted() || dropped.Several() || !dropped.Promoted() {
				t.Error("the steps can't be told apart")
			}

			if !bytes.Equal(promoted.Check(), added.Check()) || bytes.Equal(added.Check(), old.Check()) || bytes.Equal(dropped.Check(), promoted.Check()) {
				t.Error("the check value tells something else than which keys there are")
			}

			vOld, vAdded, vPromoted, vDropped := openVault(t, old), openVault(t, added), openVault(t, promoted), openVault(t, dropped)
			card := seal(t, vOld, "shop", 1, visa)
			item, token := issue(t, vOld, vault.Item{Partner: "acme", ID: 7, Kind: vault.CardToken}, string(visa))

			// What is sealed while the new key only stands by opens everywhere.
			wantOpen(t, vOld, seal(t, vAdded, "shop", 2, mir))
			wantOpen(t, vPromoted, card)
			wantClosed(t, vOld, seal(t, vPromoted, "shop", 2, mir))
			wantClosed(t, vDropped, card)
			if vAdded.Stale(card.Ciphertext) || !vPromoted.Stale(card.Ciphertext) || !vPromoted.Stale(nil) {
				t.Error("stale rows are not told from fresh ones")
			}

			again, err := vPromoted.Reseal(card)
			if err != nil {
				t.Fatal(err)
			}
			wantOpen(t, vDropped, again)
			if vPromoted.Stale(again.Ciphertext) || bytes.Equal(again.Fingerprint, card.Fingerprint) == c.fingerprints {
				t.Error("the row is not fresh, or has the wrong fingerprint")
			}
			moved, err := vPromoted.ResealItem(item)
			if err != nil {
				t.Fatal(err)
			}
			if content, err := vDropped.OpenItem(moved); err != nil || string(content) != string(visa) {
				t.Errorf("what the token stands for does not open: %v", err)
			}
			if lookup, err := vDropped.LookUp(vault.CardToken, token); err != nil || lookup != item.Lookup {
				t.Errorf("the token is not found any more: %v", err)
			}
			if _, err := openVault(t, generate(t)).Reseal(card); err == nil {
				t.Error("sealed anew by keys that never opened it")
			}
		})
	}
}

func wantOpen(t *testing.T, v *vault.Vault, s vault.Sealed) {
	t.Helper()
	if _, err := v.Open(s); err != nil {
		t.Error(err)
	}
}

// A probe tells the keys that it was made with, and those that came after, from
// all others.
func TestProbe(t *testing.T) {
	old := generate(t)
	added, promoted, dropped := steps(t, old, true)
	mixed := func(member string) vault.Keys {
		parts := members(t, old.Bytes())
		parts[member] = members(t, generate(t).Bytes())[member]
		keys, err := vault.ParseKeys(document(t, parts))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	probe := func(k vault.Keys) []byte {
		b, err := openVault(t, k).Probe()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first, last := probe(old), probe(promoted)
	for _, c := range []struct {
		name        string
		keys        vault.Keys
		first, last bool
	}{
		{"old", old, true, false},
		{"added", added, true, true},
		{"promoted", promoted, true, true},
		{"dropped", dropped, false, true},
		{"others", generate(t), false, false},
		{"another encryption key", mixed("encryption"), false, false},
		{"another fingerprint key", mixed("fingerprint"), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := openVault(t, c.keys)
			if v.Proves(first) != c.first || v.Proves(last) != c.last {
				t.Errorf("proves the first: %v, the last: %v", v.Proves(first), v.Proves(last))
			}
		})
	}
	if v := openVault(t, old); v.Proves(nil) || v.Proves([]byte("abc")) || v.Proves(seal(t, v, "", 0, visa).Ciphertext) {
		t.Error("something else is taken for a probe")
	}
}

func TestStepsRefuse(t *testing.T) {
	var zero vault.Keys
	for name, step := range map[string]func() (vault.Keys, error){
		"add": func() (vault.Keys, error) { return zero.Add(false) }, "promote": zero.Promote, "drop": zero.Drop,
	} {
		if _, err := step(); err == nil || fault.CodeOf(err) != fault.Internal {
			t.Errorf("%s on no keys: %v", name, err)
		}
	}
	added, _, _ := steps(t, generate(t), false)
	if _, err := added.Add(false); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("a second replacement before the first has ended: %v", err)
	}
}

// A vault goes on with other keys while it is in use.
func TestUse(t *testing.T) {
	old := generate(t)
	_, promoted, _ := steps(t, old, false)
	v := openVault(t, old)
	card := seal(t, v, "shop", 1, visa)
	if err := v.Use(promoted); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, v, card)
	if !v.Stale(card.Ciphertext) {
		t.Error("the new key does not seal")
	}
	if err := v.Use(vault.Keys{}); err == nil {
		t.Error("it took no keys")
	}
	wantOpen(t, v, card)
}
