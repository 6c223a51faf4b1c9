package sandbox

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/rail"
)

// secret keys whatever the world derives: fingerprints, from which nobody who
// lacks the file learns a card number, and the numbers that rails make up.
type secret [sha256.Size]byte

// openSecret reads the key, or makes one for a world that is new. A world that
// lost its key would take every payment that is sent again for another one, so
// it is not opened.
func openSecret(path, seed string, fresh bool) (secret, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && fresh {
		if err := createSecret(path, seed); err != nil {
			return secret{}, err
		}
		key, err = os.ReadFile(path)
	}
	if err != nil {
		return secret{}, err
	}
	if len(key) != len(secret{}) {
		return secret{}, fmt.Errorf("%s: %d bytes, want %d", path, len(key), len(secret{}))
	}
	return secret(key), nil
}

// createSecret leaves a whole key or none, and the first one if two processes
// come at once: a link, unlike a rename, does not replace.
func createSecret(path, seed string) error {
	key := sha256.Sum256([]byte(seed))
	if seed == "" {
		_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the program instead
	}
	draft, err := writeDraft(path, key[:])
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(draft) }() // its contents live on under the other name
	if err := os.Link(draft, path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// derive is a keyed hash of the parts, in the order given.
func (s secret) derive(use string, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, s[:])
	_, _ = mac.Write([]byte(use))
	for _, part := range parts {
		_, _ = mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))) // #nosec G115 -- parts are short
		_, _ = mac.Write(part)
	}
	return mac.Sum(nil)
}

// info makes up what a rail tells of a payment: the same for the same
// reference, whenever it is asked.
func (s secret) info(kind instrument.Kind, reference string) rail.Info {
	sum := s.derive("info "+string(kind), []byte(reference))
	switch kind {
	case instrument.KindCard:
		return rail.Info{RRN: decimal(sum[:12]), ARN: decimal(sum[:23]), AuthCode: decimal(sum[23:29])}
	case instrument.KindFPS:
		return rail.Info{FPMessageID: "A" + strings.ToUpper(hex.EncodeToString(sum))[:31]}
	case instrument.KindAccount, instrument.KindWallet: // banks and wallets tell nothing
	}
	return rail.Info{}
}

// decimal turns each byte into a decimal digit.
func decimal(sum []byte) string {
	digits := make([]byte, len(sum))
	for i, b := range sum {
		digits[i] = '0' + b%10
	}
	return string(digits)
}
