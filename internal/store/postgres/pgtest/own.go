//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a server of one test, which may stop it, break it and start it
// again. It ends with the test.
type Server struct {
	URL string // of the database postgres, the same after each start

	bin      string // folder of the programs
	dir      string // holds the log, and the data unless they are elsewhere
	data     string
	as       *syscall.SysProcAttr
	port     int
	settings []string
	cmd      *exec.Cmd      // of the keeper; nil while the server is down
	input    io.WriteCloser // of the keeper
}

// Place is where an own server keeps its files. A folder that is named must be
// empty, and the server's user must be able to reach it; "" is a temporary one.
type Place struct {
	Data string
	Log  string // the write-ahead log; "" is within the data
}

// Own starts a server for one test, which syncs to disk as in production.
// Variable does not replace it: nobody's server is to be broken. Segments of the
// write-ahead log are of 1 MB, so that a small disk holds it.
func Own(t testing.TB, at Place, settings ...string) *Server {
	t.Helper()
	s := newServer(t, at, settings)
	args := []string{"-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"}
	if at.Log != "" {
		log := filepath.Join(at.Log, "wal")
		s.give(t, at.Log)
		args = append(args, "--waldir", log)
	}
	s.do(t, "initdb", args...)
	s.Start(t)
	return s
}

// Standby makes a copy of the server that follows it, and starts it.
func (s *Server) Standby(t testing.TB, settings ...string) *Server {
	t.Helper()
	standby := newServer(t, Place{}, settings)
	standby.do(t, "pg_basebackup", "-D", standby.data, "-d", s.URL, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
	standby.Start(t)
	return standby
}

func newServer(t testing.TB, at Place, settings []string) *Server {
	t.Helper()
	s := &Server{settings: settings}
	var err error
	if s.bin, err = binaries(); err != nil {
		t.Fatal(err)
	}
	if s.as, err = unprivileged(); err != nil {
		t.Fatal(err)
	}
	if s.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, which another user may not enter.
	if s.dir, err = os.MkdirTemp("", "payoutd-pgtest-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.end()
		if err := os.RemoveAll(s.dir); err != nil {
			t.Error(err)
		}
	})
	s.give(t, s.dir)
	s.data = filepath.Join(s.dir, "data")
	if at.Data != "" {
		s.give(t, at.Data)
		s.data = filepath.Join(at.Data, "data")
	}
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: "127.0.0.1:" + strconv.Itoa(s.port), Path: "/postgres", RawQuery: "sslmode=disable"}
	s.URL = u.String()
	return s
}

// give makes a folder the server's.
func (s *Server) give(t testing.TB, folder string) {
	t.Helper()
	if c := s.as.Credential; c != nil {
		if err := os.Chown(folder, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// do runs one of the server's programs as its user.
func (s *Server) do(t testing.TB, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.as
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// ownKeeper is keeper for a server whose folder stays, and that may have ended
// before its input does. $0 is the server's log.
const ownKeeper = `"$@" >>"$0" 2>&1 & server=$!
read -r _
kill -QUIT $server 2>/dev/null; wait $server`

// Start starts the server, if it does not run, and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.cmd != nil {
		if s.Answers() {
			return
		}
		s.end()
	}
	args := []string{
		"-c", ownKeeper, filepath.Join(s.dir, "log"), filepath.Join(s.bin, "postgres"), "-D", s.data, "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
	}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = exec.Command("/bin/sh", args...)
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, s.as
	var err error
	if s.input, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(startMax); !s.Answers(); {
		if time.Now().After(late) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			t.Fatalf("the server does not answer\n%s", log)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// Answers reports whether the server takes connections.
func (s *Server) Answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL)
	return err == nil && conn.Close(ctx) == nil
}

// Stop stops the server without an orderly end, by pg_ctl stop -m immediate.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.do(t, "pg_ctl", "stop", "-m", "immediate", "-D", s.data)
	s.end()
}

// Promote makes a standby a server that takes writes.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.do(t, "pg_ctl", "promote", "-D", s.data)
}

// Run runs statements, each in a transaction of its own.
func (s *Server) Run(t testing.TB, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", statement, errors.Join(err, conn.Close(ctx))))
		}
	}
	if err := conn.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// end ends the keeper, and with it the server if it still runs.
func (s *Server) end() {
	if s.cmd == nil {
		return
	}
	_ = s.input.Close()
	_ = s.cmd.Wait() // how it ended says nothing: it may have been stopped
	s.cmd = nil
}
