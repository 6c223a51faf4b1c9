package main

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestNewerSchema has every command refuse a database that a newer release has
// brought up, and say so.
func TestNewerSchema(t *testing.T) {
	key := publicKeyFile(t)
	dir := t.TempDir()
	file := "sqlite:" + filepath.Join(dir, "payoutd.db")
	url := migrated(t)
	for _, db := range []string{file, url} {
		wantRun(t, exitDone, "next: payoutd deposit", "project", "create", "acme", "--public-key", key, "--data", dir+"/keys", "--db", db)
		if db == file {
			continue
		}
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	raise, err := sql.Open("sqlite", filepath.Join(dir, "payoutd.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raise.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := raise.Close(); err != nil {
		t.Fatal(err)
	}
	for _, db := range []struct{ name, url string }{{"SQLite", file}, {"PostgreSQL", url}} {
		t.Run(db.name, func(t *testing.T) {
			at := []string{"--data", dir + "/keys", "--db", db.url}
			for _, command := range [][]string{
				{"serve", "--listen", "127.0.0.1:0"},
				{"migrate"},
				{"check"},
				{"deposit", "acme", "1.00", "rub"},
				{"project", "create", "birch", "--public-key", key},
				{"project", "list"},
				{"project", "show", "acme"},
				{"project", "set", "acme", "--single-request"},
				{"bench", "--duration", "1s"},
			} {
				t.Run(command[0], func(t *testing.T) {
					wantRun(t, exitFailure, "run a newer payoutd", append(command, at...)...)
				})
			}
			t.Run("copy from it", func(t *testing.T) {
				wantRun(t, exitFailure, "run a newer payoutd", "copy", "--from", db.url, "--to", "sqlite:"+filepath.Join(t.TempDir(), "new.db"))
			})
			t.Run("copy into it", func(t *testing.T) {
				from := filepath.Join(t.TempDir(), "d")
				wantRun(t, exitDone, "next: payoutd deposit", "project", "create", "acme", "--public-key", key, "--data", from)
				wantRun(t, exitFailure, "is not empty", "copy", "--from", "sqlite:"+filepath.Join(from, "payoutd.db"), "--to", db.url)
			})
		})
	}
}

// TestCopyRefusals tells wrong command lines of copy from what can't be done.
func TestCopyRefusals(t *testing.T) {
	dir := t.TempDir()
	file := "sqlite:" + filepath.Join(dir, "payoutd.db")
	other := "sqlite:" + filepath.Join(dir, "other.db")
	const server = "postgres://u:hunter2@127.0.0.1:1/p"
	for _, row := range []struct {
		name string
		code int
		says string
		args []string
	}{
		{"no target", exitUsage, "--to", []string{"--from", file}},
		{"not a database", exitUsage, "--from: want sqlite:PATH", []string{"--from", dir, "--to", other}},
		{"not a target", exitUsage, "--to: want sqlite:PATH", []string{"--from", file, "--to", "mysql://h/p"}},
		{"the same", exitUsage, "the same database", []string{"--from", file, "--to", file}},
		{"the flag of others", exitUsage, "in place of --db", []string{"--from", file, "--to", other, "--db", file}},
		{"nothing to copy", exitFailure, "there is no database", []string{"--from", file, "--to", other}},
		{"a server that is not there", exitFailure, "connect to", []string{"--from", server, "--to", other}},
	} {
		t.Run(row.name, func(t *testing.T) {
			wantRun(t, row.code, row.says, append([]string{"copy"}, row.args...)...)
		})
	}
}
