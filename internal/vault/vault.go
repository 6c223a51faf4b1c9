// Package vault seals card numbers for storage and opens them again for the
// moment of sending. It is the only place where numbers and keys meet; where
// the sealed form is kept, and who may have it opened, is for others to decide.
//
// Each number is encrypted under a data key of its own (AES-256-GCM), and that
// data key under the key-encryption key of the vault's key file, so that the
// key file may one day be replaced by a key service. A keyed fingerprint
// (HMAC-SHA-256) finds the same card again without opening anything.
package vault

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
)

// fingerprintBytes is the whole output of HMAC-SHA-256: two of a billion cards
// never share a fingerprint.
const fingerprintBytes = 32

// Vault seals and opens card numbers and what tokens stand for. It is safe for
// concurrent use, keeps nothing but its keys and prints as "[secret]".
type Vault struct{ keys *atomic.Pointer[ring] }

// ring is the keys ready for use.
type ring struct {
	aead        tink.AEAD
	fingerprint *prf.Set // the primary makes them, all of them find them
	lookup      *prf.Set // of tokens; it stays when the others are rotated
	primary     uint32   // the encryption key that seals
}

// New returns a Vault over keys made by Generate or ParseKeys; fault.Internal
// for the zero Keys.
func New(keys Keys) (*Vault, error) {
	v := &Vault{new(atomic.Pointer[ring])}
	return v, v.Use(keys)
}

// Use takes other keys from now on: fault.Internal for the zero Keys, and the
// old ones stay. What is under way ends with those it began with.
func (v *Vault) Use(keys Keys) error {
	if keys.secret == nil {
		return fault.New(fault.Internal, "vault: no keys")
	}
	kek, err := aead.New(keys.secret.encryption)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "vault: key-encryption key")
	}
	fingerprint, err := prf.NewPRFSet(keys.secret.fingerprint)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "vault: fingerprint key")
	}
	lookup, err := prf.NewPRFSet(keys.secret.lookup())
	if err != nil {
		return fault.Wrap(fault.Internal, err, "vault: lookup key")
	}
	primary, err := keys.secret.encryption.Primary()
	if err != nil {
		return fault.Wrap(fault.Internal, err, "vault: key-encryption key")
	}
	v.keys.Store(&ring{
		aead:        aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), kek),
		fingerprint: fingerprint, lookup: lookup, primary: primary.KeyID(),
	})
	return nil
}

// Seal encrypts the number for this card of this project and no other. Sealed
// twice, the same number has two ciphertexts and one fingerprint, whatever the
// project. The error is fault.Internal.
func (v *Vault) Seal(project id.Project, card id.Card, pan instrument.PAN, at time.Time) (Sealed, error) {
	digits := []byte(pan)
	defer clear(digits)
	if len(digits) == 0 {
		return Sealed{}, fault.New(fault.Internal, "vault: no card number to seal")
	}
	ciphertext, fingerprint, err := v.keys.Load().seal(digits, associated(project, card), bytes.Clone(digits))
	if err != nil {
		return Sealed{}, fault.Wrap(fault.Internal, err, "the card number could not be sealed")
	}
	return Sealed{Project: project, ID: card, Ciphertext: ciphertext, Fingerprint: fingerprint, CreatedAt: at}, nil
}

// Open returns the digits; the caller clears them after use. Whatever does not
// fit, be it the key, the project, the id, the ciphertext or the fingerprint,
// the error is the same fault.Internal.
func (v *Vault) Open(s Sealed) ([]byte, error) {
	digits, err := v.keys.Load().open(s.Ciphertext, s.Fingerprint, associated(s.Project, s.ID), bytes.Clone)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the card number could not be opened")
	}
	return digits, nil
}

// seal encrypts content under a data key of its own, and fingerprints what
// stands for it in marked, which it clears.
func (r *ring) seal(content, bound, marked []byte) (ciphertext, fingerprint []byte, err error) {
	defer clear(marked)
	if ciphertext, err = r.aead.Encrypt(content, bound); err == nil {
		fingerprint, err = r.fingerprint.ComputePrimaryPRF(marked, fingerprintBytes)
	}
	return ciphertext, fingerprint, err
}

func (r *ring) open(ciphertext, fingerprint, bound []byte, marked func([]byte) []byte) ([]byte, error) {
	content, err := r.aead.Decrypt(ciphertext, bound)
	if err != nil {
		return nil, err
	}
	// The fingerprint is not bound to the ciphertext, so that it can be computed
	// anew under another key; a wrong one means that somebody changed the row.
	mark := marked(content)
	defer clear(mark)
	for _, key := range r.fingerprint.PRFs {
		made, err := key.ComputePRF(mark, fingerprintBytes)
		if err == nil && subtle.ConstantTimeCompare(made, fingerprint) == 1 {
			return content, nil
		}
	}
	clear(content)
	return nil, errors.New("the fingerprint is of something else")
}

// lookUp goes by the kind, so that a token of one is unknown as another. Its
// input begins with letters, so that it is no card's fingerprint.
func (r *ring) lookUp(k Kind, t Token) (hash [32]byte, err error) {
	b, err := r.lookup.ComputePrimaryPRF([]byte("payoutd token 1 "+string(k)+" "+string(t)), uint32(len(hash)))
	if err != nil {
		return hash, fault.Wrap(fault.Internal, err, "a token could not be looked up")
	}
	copy(hash[:], b)
	return hash, nil
}

// printPrefix begins with letters, so that the print of a request is no card's
// fingerprint.
const printPrefix = "payoutd request print 1"

// Print keys a hash of a document that may hold a card number. Stored bare,
// the hash would give the number away to whoever tries the few that fit the
// digits shown elsewhere (PCI DSS 3.5.1.1). The error is fault.Internal.
func (v *Vault) Print(hash [32]byte) (keyed [32]byte, err error) {
	b, err := v.keys.Load().fingerprint.ComputePrimaryPRF(append([]byte(printPrefix), hash[:]...), uint32(len(keyed)))
	if err != nil {
		return keyed, fault.Wrap(fault.Internal, err, "the print of a request could not be made")
	}
	copy(keyed[:], b)
	return keyed, nil
}

// Format keeps the keys out of every verb of package fmt.
func (*Vault) Format(f fmt.State, _ rune) { printSecret(f) }

// associated is what a ciphertext is bound to. The id has a fixed length, so
// that no two pairs have the same bytes.
func associated(project id.Project, card id.Card) []byte {
	b := make([]byte, 0, 8+len(project))
	b = binary.BigEndian.AppendUint64(b, uint64(card)) // #nosec G115 -- all bits are kept
	return append(b, project...)
}
