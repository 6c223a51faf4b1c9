package vault

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/payoutd/payoutd/internal/fault"
)

// KMS is a key service or a hardware module that keeps one key to itself. It is
// asked when a program starts and when the vault keys change, never for a
// payout: what it wraps is the key that the vault key file is encrypted with.
type KMS interface {
	// Wrap encrypts about a hundred bytes, which every kind of key can take, an
	// RSA key of 2048 bits with OAEP included.
	Wrap(ctx context.Context, key []byte) ([]byte, error)
	// Unwrap is the reverse.
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

// wrapped is a vault key file that only a KMS opens.
type wrapped struct {
	Version int    `json:"version"`
	Wrapped []byte `json:"wrapped_key"` // by the KMS: a Tink keyset in binary form
	Keys    []byte `json:"keys"`        // the document of Keys, encrypted with that
}

// wrappedBound keeps a wrapped document from being taken for something else.
const wrappedBound = "payoutd vault key file 1"

// Wrapped reports whether a vault key file takes a KMS to open.
func Wrapped(b []byte) bool {
	var w wrapped
	return json.Unmarshal(b, &w) == nil && w.Wrapped != nil
}

// Wrap is the content of a vault key file that only this KMS opens. Errors of
// the KMS are fault.Busy: another try may help.
func (k Keys) Wrap(ctx context.Context, kms KMS) ([]byte, error) {
	if k.secret == nil {
		return nil, fault.New(fault.Internal, "vault: no keys")
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: make a key to be wrapped")
	}
	var bare bytes.Buffer
	defer func() { clear(bare.Bytes()) }()
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&bare)); err != nil {
		return nil, fault.New(fault.Internal, "vault: a key can not be written")
	}
	cipher, err := aead.New(handle)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: a key to be wrapped")
	}
	w := wrapped{Version: documentVersion}
	if w.Keys, err = cipher.Encrypt(k.secret.document, []byte(wrappedBound)); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: encrypt the vault keys")
	}
	if w.Wrapped, err = kms.Wrap(ctx, bare.Bytes()); err != nil {
		return nil, fault.Wrap(fault.Busy, err, "the key service did not wrap the vault key")
	}
	// A service that answers without an error and can't undo it would lose every
	// sealed number.
	back, err := kms.Unwrap(ctx, w.Wrapped)
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "the key service did not unwrap what it had wrapped")
	}
	defer clear(back)
	if !bytes.Equal(back, bare.Bytes()) {
		return nil, fault.New(fault.Internal, "the key service unwraps something else than it has wrapped")
	}
	b, err := json.Marshal(w)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "vault: write the vault key file")
	}
	return append(b, '\n'), nil
}

// Unwrap reads a vault key file that takes a KMS to open: fault.Invalid if it is
// none, or is not this KMS's, without a word of the content; fault.Busy if the
// KMS does not answer.
func Unwrap(ctx context.Context, b []byte, kms KMS) (Keys, error) {
	var w wrapped
	in := json.NewDecoder(bytes.NewReader(b))
	in.DisallowUnknownFields()
	if in.Decode(&w) != nil || w.Version != documentVersion || w.Wrapped == nil {
		return Keys{}, fault.New(fault.Invalid, "vault key file: want the wrapped document that payoutd made")
	}
	bare, err := kms.Unwrap(ctx, w.Wrapped)
	if err != nil {
		return Keys{}, fault.Wrap(fault.Busy, err, "the key service did not unwrap the vault key")
	}
	defer clear(bare)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(bare)))
	if err != nil {
		return Keys{}, fault.New(fault.Invalid, "vault key file: the key service gave something else than a key")
	}
	cipher, err := aead.New(handle)
	if err != nil {
		return Keys{}, fault.New(fault.Invalid, "vault key file: the key service gave another kind of key")
	}
	document, err := cipher.Decrypt(w.Keys, []byte(wrappedBound))
	if err != nil {
		return Keys{}, fault.New(fault.Invalid, "vault key file: it was wrapped by another key, or was changed")
	}
	defer clear(document)
	return ParseKeys(document)
}
