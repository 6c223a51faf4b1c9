// Package sign signs and verifies the bodies of requests and webhooks: RSA
// (PKCS #1 v1.5) or ECDSA on P-256, either with SHA-256, over the raw bytes,
// in one line of standard Base64 (wire reference, core §1.4). What is signed
// is never parsed here, and never written again before it is checked.
package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
)

// Headers of the wire (wire reference, core §1.3 and §1.6). HeaderMode and
// HeaderReplayed are payoutd's own: a repeated key is refused unless the mode
// asks for the first answer again.
const (
	HeaderProject  = "X-PARTNER-PROJECT"
	HeaderSign     = "X-PARTNER-SIGN"
	HeaderKey      = "X-PARTNER-IDEMPOTENCY-KEY"
	HeaderMode     = "X-PARTNER-IDEMPOTENCY-MODE"
	HeaderReplayed = "Idempotency-Replayed"
)

// The types of keys, as Type tells them.
const (
	TypeRSA  = "rsa"
	TypeP256 = "p256"
)

// Bounds of RSA keys. Above the upper one a partner's key would cost us
// milliseconds a request.
const (
	rsaBitsMin = 2048
	rsaBitsMax = 8192
)

// p256BytesMax is the longest DER form of two 256-bit integers: two bytes of
// header each and one of sign, and two for the sequence.
const p256BytesMax = 2 + 2*(2+1+32)

// ErrSignature is every way in which a signature does not match: another key,
// another body, not Base64, of the wrong length. Which of them it was, an
// attacker need not know.
var ErrSignature = errors.New("the signature does not match")

// PublicKey verifies what a partner, or the server, has signed. The zero
// PublicKey verifies nothing.
type PublicKey struct {
	rsa *rsa.PublicKey   // one of the two is set
	ec  *ecdsa.PublicKey // on P-256
	der string           // SPKI
	// dummy keeps Dummies from accepting anything, whoever may have their keys.
	dummy bool
}

// Dummies are a key of each type that accepts no signature, but takes as long
// over it as any other. A request that is refused is checked with those whose
// type no key of its project has, so that the time of the refusal tells neither
// which projects exist nor which keys they have.
//
// The modulus is 2^2048 - 1: any odd number of that length costs the same. The
// point is the generator of P-256.
var Dummies = func() []PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), rsaBitsMin)
	curve := elliptic.P256().Params()
	point := append([]byte{4}, append(curve.Gx.FillBytes(make([]byte, 32)), curve.Gy.FillBytes(make([]byte, 32))...)...)
	ec, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		panic(err)
	}
	var all []PublicKey
	for _, key := range []any{&rsa.PublicKey{N: n.Sub(n, big.NewInt(1)), E: 65537}, ec} {
		k, err := newPublicKey(key)
		if err != nil {
			panic(err)
		}
		k.dummy = true
		all = append(all, k)
	}
	return all
}()

// Verify reports whether header is a signature of body: nil, or ErrSignature.
func (k PublicKey) Verify(body []byte, header string) error {
	signature, ok := decode(header, k.signatureBytesMax())
	if !ok {
		return ErrSignature
	}
	sum := sha256.Sum256(body)
	switch {
	case k.rsa != nil:
		// It refuses any length but that of the modulus.
		ok = rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, sum[:], signature) == nil
	case k.ec != nil:
		// It takes DER only in its one shortest form, and nothing after it.
		ok = ecdsa.VerifyASN1(k.ec, sum[:], signature)
	}
	if !ok || k.dummy {
		return ErrSignature
	}
	return nil
}

// Type is TypeRSA or TypeP256; "" of the zero key.
func (k PublicKey) Type() string {
	switch {
	case k.rsa != nil:
		return TypeRSA
	case k.ec != nil:
		return TypeP256
	}
	return ""
}

// ID names the key: the first 16 hex digits of the SHA-256 of its SPKI form,
// whatever the form in which it was given.
func (k PublicKey) ID() string {
	sum := sha256.Sum256([]byte(k.der))
	return fmt.Sprintf("%x", sum[:8])
}

// signatureBytesMax is how long a signature of this key can be; 0 of the zero
// key, to which no signature fits.
func (k PublicKey) signatureBytesMax() int {
	switch {
	case k.rsa != nil:
		return k.rsa.Size()
	case k.ec != nil:
		return p256BytesMax
	}
	return 0
}

// decode reads Base64 as strictly as its standard is (RFC 4648 §3.5, §4): one
// line, padded, no stray bits, so that each signature has one form.
func decode(header string, bytesMax int) ([]byte, bool) {
	if header == "" || len(header) > base64.StdEncoding.EncodedLen(bytesMax) {
		return nil, false
	}
	if strings.ContainsAny(header, "\r\n") { // the decoder would skip them
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(header)
	return b, err == nil
}

// PrivateKey signs. It prints as "[secret]" everywhere; PEM is the only way to
// its contents. The zero PrivateKey cannot sign.
type PrivateKey struct {
	// Only pointers stand in the struct: fmt prints unexported fields of a struct
	// around this one without asking its methods, and follows none.
	key    crypto.Signer // as it was read
	signer crypto.Signer // the same, or that key in a faster library's hands
	public PublicKey
}

// GenerateRSA makes an RSA key of 2048 bits, which every client can verify.
func GenerateRSA() (PrivateKey, error) {
	k, err := rsa.GenerateKey(rand.Reader, rsaBitsMin)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate an RSA key: %w", err)
	}
	return newPrivateKey(k)
}

// GenerateP256 makes a P-256 key, which signs some 30 times faster than RSA.
func GenerateP256() (PrivateKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate a P-256 key: %w", err)
	}
	return newPrivateKey(k)
}

// Sign returns the signature of body as it goes into HeaderSign.
func (k PrivateKey) Sign(body []byte) (string, error) {
	if k.signer == nil {
		return "", errors.New("sign: no key")
	}
	sum := sha256.Sum256(body)
	signature, err := k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// Public is the half that others verify with.
func (k PrivateKey) Public() PublicKey { return k.public }

const secret = "[secret]"

func (PrivateKey) String() string   { return secret }
func (PrivateKey) GoString() string { return secret }

// Format keeps the key out of every verb of fmt, the wrong ones too.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret) }

// LogValue keeps the key out of logs.
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(secret) }

// MarshalText keeps the key out of JSON.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(secret), nil }
