package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
)

// runCommand runs a command line in its own world and returns what it wrote.
func runCommand(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := &program{stdout: &out, stderr: &errs, environ: environ, name: "payoutd"}
	code = p.run(t.Context(), args)
	return code, out.String(), errs.String()
}

// TestExitCodes tells wrong command lines from right ones that can't be done.
// More of them are in e2e.
func TestExitCodes(t *testing.T) {
	empty := t.TempDir()
	for _, row := range []struct {
		name string
		args []string
		code int
		says string // on stderr, or on stdout where all went well
	}{
		{"help", []string{"--help"}, exitDone, "Usage: payoutd"},
		{"help of a command", []string{"project", "create", "--help"}, exitDone, "--public-key"},
		{"help of a command that stands for its first", []string{"archive", "--help"}, exitDone, "--older-than"},
		{"help with a fee", []string{"project", "set", "--help"}, exitDone, "card=10.00+1.5%>=30.00;"},
		{"help with a setting to turn off", []string{"project", "set", "--help"}, exitDone, "--[no-]single-request"},
		{"version", []string{"version"}, exitDone, "payoutd "},
		{"nothing", nil, exitUsage, "expected one of"},
		{"misspelt command", []string{"sandbx"}, exitUsage, "did you mean: payoutd sandbox"},
		{"a value of the wrong kind", []string{"serve", "--drain-timeout", "soon"}, exitUsage, "drain-timeout"},
		{"a word of the wrong kind", []string{"--log-level", "loud", "version"}, exitUsage, "log-level"},
		{"no installation", []string{"check", "--data", empty}, exitFailure, "there is no installation"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, stdout, stderr := runCommand(t, nil, row.args...)
			said := stderr
			if row.code == exitDone {
				said = stdout
			}
			if code != row.code || !strings.Contains(said, row.says) {
				t.Errorf("code %d, stdout %q, stderr %q; want code %d and %q", code, stdout, stderr, row.code, row.says)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	names := []string{"sandbox", "serve", "migrate", "project", "deposit", "check"}
	for word, want := range map[string]string{
		"chek": "check", "proj": "project", "sandobx": "sandbox", "serv": "serve", "checks": "check", "xyzzy": "", "frobnicate": "", "": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q is taken for %q, want %q", word, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/var/lib/payoutd": "/var/lib/payoutd", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a;b": "'a;b'",
	} {
		if got := quote(in); got != want {
			t.Errorf("%q is quoted %s, want %s", in, got, want)
		}
	}
}

func TestMessage(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		want string
	}{
		{"plain", errors.New("no"), "no"},
		{"refusal", fault.New(fault.NotFound, "no project x"), "no project x"},
		{"refusal with a cause", fault.Wrap(fault.Busy, errors.New("disk full"), "can't write"), "can't write: disk full"},
		{"cause that is in the text", fault.Wrap(fault.Invalid, errors.New("bad"), "bad"), "bad"},
		{"lock", fault.Wrap(fault.Busy, syscall.EWOULDBLOCK, "in use"), "in use"},
		{"wrapped refusal", fmt.Errorf("open: %w", fault.New(fault.Busy, "in use")), "open: in use"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := message(row.err); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestFolder(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name          string
		global        global
		dir, database string // from here, but for URLs; "" where it is refused
	}{
		{"defaults", global{}, "payoutd-data", "payoutd-data/payoutd.db"},
		{"folder", global{Data: "d"}, "d", "d/payoutd.db"},
		{"database alone", global{DB: "sqlite:x/my.db"}, "x", "x/my.db"},
		{"both", global{Data: "d", DB: "sqlite:x/my.db"}, "d", "x/my.db"},
		{"PostgreSQL", global{DB: "postgres://u:hunter2@h/p"}, "payoutd-data", "postgres://h:5432/p"},
		{"PostgreSQL and folder", global{Data: "d", DB: "postgresql://h:5433/p?user=u"}, "d", "postgres://h:5433/p"},
		{"several hosts", global{DB: "postgres://a,b:5433/p?target_session_attrs=read-write"}, "payoutd-data", "postgres://a:5432,b:5433/p"},
		{"PostgreSQL without a host to parse", global{DB: "postgres://u:hunter2@h:port/p"}, "", ""},
		{"PostgreSQL without slashes", global{DB: "postgres:p"}, "", ""},
		{"no path", global{DB: "sqlite:"}, "", ""},
		{"options of a driver", global{DB: "sqlite:x.db?mode=memory"}, "", ""},
		{"no scheme", global{DB: "x.db"}, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, err := row.global.folder()
			if row.dir == "" {
				if e, ok := errors.AsType[usageError](err); !ok || strings.Contains(e.text, "hunter2") {
					t.Errorf("%v, want an error of use without the password", err)
				}
				return
			}
			database := row.database
			if !strings.Contains(database, "://") {
				database = filepath.Join(here, database)
			}
			if err != nil || f.dir != filepath.Join(here, row.dir) || f.db.name != database {
				t.Errorf("%s and %s, %v; want %s and %s", f.dir, f.db.name, err, row.dir, database)
			}
		})
	}
}
