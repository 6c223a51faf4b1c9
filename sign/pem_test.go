package sign_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/sign"
)

func TestParseTakesEveryForm(t *testing.T) {
	for _, tt := range []struct {
		name      string
		public    []string // the same key
		private   []string
		canonical string
	}{
		{"rsa", []string{"rsa-spki.pem", "rsa-public-pkcs1.pem"}, []string{"rsa-pkcs1.pem", "rsa-pkcs8.pem"}, "rsa-pkcs8.pem"},
		{"p256", []string{"p256-spki.pem"}, []string{"p256-sec1.pem", "p256-sec1-parameters.pem", "p256-pkcs8.pem"}, "p256-pkcs8.pem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := read(t, tt.public[0])
			block, _ := pem.Decode(want)
			id := fmt.Sprintf("%x", sha256.Sum256(block.Bytes))[:16]
			for _, name := range tt.public {
				if k := public(t, name); !bytes.Equal(k.PEM(), want) || k.ID() != id {
					t.Errorf("%s: id %s, want %s; form %s", name, k.ID(), id, k.PEM())
				}
			}
			for _, name := range tt.private {
				k := private(t, name)
				if !bytes.Equal(k.PEM(), read(t, tt.canonical)) {
					t.Errorf("%s does not print as %s", name, tt.canonical)
				}
				if k.Public().ID() != id {
					t.Errorf("%s: id of the public half %s, want %s", name, k.Public().ID(), id)
				}
			}
		})
	}
}

func TestParseIgnoresSpaceAround(t *testing.T) {
	file := append([]byte("\r\n \n"), bytes.ReplaceAll(read(t, "rsa-spki.pem"), []byte("\n"), []byte("\r\n"))...)
	k, err := sign.ParsePublicKey(append(file, "\n\t\n"...))
	if err != nil || k.ID() != public(t, "rsa-spki.pem").ID() {
		t.Error(err)
	}
}

// spki is a file with an RSA key of chosen numbers.
func spki(t *testing.T, modulus *big.Int, exponent int) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: modulus, E: exponent})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestParsePublicKeyRefuses(t *testing.T) {
	good := read(t, "rsa-spki.pem")
	odd := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2048), big.NewInt(1))
	even := new(big.Int).Sub(odd, big.NewInt(1))
	huge := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 16384), big.NewInt(1))
	for _, tt := range []struct {
		name string
		file []byte
		want string // in the error
	}{
		{"nothing", nil, "not PEM"},
		{"DER", func() []byte { b, _ := pem.Decode(good); return b.Bytes }(), "not PEM"},
		{"text before", append([]byte("key of acme\n"), good...), "not PEM"},
		{"text after", append(bytes.Clone(good), "x"...), "something after"},
		{"two keys", append(bytes.Clone(good), good...), "something after"},
		{"cut off", good[:200], "damaged"},
		{"not Base64", bytes.Replace(good, []byte("MII"), []byte("M*I"), 1), "damaged"},
		{"private key", read(t, "rsa-pkcs1.pem"), "this is a private key"},
		{"private key in PKCS #8", read(t, "p256-pkcs8.pem"), "this is a private key"},
		{"private key on a curve", read(t, "p256-sec1.pem"), "this is a private key"},
		{"private key after the public one", append(bytes.Clone(good), read(t, "rsa-pkcs8.pem")...), "something after"},
		{"encrypted private key", read(t, "rsa-encrypted.pem"), "encrypted"},
		{"certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), `"CERTIFICATE": want`},
		{"RSA of 1024 bits", read(t, "rsa-1024-spki.pem"), "1024 bits is too small: want 2048"},
		{"RSA of 16384 bits", spki(t, huge, 65537), "16384 bits is too large"},
		{"exponent 1", spki(t, odd, 1), "impossible"},
		{"even exponent", spki(t, odd, 4), "impossible"},
		{"even modulus", spki(t, even, 65537), "impossible"},
		{"other curve", read(t, "p384-spki.pem"), "P-384: want P-256"},
		{"Ed25519", read(t, "ed25519-spki.pem"), "want RSA or P-256"},
		{"trailing DER", func() []byte {
			b, _ := pem.Decode(good)
			b.Bytes = append(b.Bytes, 0)
			return pem.EncodeToMemory(b)
		}(), "trailing"},
		{"wrong label", bytes.ReplaceAll(good, []byte("PUBLIC KEY"), []byte("RSA PUBLIC KEY")), "public key:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := sign.ParsePublicKey(tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q in it", err, tt.want)
			}
			if k != (sign.PublicKey{}) {
				t.Error("a key beside the error")
			}
		})
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	good := read(t, "rsa-pkcs8.pem")
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "not PEM"},
		{"public key", read(t, "rsa-spki.pem"), "this is a public key"},
		{"public key in PKCS #1", read(t, "rsa-public-pkcs1.pem"), "this is a public key"},
		{"encrypted", read(t, "rsa-encrypted.pem"), "encrypted"},
		{"encrypted the old way", read(t, "rsa-pkcs1-encrypted.pem"), "encrypted"},
		{"text after", append(bytes.Clone(good), "x"...), "something after"},
		{"only parameters", read(t, "p256-sec1-parameters.pem")[:80], "not PEM"},
		{"other curve", read(t, "p384-sec1.pem"), "P-384: want P-256"},
		{"Ed25519", read(t, "ed25519-pkcs8.pem"), "want RSA or P-256"},
		{"another block", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")}), `"X509 CRL": want`},
		{"damaged", bytes.Replace(good, []byte("MII"), []byte("AAA"), 1), "private key:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sign.ParsePrivateKey(tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q in it", err, tt.want)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
}

func TestGenerate(t *testing.T) {
	for name, generate := range map[string]func() (sign.PrivateKey, error){
		sign.TypeRSA: sign.GenerateRSA, sign.TypeP256: sign.GenerateP256,
	} {
		t.Run(name, func(t *testing.T) {
			k, err := generate()
			if err != nil {
				t.Fatal(err)
			}
			again, err := sign.ParsePrivateKey(k.PEM())
			if err != nil || again.Public().ID() != k.Public().ID() || k.Public().Type() != name {
				t.Errorf("it does not read its own form: %v", err)
			}
			if err := k.Public().Verify([]byte("{}"), signed(t, again, []byte("{}"))); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, name := range []string{
		"rsa-spki.pem", "rsa-public-pkcs1.pem", "p256-spki.pem", "rsa-1024-spki.pem",
		"p384-spki.pem", "ed25519-spki.pem", "rsa-pkcs8.pem", "rsa-encrypted.pem",
	} {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := sign.ParsePublicKey(file)
		if err != nil {
			return
		}
		again, err := sign.ParsePublicKey(k.PEM())
		if err != nil || again.ID() != k.ID() || !bytes.Equal(again.PEM(), k.PEM()) {
			t.Errorf("its own form does not read as the same key: %v", err)
		}
	})
}

func FuzzParsePrivateKey(f *testing.F) {
	for _, name := range []string{
		"rsa-pkcs1.pem", "rsa-pkcs8.pem", "p256-sec1.pem", "p256-sec1-parameters.pem",
		"p256-pkcs8.pem", "p384-sec1.pem", "ed25519-pkcs8.pem", "rsa-pkcs1-encrypted.pem",
	} {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := sign.ParsePrivateKey(file)
		if err != nil {
			return
		}
		again, err := sign.ParsePrivateKey(k.PEM())
		if err != nil || again.Public().ID() != k.Public().ID() {
			t.Errorf("its own form does not read as the same key: %v", err)
		}
	})
}
