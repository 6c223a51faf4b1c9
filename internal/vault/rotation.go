package vault

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"

	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/payoutd/payoutd/internal/fault"
)

// Keys are replaced in three steps, so that several programs with the same
// keys never meet a row that they can't open: Add on all of them, Promote on
// all of them, and Drop once nothing is left under the old ones.

// Add puts a new encryption key beside the present ones and, if fingerprints
// says so, a new fingerprint key. Nothing is sealed with them yet.
func (k Keys) Add(fingerprints bool) (Keys, error) {
	if k.secret == nil {
		return Keys{}, fault.New(fault.Internal, "vault: no keys")
	}
	if k.Several() {
		return Keys{}, fault.New(fault.WrongState, "the vault key file has more than one key: end the replacement that was begun")
	}
	encryption, err := added(k.secret.encryption, aead.AES256GCMKeyTemplate())
	if err != nil {
		return Keys{}, err
	}
	fingerprint, lookup := k.secret.fingerprint, k.secret.tokens
	if fingerprints {
		lookup = k.secret.lookup()
		if fingerprint, err = added(fingerprint, prf.HMACSHA256PRFKeyTemplate()); err != nil {
			return Keys{}, err
		}
	}
	return newKeys(encryption, fingerprint, lookup)
}

// Promote makes the newest of each the one that seals.
func (k Keys) Promote() (Keys, error) {
	return k.each(func(m *keyset.Manager, h *keyset.Handle) error {
		newest, err := h.Entry(h.Len() - 1)
		if err != nil {
			return err
		}
		return m.SetPrimary(newest.KeyID())
	})
}

// Drop removes all keys but those that seal.
func (k Keys) Drop() (Keys, error) {
	return k.each(func(m *keyset.Manager, h *keyset.Handle) error {
		for i := range h.Len() {
			entry, err := h.Entry(i)
			if err != nil {
				return err
			}
			if entry.IsPrimary() {
				continue
			}
			if err := m.Delete(entry.KeyID()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Several reports whether a replacement is under way.
func (k Keys) Several() bool {
	return k.secret != nil && (k.secret.encryption.Len() > 1 || k.secret.fingerprint.Len() > 1)
}

// Promoted reports whether the newest of each is the one that seals.
func (k Keys) Promoted() bool {
	if k.secret == nil {
		return false
	}
	for _, h := range []*keyset.Handle{k.secret.encryption, k.secret.fingerprint} {
		if newest, err := h.Entry(h.Len() - 1); err != nil || !newest.IsPrimary() {
			return false
		}
	}
	return true
}

func (k Keys) each(change func(*keyset.Manager, *keyset.Handle) error) (Keys, error) {
	if k.secret == nil {
		return Keys{}, fault.New(fault.Internal, "vault: no keys")
	}
	changed := func(h *keyset.Handle) (*keyset.Handle, error) {
		m := keyset.NewManagerFromHandle(h)
		if err := change(m, h); err != nil {
			return nil, fault.Wrap(fault.Internal, err, "vault: change a keyset")
		}
		return m.Handle()
	}
	encryption, err := changed(k.secret.encryption)
	if err != nil {
		return Keys{}, err
	}
	fingerprint, err := changed(k.secret.fingerprint)
	if err != nil {
		return Keys{}, err
	}
	return newKeys(encryption, fingerprint, k.secret.tokens)
}

func added(h *keyset.Handle, template *tinkpb.KeyTemplate) (*keyset.Handle, error) {
	m := keyset.NewManagerFromHandle(h)
	if _, err := m.Add(template); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: make a key")
	}
	return m.Handle()
}

const probeBound = "payoutd vault probe 1"

// Probe is a sealed text that opens under these keys. Stored beside the sealed
// rows it shows at start that the right key file was given; it tells nothing.
// The error is fault.Internal.
func (v *Vault) Probe() ([]byte, error) {
	r := v.keys.Load()
	mark, err := r.fingerprint.ComputePrimaryPRF([]byte(probeBound), fingerprintBytes)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: make a probe")
	}
	lookup, err := r.lookup.ComputePrimaryPRF([]byte(probeBound), fingerprintBytes)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: make a probe")
	}
	probe, err := r.aead.Encrypt(append(mark, lookup...), []byte(probeBound))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: make a probe")
	}
	return probe, nil
}

// Proves reports whether the probe was made with keys that this vault has.
func (v *Vault) Proves(probe []byte) bool {
	r := v.keys.Load()
	text, err := r.aead.Decrypt(probe, []byte(probeBound))
	if err != nil || len(text) != 2*fingerprintBytes {
		return false
	}
	lookup, err := r.lookup.ComputePrimaryPRF([]byte(probeBound), fingerprintBytes)
	if err != nil || subtle.ConstantTimeCompare(lookup, text[fingerprintBytes:]) != 1 {
		return false
	}
	for _, key := range r.fingerprint.PRFs {
		mark, err := key.ComputePRF([]byte(probeBound), fingerprintBytes)
		if err == nil && subtle.ConstantTimeCompare(mark, text[:fingerprintBytes]) == 1 {
			return true
		}
	}
	return false
}

// Stale reports whether a row was sealed with another encryption key than the
// one that seals now. It does not tell fingerprints of an older key: those
// change together with the encryption key.
func (v *Vault) Stale(ciphertext []byte) bool {
	// Tink writes the length of the sealed data key, and begins that with 1 and
	// the id of the key that sealed it.
	const prefix = 4 + 1 + 4
	return len(ciphertext) < prefix || ciphertext[4] != 1 ||
		binary.BigEndian.Uint32(ciphertext[5:prefix]) != v.keys.Load().primary
}

// Reseal seals a card number anew, with the key that seals now: a new data key,
// ciphertext and fingerprint. The error is that of Open or Seal.
func (v *Vault) Reseal(s Sealed) (Sealed, error) {
	digits, err := v.Open(s)
	if err != nil {
		return Sealed{}, err
	}
	defer clear(digits)
	s.Ciphertext, s.Fingerprint, err = v.keys.Load().seal(digits, associated(s.Project, s.ID), bytes.Clone(digits))
	if err != nil {
		return Sealed{}, fault.Wrap(fault.Internal, err, "the card number could not be sealed")
	}
	return s, nil
}

// ResealItem does the same for what a token stands for; the token stays.
func (v *Vault) ResealItem(i Item) (Item, error) {
	content, err := v.OpenItem(i)
	if err != nil {
		return Item{}, err
	}
	defer clear(content)
	i.Ciphertext, i.Fingerprint, err = v.keys.Load().seal(content, i.bound(), i.marked(content))
	if err != nil {
		return Item{}, fault.Wrap(fault.Internal, err, "the content of a token could not be sealed")
	}
	return i, nil
}

// Prove sees that every probe was made with keys that this vault has, and adds
// one of the keys that seal now if there is none: fault.WrongState if a probe
// does not open.
func (v *Vault) Prove(probes [][]byte) ([][]byte, error) {
	fresh := false
	for _, probe := range probes {
		if !v.Proves(probe) {
			return nil, fault.New(fault.WrongState, "the vault key file lacks a key that stored rows are sealed with")
		}
		fresh = fresh || !v.Stale(probe)
	}
	if fresh {
		return probes, nil
	}
	probe, err := v.Probe()
	if err != nil {
		return nil, err
	}
	return append(probes, probe), nil
}
