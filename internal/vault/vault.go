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
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
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

// Vault seals and opens card numbers. It is safe for concurrent use, keeps
// nothing and prints as "[secret]".
type Vault struct {
	aead        tink.AEAD
	fingerprint *prf.Set
}

// New returns a Vault over keys made by Generate or ParseKeys; fault.Internal
// for the zero Keys.
func New(keys Keys) (*Vault, error) {
	if keys.secret == nil {
		return nil, fault.New(fault.Internal, "vault: no keys")
	}
	kek, err := aead.New(keys.secret.encryption)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: key-encryption key")
	}
	fingerprint, err := prf.NewPRFSet(keys.secret.fingerprint)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: fingerprint key")
	}
	return &Vault{
		aead:        aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), kek),
		fingerprint: fingerprint,
	}, nil
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
	ciphertext, err := v.aead.Encrypt(digits, associated(project, card))
	if err != nil {
		return Sealed{}, fault.Wrap(fault.Internal, err, "the card number could not be sealed")
	}
	fingerprint, err := v.fingerprint.ComputePrimaryPRF(digits, fingerprintBytes)
	if err != nil {
		return Sealed{}, fault.Wrap(fault.Internal, err, "the card number could not be sealed")
	}
	return Sealed{Project: project, ID: card, Ciphertext: ciphertext, Fingerprint: fingerprint, CreatedAt: at}, nil
}

// Open returns the digits; the caller clears them after use. Whatever does not
// fit, be it the key, the project, the id, the ciphertext or the fingerprint,
// the error is the same fault.Internal.
func (v *Vault) Open(s Sealed) ([]byte, error) {
	digits, err := v.open(s)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the card number could not be opened")
	}
	return digits, nil
}

func (v *Vault) open(s Sealed) ([]byte, error) {
	digits, err := v.aead.Decrypt(s.Ciphertext, associated(s.Project, s.ID))
	if err != nil {
		return nil, err
	}
	// The fingerprint is not bound to the ciphertext, so that it can be computed
	// anew under another key; a wrong one means that somebody changed the row.
	fingerprint, err := v.fingerprint.ComputePrimaryPRF(digits, fingerprintBytes)
	if err == nil && subtle.ConstantTimeCompare(fingerprint, s.Fingerprint) != 1 {
		err = errors.New("the fingerprint is of another number")
	}
	if err != nil {
		clear(digits)
		return nil, err
	}
	return digits, nil
}

// printPrefix begins with letters, so that the print of a request is no card's
// fingerprint.
const printPrefix = "payoutd request print 1"

// Print keys a hash of a document that may hold a card number. Stored bare,
// the hash would give the number away to whoever tries the few that fit the
// digits shown elsewhere (PCI DSS 3.5.1.1). The error is fault.Internal.
func (v *Vault) Print(hash [32]byte) (keyed [32]byte, err error) {
	b, err := v.fingerprint.ComputePrimaryPRF(append([]byte(printPrefix), hash[:]...), uint32(len(keyed)))
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
	b = binary.BigEndian.AppendUint64(b, uint64(card))
	return append(b, project...)
}
