package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/vault"
)

func generate(t testing.TB) vault.Keys {
	t.Helper()
	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestKeysRoundTrip(t *testing.T) {
	made := generate(t)
	read, err := vault.ParseKeys(made.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read.Bytes(), made.Bytes()) {
		t.Error("the key file changed on the way")
	}
	if !bytes.Equal(read.Check(), made.Check()) {
		t.Error("the check value changed on the way")
	}
	s := seal(t, openVault(t, made), "demo", 7, visa)
	if digits, err := openVault(t, read).Open(s); err != nil || string(digits) != string(visa) {
		t.Errorf("sealed before, opened after: %v", err)
	}
}

func TestKeysCopiesAreTheCallers(t *testing.T) {
	keys := generate(t)
	document, check := keys.Bytes(), keys.Check()
	clear(keys.Bytes())
	clear(keys.Check())
	if !bytes.Equal(keys.Bytes(), document) || !bytes.Equal(keys.Check(), check) {
		t.Error("a caller changed the keys")
	}
}

func TestCheckTellsKeysApart(t *testing.T) {
	a, b := generate(t), generate(t)
	if len(a.Check()) != 32 {
		t.Errorf("%d bytes, want 32", len(a.Check()))
	}
	if bytes.Equal(a.Check(), b.Check()) {
		t.Error("two key files have the same check value")
	}
	// A file mixed of two is as wrong as another file.
	for _, member := range []string{"encryption", "fingerprint"} {
		t.Run("another "+member+" keyset", func(t *testing.T) {
			mixed, other := members(t, a.Bytes()), members(t, b.Bytes())
			mixed[member] = other[member]
			keys, err := vault.ParseKeys(document(t, mixed))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(keys.Check(), a.Check()) {
				t.Error("the same check value")
			}
		})
	}
}

func TestZeroKeys(t *testing.T) {
	var zero vault.Keys
	if zero.Bytes() != nil || zero.Check() != nil {
		t.Error("the zero Keys have content")
	}
	if _, err := vault.New(zero); err == nil || fault.CodeOf(err) != fault.Internal {
		t.Errorf("got %v, want %s", err, fault.Internal)
	}
}

// Keys are rotated by adding one and making it the primary: what was sealed
// before still opens.
func TestRotatedEncryptionKeyset(t *testing.T) {
	old := generate(t)
	s := seal(t, openVault(t, old), "demo", 7, visa)

	parts := members(t, old.Bytes())
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(parts["encryption"])))
	if err != nil {
		t.Fatal(err)
	}
	manager := keyset.NewManagerFromHandle(handle)
	added, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.SetPrimary(added); err != nil {
		t.Fatal(err)
	}
	if handle, err = manager.Handle(); err != nil {
		t.Fatal(err)
	}
	parts["encryption"] = keysetJSON(t, handle)
	rotated, err := vault.ParseKeys(document(t, parts))
	if err != nil {
		t.Fatal(err)
	}

	if digits, err := openVault(t, rotated).Open(s); err != nil || string(digits) != string(visa) {
		t.Errorf("sealed before the rotation: %v", err)
	}
	after := seal(t, openVault(t, rotated), "demo", 7, visa)
	wantClosed(t, openVault(t, old), after)
	if !bytes.Equal(after.Fingerprint, s.Fingerprint) {
		t.Error("the card has another fingerprint since the rotation")
	}
	if bytes.Equal(rotated.Check(), old.Check()) {
		t.Error("the check value does not show the new key")
	}
}

func TestParseKeysRefuses(t *testing.T) {
	good := generate(t).Bytes()
	with := func(member string, value []byte) []byte {
		parts := members(t, good)
		parts[member] = value
		return document(t, parts)
	}
	templated := func(template *tinkpb.KeyTemplate) []byte {
		handle, err := keyset.NewHandle(template)
		if err != nil {
			t.Fatal(err)
		}
		return keysetJSON(t, handle)
	}
	twoPRFs := func() []byte {
		manager := keyset.NewManager()
		for range 2 {
			added, err := manager.Add(prf.HMACSHA256PRFKeyTemplate())
			if err != nil {
				t.Fatal(err)
			}
			if err := manager.SetPrimary(added); err != nil {
				t.Fatal(err)
			}
		}
		handle, err := manager.Handle()
		if err != nil {
			t.Fatal(err)
		}
		return keysetJSON(t, handle)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"nothing", nil, "want the JSON document"},
		{"no JSON", []byte("secret4242"), "want the JSON document"},
		{"a list", []byte(`["secret4242"]`), "want the JSON document"},
		{"half a document", good[:len(good)/2], "want the JSON document"},
		{"two documents", append(bytes.Clone(good), good...), "something follows"},
		{"trailing text", append(bytes.Clone(good), "secret4242"...), "something follows"},
		{"an unknown member", with("secret4242", []byte(`1`)), "want the JSON document"},
		{"another version", with("version", []byte(`2`)), "version 2, want 1"},
		{"an empty object", []byte(`{}`), "version 0, want 1"},
		{"no encryption keyset", with("encryption", []byte(`null`)), "encryption keyset is unreadable"},
		{"an empty encryption keyset", with("encryption", []byte(`{}`)), "encryption keyset is unreadable"},
		{"garbage for encryption", with("encryption", []byte(`"secret4242"`)), "encryption keyset is unreadable"},
		{"no fingerprint keyset", with("fingerprint", []byte(`null`)), "fingerprint keyset is unreadable"},
		{"an AES-128 key", with("encryption", templated(aead.AES128GCMKeyTemplate())), "want AES-256-GCM"},
		{"a ChaCha20 key", with("encryption", templated(aead.ChaCha20Poly1305KeyTemplate())), "want AES-256-GCM"},
		{"a PRF key for encryption", with("encryption", templated(prf.HMACSHA256PRFKeyTemplate())), "want AES-256-GCM"},
		{"an AEAD key for fingerprints", with("fingerprint", templated(aead.AES256GCMKeyTemplate())), "want an HMAC PRF key"},
		{"an AES-CMAC key for fingerprints", with("fingerprint", templated(prf.AESCMACPRFKeyTemplate())), "want an HMAC PRF key"},
		{"two fingerprint keys", with("fingerprint", twoPRFs()), "exactly one fingerprint key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := vault.ParseKeys(c.in)
			if err == nil {
				t.Fatal("accepted")
			}
			if keys.Bytes() != nil {
				t.Error("keys beside an error")
			}
			if fault.CodeOf(err) != fault.Invalid {
				t.Errorf("code %s, want %s", fault.CodeOf(err), fault.Invalid)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
			if strings.Contains(err.Error(), "4242") {
				t.Errorf("the error quotes the file: %q", err)
			}
		})
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add(generate(f).Bytes())
	f.Add([]byte(`{"version":1,"encryption":{},"fingerprint":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := vault.ParseKeys(b)
		if err != nil {
			return
		}
		again, err := vault.ParseKeys(keys.Bytes())
		if err != nil || !bytes.Equal(again.Bytes(), keys.Bytes()) || !bytes.Equal(again.Check(), keys.Check()) {
			t.Errorf("read, written and read again: %v", err)
		}
	})
}

func TestNothingPrintsTheSecrets(t *testing.T) {
	keys := generate(t)
	v := openVault(t, keys)
	pan := visa
	sealed := seal(t, v, "demo", 7, pan)
	secrets := secretsOf(t, keys)
	secrets = append(secrets, string(pan), hex.EncodeToString([]byte(pan)), base64.StdEncoding.EncodeToString([]byte(pan)))

	type holder struct {
		Keys   vault.Keys
		hidden vault.Keys
		Vault  *vault.Vault
		vault  vault.Vault
		Sealed vault.Sealed
	}
	held := holder{keys, keys, v, *v, sealed}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		fmt.Fprintf(&out, verb+"\n", keys)
		fmt.Fprintf(&out, verb+"\n", &keys)
		fmt.Fprintf(&out, verb+"\n", v)
		fmt.Fprintf(&out, verb+"\n", held)
		fmt.Fprintf(&out, verb+"\n", []any{keys, v})
	}
	out.WriteString(keys.String() + keys.GoString())
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("keys", "keys", keys, "pointer", &keys, "pan", pan, "vault", v)
	log = slog.New(slog.NewTextHandler(&out, nil))
	log.Info("keys", "keys", keys, "pointer", &keys, "pan", pan, "vault", v, "held", held)
	for _, secret := range secrets {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q was printed", secret)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %d", keys, keys, keys, keys); got != "[secret] [secret] [secret] [secret]" {
		t.Errorf("printed as %s", got)
	}
	if text, err := json.Marshal(keys); err == nil {
		t.Errorf("encoded as JSON: %s", text)
	}
	if text, err := json.Marshal(map[string]any{"keys": &keys}); err == nil {
		t.Errorf("encoded as JSON within a map: %s", text)
	}
}

// secretsOf returns the key material in the forms in which it could be printed.
func secretsOf(t *testing.T, keys vault.Keys) []string {
	t.Helper()
	var all []string
	for _, member := range []string{"encryption", "fingerprint"} {
		var set struct {
			Key []struct {
				KeyData struct {
					Value []byte `json:"value"`
				} `json:"keyData"`
			} `json:"key"`
		}
		if err := json.Unmarshal(members(t, keys.Bytes())[member], &set); err != nil {
			t.Fatal(err)
		}
		if len(set.Key) != 1 || len(set.Key[0].KeyData.Value) < 32 {
			t.Fatalf("%s: no key found", member)
		}
		value := set.Key[0].KeyData.Value
		bare := value[len(value)-32:] // the last field of the key's protobuf form
		all = append(all, string(bare), hex.EncodeToString(bare), strings.ToUpper(hex.EncodeToString(bare)),
			base64.StdEncoding.EncodeToString(value), strings.Trim(fmt.Sprint(bare), "[]"),
			strings.Trim(strings.ReplaceAll(fmt.Sprintf("%#v", bare[:8]), "[]byte", ""), "{}"))
	}
	return all
}

func members(t testing.TB, b []byte) map[string]json.RawMessage {
	t.Helper()
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		t.Fatal(err)
	}
	return parts
}

func document(t testing.TB, parts map[string]json.RawMessage) []byte {
	t.Helper()
	b, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func keysetJSON(t testing.TB, handle *keyset.Handle) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
