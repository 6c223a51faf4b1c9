//go:build unix

package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// OwnArchived is Own for a server that keeps its write-ahead log in an archive,
// each segment when it is full or a second old.
func OwnArchived(t testing.TB, at Place, settings ...string) *Server {
	t.Helper()
	archive, err := os.MkdirTemp("", "payoutd-pgarchive-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(archive); err != nil {
			t.Error(err)
		}
	})
	s := Own(t, at, append(settings,
		"archive_mode=on", "archive_timeout=1s", fmt.Sprintf("archive_command=cp %%p %s/%%f", archive))...)
	s.archive = archive
	own(t, s.as, archive)
	return s
}

// Backup copies the running server's data to where Restore finds it.
func (s *Server) Backup(t testing.TB) {
	t.Helper()
	s.do(t, "pg_basebackup", "-D", s.base(), "-d", s.URL, "--checkpoint=fast", "--no-sync")
}

func (s *Server) base() string { return filepath.Join(s.dir, "base") }

// Archived waits until all that the server has written by now is in the archive.
func (s *Server) Archived(t testing.TB) {
	t.Helper()
	var segment string
	s.ask(t, "SELECT pg_walfile_name(pg_switch_wal())", &segment)
	for late := time.Now().Add(startMax); ; {
		var archived bool
		s.ask(t, "SELECT coalesce(last_archived_wal >= '"+segment+"', false) FROM pg_stat_archiver", &archived)
		if archived {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("the segment %s is not archived after %s", segment, startMax)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// Now is the server's time.
func (s *Server) Now(t testing.TB) (now time.Time) {
	t.Helper()
	s.ask(t, "SELECT clock_timestamp()", &now)
	return now
}

// Destroy ends the server without an order and removes its data.
func (s *Server) Destroy(t testing.TB) {
	t.Helper()
	s.Stop(t)
	if err := os.RemoveAll(s.data); err != nil {
		t.Fatal(err)
	}
}

// Restore makes the server of its backup and its archive, as it stood at a
// moment, or at the end of the archive with the zero time, and starts it.
func (s *Server) Restore(t testing.TB, at time.Time) {
	t.Helper()
	s.run(t, "cp", "-a", s.base(), s.data)
	settings := fmt.Sprintf("restore_command = 'cp %s/%%f %%p'\nrecovery_target_action = 'promote'\n", s.archive)
	if !at.IsZero() {
		settings += fmt.Sprintf("recovery_target_time = '%s'\n", at.UTC().Format("2006-01-02 15:04:05.000000+00"))
	}
	for name, content := range map[string]string{"postgresql.auto.conf": settings, "recovery.signal": ""} {
		if err := os.WriteFile(filepath.Join(s.data, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		own(t, s.as, filepath.Join(s.data, name))
	}
	s.Start(t)
	for late := time.Now().Add(startMax); ; {
		recovering := true
		s.ask(t, "SELECT pg_is_in_recovery()", &recovering)
		if !recovering {
			return
		}
		if time.Now().After(late) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			t.Fatalf("the server is in recovery after %s\n%s", startMax, log)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// ask runs a query with one value.
func (s *Server) ask(t testing.TB, query string, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }() // it has only read
	if err := conn.QueryRow(ctx, query).Scan(into); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
