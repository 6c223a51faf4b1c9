package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/sqlite"
)

// content is all rows of a database by table, but for those of who is at work.
func content(t *testing.T, path string) map[string][]string {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	all := map[string][]string{}
	if err := s.Dump(t.Context(), func(d store.Dump) error {
		tables, err := d.Tables(t.Context())
		if err != nil {
			return err
		}
		for _, of := range tables {
			if of.Name == "nodes" {
				continue
			}
			for row, err := range d.Rows(t.Context(), of) {
				if err != nil {
					return err
				}
				all[of.Name] = append(all[of.Name], fmt.Sprint(row))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// What each command does on a database that went back, before the restore is
// declared.
const (
	refuses = "refuses" // and leaves the database as it is
	works   = "works"   // reads, or is needed for the restore
	never   = "never"   // it does not come to this database
)

// TestUndeclared gives every command that there is to a database that went back,
// as its folder knows.
func TestUndeclared(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	data, db := filepath.Join(dir, "d"), filepath.Join(dir, "d", "payoutd.db")
	key := publicKeyFile(t)
	wantRun(t, exitDone, "is made", "project", "create", "acme", "--public-key", key, "--data", data)
	wantRun(t, exitDone, "", "deposit", "acme", "10.00", "rub", "--reference", "a", "--data", data)
	wantRun(t, exitDone, "", "operator", "add", "anna", "--role", "viewer", "--data", data)
	both := filepath.Join(dir, "both.key")
	wantRun(t, exitDone, "", "vault", "key", "add", "--out", both, "--data", data)
	environ := map[string][]string{ // of steps that need a second key
		"vault key promote": {"PAYOUTD_VAULT_KEY_FILE=" + both}, "vault key drop": {"PAYOUTD_VAULT_KEY_FILE=" + both},
	}
	later := id.NewNodeGenerator(func() time.Time { return time.Now().Add(time.Minute) }, 1).Next()
	if err := os.WriteFile(filepath.Join(data, "head-1"), fmt.Appendf(nil, "%0*d\n%s\n", headDigits, later, db), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRun(t, exitDone, "no server starts on it", "restored", "show", "--data", data)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rows := []struct{ does, command, args string }{
		{refuses, "serve", "--sandbox-rails --listen 127.0.0.1:0"},
		{refuses, "deposit", "acme 10.00 rub --reference b"},
		{refuses, "project create", "beta --public-key " + key},
		{refuses, "project set", "acme --show-fees"},
		{refuses, "project key add", "acme --public-key " + key},
		{refuses, "project key retire", "acme x"},
		{refuses, "project account add", "acme --type rko --number 40702810900000000001 --name Acme --bik 044525974"},
		{refuses, "webhook replay", "acme --given-up"},
		{refuses, "receipts retry", "po_1"},
		{refuses, "receipts compare", "--day 2026-03-02"},
		{refuses, "archive run", "--to " + out},
		{refuses, "statement import", file("day.csv", "") + " --rail card"},
		{refuses, "token delete", "acme tk_1"},
		{refuses, "token issue", "acme"},
		{refuses, "vault rotate", ""},
		{refuses, "vault key add", "--out " + filepath.Join(out, "add.key")},
		{refuses, "vault key promote", "--out " + filepath.Join(out, "promote.key")},
		{refuses, "vault key drop", "--out " + filepath.Join(out, "drop.key")},
		{refuses, "operator add", "boris --role admin"},
		{refuses, "operator set", "anna --role admin"},
		{refuses, "operator remove", "anna"},
		{refuses, "copy", "--from sqlite:" + db + " --to sqlite:" + filepath.Join(out, "copy.db")},
		{refuses, "restored release", "--despite nothing"},
		{refuses, "restored rate", "acme ps_1 po_1 81.25"},

		{works, "migrate", ""},
		{works, "project list", ""},
		{works, "project show", "acme"},
		{works, "project account list", "acme"},
		{works, "webhook list", "acme"},
		{works, "receipts list", ""},
		{works, "report payouts", "acme --output " + filepath.Join(out, "report.csv")},
		{works, "check", ""},
		{works, "alarms", ""},
		{works, "archive verify", file("none.jsonl.gz", "")},
		{works, "statement list", ""},
		{works, "statement show", "st_1"},
		{works, "token list", "acme"},
		{works, "vault state", ""},
		{works, "operator list", ""},
		{works, "audit", ""},
		{works, "backup", filepath.Join(out, "backup.db")},
		{works, "restored show", ""},
		{works, "restored declare", ""},

		{never, "sandbox", ""}, // nor to any other of a server's
		{never, "payout create", ""},
		{never, "payout status", ""},
		{never, "payout confirm", ""},
		{never, "payout cancel", ""},
		{never, "config", ""},
		{never, "bench", ""},
		{never, "version", ""},
	}
	before := content(t, db)
	known := map[string]bool{}
	for _, row := range rows {
		known[row.command] = true
		if row.does == never {
			continue
		}
		t.Run(row.command, func(t *testing.T) {
			args := append(strings.Fields(row.command), strings.Fields(row.args)...)
			if row.command != "copy" {
				args = append(args, "--data", data)
			}
			code, stdout, stderr := runCommand(t, environ[row.command], args...)
			refused := strings.Contains(stderr, "went back") && strings.Contains(stderr, "declare the restore: payoutd restored declare --data "+data+" --db sqlite:"+db)
			switch {
			case row.does == works && refused, row.does == refuses && (!refused || code != exitFailure || stdout != ""):
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			case row.does == refuses:
				if after := content(t, db); !maps.EqualFunc(after, before, slices.Equal) {
					t.Error("the database has changed")
				}
			}
		})
	}
	var g grammar
	parser, err := kong.New(&g, kong.Name("payoutd"), kong.Bind(&program{}, &g.global), kong.BindTo(t.Context(), (*context.Context)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		if command := leaf.Path(); !known[command] {
			t.Errorf("nobody has said what payoutd %s does on a database that went back", command)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(out, "*.key")); len(left) > 0 {
		t.Errorf("key files were written: %q", left)
	}
	wantRun(t, exitDone, "", "deposit", "acme", "10.00", "rub", "--reference", "b", "--data", data)
}

// TestBackupTellsWhatItLacks names all that a restore needs beside the copy.
func TestBackupTellsWhatItLacks(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "d")
	wantRun(t, exitDone, "is made", "project", "create", "acme", "--public-key", publicKeyFile(t), "--data", data)
	key, err := os.ReadFile(filepath.Join(data, "vault.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		environ []string
		vault   string
	}{
		{"inside", nil, filepath.Join(data, "vault.key") + ";"},
		{"outside", []string{"PAYOUTD_VAULT_KEY=" + string(key)}, "the vault key of PAYOUTD_VAULT_KEY;"},
		{"under a service", []string{"PAYOUTD_VAULT_UNWRAP=cat"}, filepath.Join(data, "vault.key") + " with the key service that it is under;"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, stdout, stderr := runCommand(t, row.environ, "backup", filepath.Join(dir, row.name+".db"), "--data", data)
			for _, part := range []string{row.vault, filepath.Join(data, "server.pem"), filepath.Join(data, "server-p256.pem"), "the files of payoutd archive"} {
				if code != exitDone || !strings.Contains(stdout, part) {
					t.Errorf("code %d, stdout %q, stderr %q; want %q", code, stdout, stderr, part)
				}
			}
		})
	}
}

// What is told of a lost rate must name a session, a payout and a price.
func TestRestoredRate(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	wantRun(t, exitDone, "is made", "project", "create", "acme", "--public-key", publicKeyFile(t), "--data", data)
	for _, c := range []struct{ project, session, payout, rate, says string }{
		{"acme", "7", "po_1", "81.25", "session: "},
		{"acme", "ps_1", "ps_1", "81.25", "payout: "},
		{"acme", "ps_1", "po_1", "usd=81.25", "not a price in roubles such as 81.25"},
		{"acme", "ps_1", "po_1", "81.25", "no such session"},
		{"other", "ps_1", "po_1", "81.25", "no project other"},
	} {
		wantRun(t, exitFailure, c.says, "restored", "rate", c.project, c.session, c.payout, c.rate, "--data", data)
	}
}
