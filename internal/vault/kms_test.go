package vault_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/vault"
)

// xorKMS is a KMS that keeps one byte to itself.
type xorKMS struct {
	key    byte
	broken error
	forget bool // it wraps what it can't unwrap
}

func (x *xorKMS) Wrap(_ context.Context, key []byte) ([]byte, error) {
	if x.broken != nil {
		return nil, x.broken
	}
	return x.turn(key), nil
}

func (x *xorKMS) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	if x.broken != nil {
		return nil, x.broken
	}
	if x.forget {
		x.key++
	}
	return x.turn(wrapped), nil
}

func (x *xorKMS) turn(b []byte) []byte {
	b = bytes.Clone(b)
	for i := range b {
		b[i] ^= x.key
	}
	return b
}

func TestWrap(t *testing.T) {
	keys, kms := generate(t), &xorKMS{key: 0x5a}
	file, err := keys.Wrap(t.Context(), kms)
	if err != nil {
		t.Fatal(err)
	}
	if !vault.Wrapped(file) || vault.Wrapped(keys.Bytes()) || vault.Wrapped(nil) {
		t.Error("wrapped files are not told from open ones")
	}
	for _, secret := range secretsOf(t, keys) {
		if bytes.Contains(file, []byte(secret)) {
			t.Error("a key stands in the wrapped file")
		}
	}
	back, err := vault.Unwrap(t.Context(), file, kms)
	if err != nil || !bytes.Equal(back.Bytes(), keys.Bytes()) {
		t.Errorf("other keys came out: %v", err)
	}
	if _, err := vault.ParseKeys(file); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("without the KMS: %v", err)
	}
}

func TestWrapRefuses(t *testing.T) {
	keys := generate(t)
	gone := errors.New("no answer")
	for _, c := range []struct {
		name string
		keys vault.Keys
		kms  *xorKMS
		want fault.Code
	}{
		{"no keys", vault.Keys{}, &xorKMS{}, fault.Internal},
		{"a service that is gone", keys, &xorKMS{broken: gone}, fault.Busy},
		{"a service that forgets", keys, &xorKMS{forget: true}, fault.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			if file, err := c.keys.Wrap(t.Context(), c.kms); file != nil || err == nil || fault.CodeOf(err) != c.want {
				t.Errorf("%d bytes and %v, want %s", len(file), err, c.want)
			}
		})
	}
}

func TestUnwrapRefuses(t *testing.T) {
	keys, kms := generate(t), &xorKMS{key: 0x5a}
	file, err := keys.Wrap(t.Context(), kms)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.Wrap(t.Context(), kms)
	if err != nil {
		t.Fatal(err)
	}
	with := func(member string) []byte {
		parts := members(t, file)
		parts[member] = members(t, other)[member]
		return document(t, parts)
	}
	for _, c := range []struct {
		name string
		file []byte
		kms  *xorKMS
		want fault.Code
	}{
		{"nothing", nil, kms, fault.Invalid},
		{"an open key file", keys.Bytes(), kms, fault.Invalid},
		{"half a file", file[:len(file)/2], kms, fault.Invalid},
		{"keys of another file", with("keys"), kms, fault.Invalid},
		{"a wrapped key of another file", with("wrapped_key"), kms, fault.Invalid},
		{"another service", file, &xorKMS{key: 0x5b}, fault.Invalid},
		{"a service that is gone", file, &xorKMS{broken: errors.New("no answer")}, fault.Busy},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := vault.Unwrap(t.Context(), c.file, c.kms); got.Bytes() != nil || err == nil || fault.CodeOf(err) != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func FuzzUnwrap(f *testing.F) {
	kms := &xorKMS{key: 0x5a}
	file, err := generate(f).Wrap(f.Context(), kms)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`{"version":1,"wrapped_key":"","keys":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if keys, err := vault.Unwrap(t.Context(), b, kms); err != nil && (keys.Bytes() != nil || fault.CodeOf(err) != fault.Invalid) {
			t.Errorf("keys beside an error, or another code: %v", err)
		}
	})
}
