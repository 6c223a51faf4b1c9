package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/vault"
)

func TestCommandsOfAKeyService(t *testing.T) {
	turn := &kms{wrap: "tr '\\000-\\377' '\\001-\\377\\000'", unwrap: "tr '\\001-\\377\\000' '\\000-\\377'"}
	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	file, err := keys.Wrap(t.Context(), turn)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := vault.Unwrap(t.Context(), file, turn); err != nil || !bytes.Equal(back.Bytes(), keys.Bytes()) {
		t.Errorf("other keys came out: %v", err)
	}
	for _, c := range []struct {
		name string
		kms  kms
		says string
	}{
		{"refused", kms{wrap: "cat >/dev/null; echo wrong PIN >&2; exit 3"}, "exit status 3: wrong PIN"},
		{"nothing written", kms{wrap: "cat >/dev/null"}, "wrote 0 bytes"},
		{"without end", kms{wrap: "head -c 70000 /dev/zero"}, "wrote 70000 bytes"},
		{"no such command", kms{wrap: "payoutd-no-such-command"}, "not found"},
		{"no way to write", kms{unwrap: "cat"}, "--vault-wrap is not set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.kms.Wrap(t.Context(), []byte("key")); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
		})
	}
}

// variableHSM says that the machine must have what TestHardwareModule needs;
// `make test` sets it.
const variableHSM = "PAYOUTD_TEST_HSM"

// TestHardwareModule keeps the vault key under an RSA key that never leaves a
// PKCS #11 module: SoftHSM, which any other takes the place of by its library.
func TestHardwareModule(t *testing.T) {
	var library string
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			library = path
		}
	}
	for _, tool := range []string{"softhsm2-util", "pkcs11-tool", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			library = ""
		}
	}
	if library == "" {
		if os.Getenv(variableHSM) != "" {
			t.Fatal("softhsm2, opensc and openssl are not installed")
		}
		t.Skip("softhsm2, opensc and openssl are not installed")
	}
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(config, []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", config)
	pin := filepath.Join(dir, "pin")
	if err := os.WriteFile(pin, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(dir, "public.pem")
	shell := func(command string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "/bin/sh", "-euc", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	module := "pkcs11-tool --module " + library + " --token-label payoutd --login --pin \"$(cat " + pin + ")\""
	shell("softhsm2-util --init-token --free --label payoutd --pin 1234 --so-pin 4321")
	shell(module + " --keypairgen --key-type rsa:2048 --label vault --id 01")
	shell(module + " --read-object --type pubkey --id 01 --output-file " + public + ".der; openssl pkey -pubin -inform DER -in " + public + ".der -out " + public)

	data := filepath.Join(dir, "data")
	environ := []string{
		"PAYOUTD_VAULT_WRAP=openssl pkeyutl -encrypt -pubin -inkey " + public + " -pkeyopt rsa_padding_mode:oaep",
		"PAYOUTD_VAULT_UNWRAP=" + module + " --decrypt --id 01 --mechanism RSA-PKCS-OAEP --hash-algorithm SHA-1",
	}
	must := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := runCommand(t, environ, append(args, "--data", data)...)
		if code != exitDone {
			t.Fatalf("payoutd %v: %s", args, stderr)
		}
		return stdout
	}
	must("project", "create", "acme", "--public-key", public)
	first, err := os.ReadFile(filepath.Join(data, "vault.key"))
	if err != nil || !vault.Wrapped(first) {
		t.Fatalf("the key file is open: %v", err)
	}
	must("vault", "rotate")
	second, err := os.ReadFile(filepath.Join(data, "vault.key"))
	if err != nil || !vault.Wrapped(second) || bytes.Equal(first, second) {
		t.Fatalf("the key file is open, or the old one: %v", err)
	}
	if out := must("check"); !strings.Contains(out, "the books are clean") {
		t.Errorf("check: %s", out)
	}
	// Without the module, or with a wrong PIN, nothing starts.
	if code, _, stderr := runCommand(t, nil, "check", "--data", data); code != exitFailure || !strings.Contains(stderr, "--vault-unwrap") {
		t.Errorf("without the module: code %d, %s", code, stderr)
	}
	if err := os.WriteFile(pin, []byte("9999"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runCommand(t, environ, "check", "--data", data); code != exitFailure || !strings.Contains(stderr, "the key service did not unwrap the vault key") {
		t.Errorf("with a wrong PIN: code %d, %s", code, stderr)
	}
}
