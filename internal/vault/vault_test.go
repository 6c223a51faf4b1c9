package vault_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/vault"
)

const (
	visa = instrument.PAN("4242424242424242")
	mir  = instrument.PAN("2200000000001317")
)

var sealedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newVault(t testing.TB) *vault.Vault {
	t.Helper()
	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return openVault(t, keys)
}

func openVault(t testing.TB, keys vault.Keys) *vault.Vault {
	t.Helper()
	v, err := vault.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func seal(t testing.TB, v *vault.Vault, project id.Project, card id.Card, pan instrument.PAN) vault.Sealed {
	t.Helper()
	s, err := v.Seal(project, card, pan, sealedAt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantClosed fails the test unless the error is fault.Internal, with the one
// text for all causes and without the number.
func wantClosed(t testing.TB, v *vault.Vault, s vault.Sealed) {
	t.Helper()
	digits, err := v.Open(s)
	if err == nil {
		t.Fatalf("it opened: %d digits", len(digits))
	}
	if digits != nil {
		t.Error("digits beside an error")
	}
	if got := fault.CodeOf(err); got != fault.Internal {
		t.Errorf("code %q, want %q", got, fault.Internal)
	}
	if !strings.Contains(err.Error(), "the card number could not be opened") {
		t.Errorf("error %q", err)
	}
	if strings.Contains(err.Error(), string(visa)) || strings.Contains(err.Error(), string(mir)) {
		t.Errorf("the error holds the number: %q", err)
	}
}

func TestSealOpen(t *testing.T) {
	v := newVault(t)
	s := seal(t, v, "demo", 7, visa)
	if s.Project != "demo" || s.ID != 7 || !s.CreatedAt.Equal(sealedAt) {
		t.Errorf("sealed for %s, %d at %v", s.Project, s.ID, s.CreatedAt)
	}
	if bytes.Contains(s.Ciphertext, []byte(visa)) || bytes.Contains(s.Fingerprint, []byte(visa)) {
		t.Error("the number stands in the sealed form")
	}
	digits, err := v.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	if string(digits) != string(visa) {
		t.Error("another number came out")
	}
}

func TestSealRefusesNoNumber(t *testing.T) {
	if _, err := newVault(t).Seal("demo", 7, "", sealedAt); fault.CodeOf(err) != fault.Internal || err == nil {
		t.Errorf("got %v, want %s", err, fault.Internal)
	}
}

func TestOpenRefuses(t *testing.T) {
	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	v := openVault(t, keys)
	mine, other := seal(t, v, "demo", 7, visa), seal(t, v, "demo", 8, mir)
	theirs := seal(t, v, "acme", 7, mir)
	for _, c := range []struct {
		name string
		make func(s *vault.Sealed)
	}{
		{"the ciphertext of another card", func(s *vault.Sealed) { s.Ciphertext = other.Ciphertext }},
		{"the ciphertext and fingerprint of another card", func(s *vault.Sealed) {
			s.Ciphertext, s.Fingerprint = other.Ciphertext, other.Fingerprint
		}},
		{"the same card of another project", func(s *vault.Sealed) {
			s.Ciphertext, s.Fingerprint = theirs.Ciphertext, theirs.Fingerprint
		}},
		{"another id", func(s *vault.Sealed) { s.ID++ }},
		{"an id with the same low bytes", func(s *vault.Sealed) { s.ID += 1 << 32 }},
		{"no id", func(s *vault.Sealed) { s.ID = 0 }},
		{"another project", func(s *vault.Sealed) { s.Project = "demo2" }},
		{"no project", func(s *vault.Sealed) { s.Project = "" }},
		{"no ciphertext", func(s *vault.Sealed) { s.Ciphertext = nil }},
		{"a cut ciphertext", func(s *vault.Sealed) { s.Ciphertext = s.Ciphertext[:len(s.Ciphertext)-1] }},
		{"a longer ciphertext", func(s *vault.Sealed) { s.Ciphertext = append(bytes.Clone(s.Ciphertext), 0) }},
		{"a ciphertext of four bytes", func(s *vault.Sealed) { s.Ciphertext = []byte{0, 0, 0, 1} }},
		{"a huge length of the data key", func(s *vault.Sealed) {
			s.Ciphertext = append([]byte{0xff, 0xff, 0xff, 0xff}, s.Ciphertext[4:]...)
		}},
		{"the number in clear", func(s *vault.Sealed) { s.Ciphertext = []byte(visa) }},
		{"the fingerprint of another card", func(s *vault.Sealed) { s.Fingerprint = other.Fingerprint }},
		{"no fingerprint", func(s *vault.Sealed) { s.Fingerprint = nil }},
		{"a cut fingerprint", func(s *vault.Sealed) { s.Fingerprint = s.Fingerprint[:31] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mine
			c.make(&s)
			wantClosed(t, v, s)
		})
	}
	t.Run("another key", func(t *testing.T) { wantClosed(t, newVault(t), mine) })
}

func TestFlippedBitDoesNotOpen(t *testing.T) {
	v := newVault(t)
	s := seal(t, v, "demo", 7, visa)
	for _, field := range [][]byte{s.Ciphertext, s.Fingerprint} {
		for i := range len(field) * 8 {
			field[i/8] ^= 1 << (i % 8)
			wantClosed(t, v, s)
			field[i/8] ^= 1 << (i % 8)
		}
	}
	if _, err := v.Open(s); err != nil {
		t.Errorf("with all bits as they were: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	v := newVault(t)
	first := seal(t, v, "demo", 1, visa)
	for _, c := range []struct {
		name string
		with vault.Sealed
		same bool
	}{
		{"the same card again", seal(t, v, "demo", 2, visa), true},
		{"the same card of another project", seal(t, v, "acme", 1, visa), true},
		{"another card", seal(t, v, "demo", 1, mir), false},
		{"the first digits of it", seal(t, v, "demo", 1, visa[:15]), false},
		{"the same card under other keys", seal(t, newVault(t), "demo", 1, visa), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := bytes.Equal(first.Fingerprint, c.with.Fingerprint); got != c.same {
				t.Errorf("same fingerprint: %v, want %v", got, c.same)
			}
			if bytes.Equal(first.Ciphertext, c.with.Ciphertext) {
				t.Error("the same ciphertext twice")
			}
		})
	}
}

// Without the key, the print of a request tells nothing about it.
func TestPrint(t *testing.T) {
	keys := generate(t)
	hash, other := sha256.Sum256([]byte("a request")), sha256.Sum256([]byte("another"))
	made := func(v *vault.Vault, hash [32]byte) [32]byte {
		t.Helper()
		keyed, err := v.Print(hash)
		if err != nil {
			t.Fatal(err)
		}
		return keyed
	}
	v := openVault(t, keys)
	keyed := made(v, hash)
	if keyed == hash || keyed == made(newVault(t), hash) {
		t.Error("the print does not hang on the key")
	}
	if keyed != made(openVault(t, keys), hash) {
		t.Error("the same request has two prints")
	}
	if keyed == made(v, other) {
		t.Error("two requests have the same print")
	}
}

// What was sealed for one place opens there and nowhere else, whatever is
// sealed where.
func TestSealedOpensOnlyInItsPlace(t *testing.T) {
	v := newVault(t)
	projects := rapid.SampledFrom([]id.Project{"a", "b", "ab", "demo", "demo.2"})
	cards := rapid.SampledFrom([]id.Card{1, 2, 256, 1 << 40, 1<<63 - 1})
	pans := rapid.StringMatching(`[0-9]{12,19}`)
	rapid.Check(t, func(t *rapid.T) {
		project, card, pan := projects.Draw(t, "project"), cards.Draw(t, "card"), pans.Draw(t, "pan")
		s, err := v.Seal(project, card, instrument.PAN(pan), sealedAt)
		if err != nil {
			t.Fatal(err)
		}
		moved := s
		moved.Project, moved.ID = projects.Draw(t, "other project"), cards.Draw(t, "other card")
		moved.Ciphertext, moved.Fingerprint = slices.Clone(s.Ciphertext), slices.Clone(s.Fingerprint)
		digits, err := v.Open(moved)
		if home := moved.Project == project && moved.ID == card; (err == nil) != home {
			t.Fatalf("opened at home %v: %v", home, err)
		}
		if err == nil && string(digits) != pan {
			t.Fatal("another number came out")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	v := newVault(b)
	for b.Loop() {
		if _, err := v.Seal("demo", 7, visa, sealedAt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	v := newVault(b)
	s := seal(b, v, "demo", 7, visa)
	for b.Loop() {
		if _, err := v.Open(s); err != nil {
			b.Fatal(err)
		}
	}
}
