package vault

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"

	"github.com/payoutd/payoutd/internal/fault"
)

const (
	documentVersion = 1
	keyBytes        = 32 // of each key: AES-256 and HMAC-SHA-256
	secretText      = "[secret]"
)

// Keys is the content of the vault key file. It prints as "[secret]" and
// refuses to be part of a JSON document; Bytes is the only way to the keys.
type Keys struct {
	// secret is a pointer because fmt does not ask unexported fields of other
	// types how they print, but does not follow pointers in them either.
	secret *secret
}

type secret struct {
	encryption  *keyset.Handle // AES-256-GCM; the primary seals, all of them open
	fingerprint *keyset.Handle // HMAC-SHA-256 PRF keys; the primary makes fingerprints, all of them find
	tokens      *keyset.Handle // one such key, of the lookup of tokens; nil: the only fingerprint key
	document    []byte
	check       []byte
}

// lookup is the key of tokens. A token can't be hashed anew, since nobody has
// it but its holder: this key stays as it is when the others are replaced.
func (s *secret) lookup() *keyset.Handle {
	if s.tokens != nil {
		return s.tokens
	}
	return s.fingerprint
}

// document is the key file: Tink keysets in their JSON form.
type document struct {
	Version     int             `json:"version"`
	Encryption  json.RawMessage `json:"encryption"`
	Fingerprint json.RawMessage `json:"fingerprint"`
	Lookup      json.RawMessage `json:"lookup,omitempty"`
}

// Generate makes new random keys.
func Generate() (Keys, error) {
	encryption, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return Keys{}, fault.Wrap(fault.Internal, err, "vault: make a key-encryption key")
	}
	fingerprint, err := keyset.NewHandle(prf.HMACSHA256PRFKeyTemplate())
	if err != nil {
		return Keys{}, fault.Wrap(fault.Internal, err, "vault: make a fingerprint key")
	}
	return newKeys(encryption, fingerprint, nil)
}

// ParseKeys is the reverse of Keys.Bytes. The error is fault.Invalid and says
// what is wrong without a word of the content.
func ParseKeys(b []byte) (Keys, error) {
	var d document
	in := json.NewDecoder(bytes.NewReader(b))
	in.DisallowUnknownFields()
	// The decoder's errors quote what they stumbled over, so they are dropped.
	if in.Decode(&d) != nil {
		return Keys{}, fault.New(fault.Invalid, "vault key file: want the JSON document that payoutd made")
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return Keys{}, fault.New(fault.Invalid, "vault key file: something follows the JSON document")
	}
	if d.Version != documentVersion {
		return Keys{}, fault.New(fault.Invalid, "vault key file: version %d, want %d", d.Version, documentVersion)
	}
	encryption, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(d.Encryption)))
	if err != nil {
		return Keys{}, fault.New(fault.Invalid, "vault key file: the encryption keyset is unreadable")
	}
	fingerprint, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(d.Fingerprint)))
	if err != nil {
		return Keys{}, fault.New(fault.Invalid, "vault key file: the fingerprint keyset is unreadable")
	}
	var lookup *keyset.Handle
	if d.Lookup != nil {
		if lookup, err = insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(d.Lookup))); err != nil {
			return Keys{}, fault.New(fault.Invalid, "vault key file: the lookup keyset is unreadable")
		}
	}
	return newKeys(encryption, fingerprint, lookup)
}

func newKeys(encryption, fingerprint, lookup *keyset.Handle) (Keys, error) {
	check, err := checkValue(encryption, fingerprint, lookup)
	if err != nil {
		return Keys{}, err
	}
	d := document{Version: documentVersion}
	if d.Encryption, err = keysetJSON(encryption); err == nil {
		d.Fingerprint, err = keysetJSON(fingerprint)
	}
	if err == nil && lookup != nil {
		d.Lookup, err = keysetJSON(lookup)
	}
	if err != nil {
		return Keys{}, fault.New(fault.Internal, "vault: the keysets can not be written")
	}
	text, err := json.Marshal(d)
	if err != nil {
		return Keys{}, fault.New(fault.Internal, "vault: the keysets can not be written")
	}
	return Keys{&secret{
		encryption:  encryption,
		fingerprint: fingerprint,
		tokens:      lookup,
		document:    append(text, '\n'),
		check:       check,
	}}, nil
}

// checkValue is a PRF, under the key of tokens, over all other keys. It goes
// over the bare keys because their written form is not stable. Its input
// begins with letters, so that it is no card's fingerprint.
func checkValue(encryption, fingerprint, lookup *keyset.Handle) ([]byte, error) {
	input := []byte("payoutd vault key check 1")
	for i := range encryption.Len() {
		entry, err := encryption.Entry(i)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "vault key file: the encryption keyset is unreadable")
		}
		key, ok := entry.Key().(*aesgcm.Key)
		if !ok || key.KeyBytes().Len() != keyBytes {
			return nil, fault.New(fault.Invalid, "vault key file: want AES-256-GCM keys for encryption")
		}
		input = binary.BigEndian.AppendUint32(input, entry.KeyID())
		input = append(input, key.KeyBytes().Data(insecuresecretdataaccess.Token{})...)
	}
	if lookup == nil {
		// It serves for tokens as well, which another would not find again.
		if fingerprint.Len() != 1 {
			return nil, fault.New(fault.Invalid, "vault key file: want exactly one fingerprint key where there is none of tokens")
		}
		lookup = fingerprint
	} else {
		keys, err := prfKeys(fingerprint, "fingerprints")
		if err != nil {
			return nil, err
		}
		input = append(input, keys...)
	}
	if lookup.Len() != 1 {
		return nil, fault.New(fault.Invalid, "vault key file: want exactly one key of tokens")
	}
	if _, err := prfKeys(lookup, "fingerprints"); err != nil {
		return nil, err
	}
	set, err := prf.NewPRFSet(lookup)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "vault key file: the fingerprint key")
	}
	check, err := set.ComputePrimaryPRF(input, fingerprintBytes)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "vault key file: the fingerprint key")
	}
	return check, nil
}

// prfKeys are the bare keys of a keyset of PRFs, with their ids.
func prfKeys(h *keyset.Handle, of string) (bare []byte, err error) {
	for i := range h.Len() {
		entry, err := h.Entry(i)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "vault key file: the keyset of %s is unreadable", of)
		}
		key, ok := entry.Key().(*hmacprf.Key)
		if !ok || key.KeyBytes().Len() < keyBytes {
			return nil, fault.New(fault.Invalid, "vault key file: want an HMAC PRF key of at least %d bytes for %s", keyBytes, of)
		}
		bare = binary.BigEndian.AppendUint32(bare, entry.KeyID())
		bare = append(bare, key.KeyBytes().Data(insecuresecretdataaccess.Token{})...)
	}
	return bare, nil
}

func keysetJSON(h *keyset.Handle) ([]byte, error) {
	var b bytes.Buffer
	err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b))
	return b.Bytes(), err
}

// Bytes is the content of the vault key file: one JSON document with both
// keysets in clear. nil for the zero Keys.
func (k Keys) Bytes() []byte {
	if k.secret == nil {
		return nil
	}
	return bytes.Clone(k.secret.document)
}

// Check is a key check value of 32 bytes that tells nothing about the keys.
// Stored in clear beside the sealed numbers, it shows at start that the wrong
// key file was given. It changes when a key is added or dropped, and not when
// another one is promoted, since the keys are the same. nil for the zero Keys.
func (k Keys) Check() []byte {
	if k.secret == nil {
		return nil
	}
	return bytes.Clone(k.secret.check)
}

func (Keys) String() string   { return secretText }
func (Keys) GoString() string { return secretText }

// Format keeps the keys out of every verb of package fmt.
func (Keys) Format(f fmt.State, _ rune) { printSecret(f) }

// LogValue keeps the keys out of logs.
func (Keys) LogValue() slog.Value { return slog.StringValue(secretText) }

// MarshalJSON refuses: keys in a JSON document are always a mistake.
func (Keys) MarshalJSON() ([]byte, error) {
	return nil, errors.New("vault keys are not for JSON documents")
}

func printSecret(w io.Writer) { _, _ = io.WriteString(w, secretText) }
