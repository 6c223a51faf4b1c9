package sign_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/payoutd/payoutd/sign"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func private(t testing.TB, name string) sign.PrivateKey {
	t.Helper()
	k, err := sign.ParsePrivateKey(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t testing.TB, name string) sign.PublicKey {
	t.Helper()
	k, err := sign.ParsePublicKey(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signed(t testing.TB, k sign.PrivateKey, body []byte) string {
	t.Helper()
	s, err := k.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Each kind of key: its file of OpenSSL's and the signature that OpenSSL made.
var kinds = []struct{ name, private, public, signature string }{
	{sign.TypeRSA, "rsa-pkcs1.pem", "rsa-spki.pem", "rsa.signature"},
	{sign.TypeP256, "p256-sec1.pem", "p256-spki.pem", "p256.signature"},
}

func TestVerifyOpenSSL(t *testing.T) {
	body := read(t, "body.json")
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			key := public(t, k.public)
			if err := key.Verify(body, string(read(t, k.signature))); err != nil {
				t.Errorf("a signature of OpenSSL: %v", err)
			}
			if key.Type() != k.name {
				t.Errorf("type %q", key.Type())
			}
		})
	}
}

func TestOpenSSLVerifies(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			raw, err := base64.StdEncoding.DecodeString(signed(t, private(t, k.private), read(t, "body.json")))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "signature")
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), openssl, "dgst", "-sha256",
				"-verify", filepath.Join("testdata", k.public), "-signature", file, "testdata/body.json").CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// The bodies that the published SDK really sends, and some that break a signer
// who parses first.
func TestSignVerify(t *testing.T) {
	bodies := map[string]string{
		"nothing": "", "empty list": "[]", "empty object": "{}", "new line": "{}\n",
		"escaped slash": `{"a":"b\/c"}`, "not JSON": "\x00\xff", "large": strings.Repeat("x", 1<<20),
	}
	for _, k := range kinds {
		key := private(t, k.private)
		for name, body := range bodies {
			t.Run(k.name+" "+name, func(t *testing.T) {
				header := signed(t, key, []byte(body))
				if err := key.Public().Verify([]byte(body), header); err != nil {
					t.Error(err)
				}
				if err := key.Public().Verify([]byte(body+" "), header); !errors.Is(err, sign.ErrSignature) {
					t.Errorf("a body with one more space: %v", err)
				}
			})
		}
	}
}

// RSA over the same body is always the same, so that a webhook's signature can
// be made again.
func TestRSAIsDeterministic(t *testing.T) {
	got := signed(t, private(t, "rsa-pkcs8.pem"), read(t, "body.json"))
	if want := string(read(t, "rsa.signature")); got != want {
		t.Errorf("%s, and OpenSSL has %s", got, want)
	}
}

// reencode changes the bytes of a Base64 signature.
func reencode(t *testing.T, header string, change func([]byte) []byte) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(change(raw))
}

func TestVerifyRefuses(t *testing.T) {
	body := read(t, "body.json")
	for i, k := range kinds {
		key, good := public(t, k.public), string(read(t, k.signature))
		raw, _ := base64.StdEncoding.DecodeString(good)
		other, err := map[string]func() (sign.PrivateKey, error){
			sign.TypeRSA: sign.GenerateRSA, sign.TypeP256: sign.GenerateP256,
		}[k.name]()
		if err != nil {
			t.Fatal(err)
		}
		for name, header := range map[string]string{
			"no signature":             "",
			"only padding":             "====",
			"another key":              signed(t, other, body),
			"another kind of key":      string(read(t, kinds[1-i].signature)),
			"no padding":               strings.TrimRight(good, "="),
			"too much padding":         good + "=",
			"a space before":           " " + good,
			"a new line after":         good + "\n",
			"a new line within":        good[:64] + "\n" + good[64:],
			"a carriage return within": good[:64] + "\r" + good[64:],
			"URL alphabet":             "-_" + good[2:],
			"hexadecimal":              fmt.Sprintf("%x", raw),
			"twice":                    good + good,
			"one byte less":            reencode(t, good, func(b []byte) []byte { return b[:len(b)-1] }),
			"one byte more":            reencode(t, good, func(b []byte) []byte { return append(b, 0) }),
			"a zero before":            reencode(t, good, func(b []byte) []byte { return append([]byte{0}, b...) }),
			"all zero":                 reencode(t, good, func(b []byte) []byte { return make([]byte, len(b)) }),
			"very long":                strings.Repeat("A", 1<<20),
		} {
			t.Run(k.name+" "+name, func(t *testing.T) {
				if err := key.Verify(body, header); !errors.Is(err, sign.ErrSignature) {
					t.Errorf("%q: %v", header[:min(len(header), 80)], err)
				}
			})
		}
	}
}

// Stray bits in the last Base64 character would give one signature two forms.
func TestVerifyRefusesStrayBits(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	good := string(read(t, "rsa.signature")) // 256 bytes: ends in "==", so four bits of its last character are free
	if !strings.HasSuffix(good, "==") {
		t.Fatal("the test needs a signature that ends in ==")
	}
	at := len(good) - 3
	next := alphabet[strings.IndexByte(alphabet, good[at])|1]
	stray := good[:at] + string(next) + "=="
	if loose, err := base64.StdEncoding.DecodeString(stray); err != nil || stray == good {
		t.Fatalf("the test's own signature: %q, %v", loose, err)
	}
	if err := public(t, "rsa-spki.pem").Verify(read(t, "body.json"), stray); !errors.Is(err, sign.ErrSignature) {
		t.Error(err)
	}
}

// A P-256 signature that happens to be short leaves room for a new line below
// the greatest length, and the decoder of Base64 passes over new lines.
func TestVerifyRefusesNewLineInShortSignature(t *testing.T) {
	key, body := private(t, "p256-sec1.pem"), read(t, "body.json")
	for { // about one in a hundred is short
		header := signed(t, key, body)
		if len(header) >= 96 {
			continue
		}
		for _, bad := range []string{header + "\n", "\r\n" + header, header[:10] + "\n" + header[10:]} {
			if err := key.Public().Verify(body, bad); !errors.Is(err, sign.ErrSignature) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		return
	}
}

// order is that of P-256's group.
var order, _ = new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)

// p256Signature takes the two numbers of a DER signature apart.
func p256Signature(der []byte) (r, s *big.Int) {
	r = new(big.Int).SetBytes(der[4 : 4+der[3]])
	return r, new(big.Int).SetBytes(der[4+der[3]+2:])
}

// der writes two numbers as a DER signature.
func der(r, s *big.Int) []byte {
	b, err := asn1.Marshal([]*big.Int{r, s})
	if err != nil {
		panic(err)
	}
	return b
}

// A DER signature has one form, and its numbers are between one and the order
// of the group: nothing that is equal by arithmetic verifies too.
func TestVerifyRefusesLooseDER(t *testing.T) {
	key := public(t, "p256-spki.pem")
	good := string(read(t, "p256.signature"))
	zero, one := new(big.Int), big.NewInt(1)
	numbers := func(change func(r, s *big.Int) (*big.Int, *big.Int)) func([]byte) []byte {
		return func(b []byte) []byte { return der(change(p256Signature(b))) }
	}
	for name, change := range map[string]func([]byte) []byte{
		"padded integer": func(b []byte) []byte {
			// 30 len 02 lenR R…: one more zero before R.
			return append([]byte{b[0], b[1] + 1, b[2], b[3] + 1, 0}, b[4:]...)
		},
		"long length":       func(b []byte) []byte { return append([]byte{b[0], 0x81}, b[1:]...) },
		"indefinite length": func(b []byte) []byte { return append(append([]byte{b[0], 0x80}, b[2:]...), 0, 0) },
		"raw r and s": func(b []byte) []byte {
			r, s := p256Signature(b)
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		},
		"a set":                  func(b []byte) []byte { return append([]byte{0x31}, b[1:]...) },
		"an octet string for r":  func(b []byte) []byte { return append([]byte{b[0], b[1], 4}, b[3:]...) },
		"a length too short":     func(b []byte) []byte { return append([]byte{b[0], b[1] - 1}, b[2:]...) },
		"a length too long":      func(b []byte) []byte { return append([]byte{b[0], b[1] + 1}, b[2:]...) },
		"a byte in the sequence": func(b []byte) []byte { return append([]byte{b[0], b[1] + 1}, append(b[2:], 0)...) },
		"a third number":         func(b []byte) []byte { return append([]byte{b[0], b[1] + 3}, append(b[2:], 2, 1, 1)...) },
		"an empty sequence":      func([]byte) []byte { return []byte{0x30, 0} },
		"an empty number":        func([]byte) []byte { return []byte{0x30, 4, 2, 0, 2, 0} },
		"zero and zero":          numbers(func(_, _ *big.Int) (*big.Int, *big.Int) { return zero, zero }),
		"r is zero":              numbers(func(_, s *big.Int) (*big.Int, *big.Int) { return zero, s }),
		"s is zero":              numbers(func(r, _ *big.Int) (*big.Int, *big.Int) { return r, zero }),
		"one and one":            numbers(func(_, _ *big.Int) (*big.Int, *big.Int) { return one, one }),
		"r is the order":         numbers(func(_, s *big.Int) (*big.Int, *big.Int) { return order, s }),
		"s is the order":         numbers(func(r, _ *big.Int) (*big.Int, *big.Int) { return r, order }),
		"r and the order":        numbers(func(r, s *big.Int) (*big.Int, *big.Int) { return r.Add(r, order), s }),
		"s and the order":        numbers(func(r, s *big.Int) (*big.Int, *big.Int) { return r, s.Add(s, order) }),
		"s less the order":       numbers(func(r, s *big.Int) (*big.Int, *big.Int) { return r, s.Sub(s, order) }),
		"r negative":             numbers(func(r, s *big.Int) (*big.Int, *big.Int) { return r.Neg(r), s }),
		"r and s the other way":  numbers(func(r, s *big.Int) (*big.Int, *big.Int) { return s, r }),
	} {
		t.Run(name, func(t *testing.T) {
			header := reencode(t, good, change)
			if err := key.Verify(read(t, "body.json"), header); !errors.Is(err, sign.ErrSignature) {
				t.Error(err)
			}
		})
	}
}

// An RSA signature is as long as the modulus and below it. One that begins with
// a zero must not be sent without it, as a number would be, nor one with the
// modulus added, which is equal by arithmetic.
func TestVerifyRefusesLooseRSA(t *testing.T) {
	private, key := private(t, "rsa-pkcs1.pem"), public(t, "rsa-spki.pem")
	block, _ := pem.Decode(private.Public().PEM())
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	modulus := parsed.(*rsa.PublicKey).N
	refuse := func(name string, body, raw []byte) {
		if err := key.Verify(body, base64.StdEncoding.EncodeToString(raw)); !errors.Is(err, sign.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var short, added bool
	for n := 0; !short || !added; n++ { // the first is one in some 200
		body := fmt.Append(nil, n)
		raw, err := base64.StdEncoding.DecodeString(signed(t, private, body))
		if err != nil {
			t.Fatal(err)
		}
		if raw[0] == 0 {
			short = true
			refuse("without its zero", body, raw[1:])
			refuse("its zero at the end", body, append(raw[1:], 0))
		}
		if sum := new(big.Int).Add(new(big.Int).SetBytes(raw), modulus); sum.BitLen() <= 2048 {
			added = true
			refuse("with the modulus added", body, sum.FillBytes(make([]byte, 256)))
		}
		refuse("the modulus less it", body, new(big.Int).Sub(modulus, new(big.Int).SetBytes(raw)).FillBytes(make([]byte, 256)))
	}
	refuse("zero", nil, make([]byte, 256))
	refuse("the modulus", nil, modulus.Bytes())
	refuse("the modulus less one", nil, new(big.Int).Sub(modulus, big.NewInt(1)).Bytes())
}

// A signature of the same bytes by the same key in another scheme, or over
// another hash, is none.
func TestVerifyRefusesOtherSchemes(t *testing.T) {
	body := read(t, "body.json")
	sum, long, twice := sha256.Sum256(body), sha512.Sum384(body), sha256.Sum256(body)
	twice = sha256.Sum256(twice[:])
	hexadecimal := fmt.Appendf(nil, "%x", sum)
	block, _ := pem.Decode(read(t, "rsa-pkcs1.pem"))
	rsaKey, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode(read(t, "p256-sec1.pem"))
	ecKey, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, key string
		sign      func() ([]byte, error)
	}{
		{"RSA-PSS", "rsa-spki.pem", func() ([]byte, error) { return rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, sum[:], nil) }},
		{"RSA over SHA-384", "rsa-spki.pem", func() ([]byte, error) { return rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA384, long[:]) }},
		{"RSA without the name of the hash", "rsa-spki.pem", func() ([]byte, error) { return rsa.SignPKCS1v15(nil, rsaKey, 0, sum[:]) }},
		{"RSA over the hash in hex", "rsa-spki.pem", func() ([]byte, error) { return rsa.SignPKCS1v15(nil, rsaKey, 0, hexadecimal) }},
		{"RSA over the hash of the hash", "rsa-spki.pem", func() ([]byte, error) { return rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, twice[:]) }},
		{"P-256 over SHA-384", "p256-spki.pem", func() ([]byte, error) { return ecdsa.SignASN1(rand.Reader, ecKey, long[:]) }},
		{"P-256 over the hash of the hash", "p256-spki.pem", func() ([]byte, error) { return ecdsa.SignASN1(rand.Reader, ecKey, twice[:]) }},
		{"P-256 over the body itself", "p256-spki.pem", func() ([]byte, error) { return ecdsa.SignASN1(rand.Reader, ecKey, body) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := c.sign()
			if err != nil {
				t.Fatal(err)
			}
			if err := public(t, c.key).Verify(body, base64.StdEncoding.EncodeToString(raw)); !errors.Is(err, sign.ErrSignature) {
				t.Error(err)
			}
		})
	}
}

// OpenSSL emits the high or the low one of the two values s and n - s; both
// must verify. So a P-256 signature has two forms, and nothing may take one for
// the name of a request: that is what the idempotency key is for.
func TestVerifyTakesEitherS(t *testing.T) {
	flipped := reencode(t, string(read(t, "p256.signature")), func(b []byte) []byte {
		r, s := p256Signature(b)
		return der(r, s.Sub(order, s))
	})
	if err := public(t, "p256-spki.pem").Verify(read(t, "body.json"), flipped); err != nil {
		t.Error(err)
	}
}

func TestDummiesAcceptNothing(t *testing.T) {
	body := read(t, "body.json")
	// With the exponent 65537 the number 1 is the signature of a body whose
	// padded hash is 1: there is none. The generator of P-256 is the public half
	// of the private key 1, with which anybody can sign.
	rsaOne := make([]byte, 256)
	rsaOne[255] = 1
	sum := sha256.Sum256(body)
	one := make([]byte, 32)
	one[31] = 1
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), one)
	if err != nil {
		t.Fatal(err)
	}
	right, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
	if err != nil || !ecdsa.VerifyASN1(&private.PublicKey, sum[:], right) {
		t.Fatalf("the test's own signature: %v", err)
	}
	var types []string
	for _, dummy := range sign.Dummies {
		types = append(types, dummy.Type())
		for name, header := range map[string]string{
			"empty": "", "one": base64.StdEncoding.EncodeToString(rsaOne), "by the key of the point": base64.StdEncoding.EncodeToString(right),
			"of an RSA key": string(read(t, "rsa.signature")), "of a P-256 key": string(read(t, "p256.signature")),
		} {
			if err := dummy.Verify(body, header); !errors.Is(err, sign.ErrSignature) {
				t.Errorf("%s, %s: %v", dummy.Type(), name, err)
			}
		}
	}
	if want := []string{sign.TypeRSA, sign.TypeP256}; !slices.Equal(types, want) {
		t.Errorf("types %v, want %v", types, want)
	}
}

func TestZeroKeys(t *testing.T) {
	var public sign.PublicKey
	if err := public.Verify(nil, ""); !errors.Is(err, sign.ErrSignature) {
		t.Errorf("zero public key: %v", err)
	}
	if public.PEM() != nil || public.Type() != "" {
		t.Error("the zero public key has a form")
	}
	var private sign.PrivateKey
	if _, err := private.Sign(nil); err == nil {
		t.Error("the zero private key signs")
	}
	if private.PEM() != nil {
		t.Error("the zero private key has a form")
	}
}

func TestPrivateKeyIsNotPrinted(t *testing.T) {
	for _, k := range kinds {
		key := private(t, k.private)
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "key", key)
		text, err := json.Marshal(map[string]any{"key": key})
		if err != nil {
			t.Fatal(err)
		}
		within := struct{ key sign.PrivateKey }{key} // unexported: fmt asks no method
		printed := []string{
			log.String(), string(text), key.String(), key.GoString(),
			fmt.Sprint(key), fmt.Sprintf("%v %+v %#v %s %q %d %x %T", key, key, key, key, key, key, key, key),
			fmt.Sprintf("%v %+v %#v", within, within, within),
		}
		number := secretNumber(t, k.private)
		for _, s := range printed {
			for _, form := range []string{
				string(number.Bytes()), number.String(), fmt.Sprintf("%x", number), fmt.Sprintf("%d", number.Bits()),
				strings.Trim(fmt.Sprint(number.Bytes()), "[]"),
			} {
				if strings.Contains(s, form) {
					t.Errorf("%s: printed %s", k.name, s)
				}
			}
		}
		if !strings.Contains(log.String(), `"key":"[secret]"`) || string(text) != `{"key":"[secret]"}` {
			t.Errorf("%s: log %s, JSON %s", k.name, log.String(), text)
		}
	}
}

// secretNumber is the private exponent or scalar of a key file.
func secretNumber(t *testing.T, name string) *big.Int {
	t.Helper()
	block, _ := pem.Decode(read(t, name))
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k.D
	}
	k, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(raw)
}

// A key may be let go of while it signs elsewhere, and by many at a time.
func TestSignConcurrently(t *testing.T) {
	body := read(t, "body.json")
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			var all sync.WaitGroup
			half := public(t, k.public)
			for range 8 {
				key := private(t, k.private)
				all.Go(func() {
					for range 4 {
						runtime.GC()
						header, err := key.Sign(body)
						if err == nil {
							err = half.Verify(body, header)
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

func BenchmarkSign(b *testing.B) {
	body := read(b, "body.json")
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			key := private(b, k.private)
			for b.Loop() {
				signed(b, key, body)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	body := read(b, "body.json")
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			key, header := public(b, k.public), string(read(b, k.signature))
			for b.Loop() {
				if err := key.Verify(body, header); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("dummy", func(b *testing.B) {
		header := string(read(b, "rsa.signature"))
		for b.Loop() {
			_ = sign.Dummies[0].Verify(body, header)
		}
	})
}

func FuzzVerify(f *testing.F) {
	body := read(f, "body.json")
	for _, k := range kinds {
		f.Add(string(read(f, k.signature)))
	}
	f.Add("")
	f.Add("MAYCAQECAQE=") // r = s = 1
	byRSA, byP256 := public(f, "rsa-spki.pem"), public(f, "p256-spki.pem")
	f.Fuzz(func(t *testing.T, header string) {
		if byRSA.Verify(body, header) == nil && header != string(read(t, "rsa.signature")) {
			t.Error("a second RSA signature of the same body")
		}
		if byP256.Verify(body, header) == nil {
			raw, err := base64.StdEncoding.DecodeString(header)
			if err != nil || base64.StdEncoding.EncodeToString(raw) != header {
				t.Errorf("a signature with two forms: %q", header)
			}
		}
	})
}
