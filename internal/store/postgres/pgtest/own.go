//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	archive  string // of the write-ahead log; "" for none
	as       *syscall.SysProcAttr
	port     int
	settings []string
	env      []string
	// The keeper of the server; cmd is nil while the server is down.
	cmd   *exec.Cmd
	input io.WriteCloser
	ended chan struct{}
}

// Place is where an own server keeps its files. The zero Place is a temporary
// folder.
type Place struct {
	Data     string // an empty folder that the server's user can reach; "" is a temporary one
	LogApart bool   // the write-ahead log is in a temporary folder, whatever Data is
	// Env is added to the environment of the server, not of the programs around it.
	Env []string
}

// Own starts a server for one test, which syncs to disk as in production.
// Variable does not replace it: nobody's server is to be broken. Segments of the
// write-ahead log are of 1 MB, so that a small disk holds it.
func Own(t testing.TB, at Place, settings ...string) *Server {
	t.Helper()
	s := newServer(t, at, settings)
	args := []string{"-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"}
	if at.LogApart {
		args = append(args, "--waldir", filepath.Join(s.dir, "wal"))
	}
	s.do(t, "initdb", args...)
	s.Start(t)
	return s
}

// Kept starts a server whose files stay in a folder, which the server's user can
// reach, and makes it where there is none yet. Its log is in the folder. Where
// the test does not stop it in order, its next start recovers.
func Kept(t testing.TB, folder string, settings ...string) *Server {
	t.Helper()
	s := prepare(t, settings)
	s.dir, s.data = folder, filepath.Join(folder, "data")
	own(t, s.as, folder)
	t.Cleanup(s.end)
	if _, err := os.Stat(s.data); errors.Is(err, fs.ErrNotExist) {
		s.do(t, "initdb", "-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	}
	s.Start(t)
	return s
}

// Standby makes a copy of the server that follows it, and starts it.
func (s *Server) Standby(t testing.TB, settings ...string) *Server {
	t.Helper()
	return s.StandbyOver(t, s.URL, settings...)
}

// StandbyOver is Standby where the copy reaches the server by another URL.
func (s *Server) StandbyOver(t testing.TB, url string, settings ...string) *Server {
	t.Helper()
	standby := newServer(t, Place{}, settings)
	standby.do(t, "pg_basebackup", "-D", standby.data, "-d", url, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
	standby.Start(t)
	return standby
}

// prepare returns a server that has a port and no files.
func prepare(t testing.TB, settings []string) *Server {
	t.Helper()
	s := &Server{settings: settings}
	var err error
	if s.bin, err = binaries(); err != nil {
		t.Fatal(err)
	}
	if s.as, err = unprivileged(); err != nil {
		t.Fatal(err)
	}
	s.port = Port(t)
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: "127.0.0.1:" + strconv.Itoa(s.port), Path: "/postgres", RawQuery: "sslmode=disable"}
	s.URL = u.String()
	return s
}

func newServer(t testing.TB, at Place, settings []string) *Server {
	t.Helper()
	s := prepare(t, settings)
	var err error
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
	own(t, s.as, s.dir)
	s.data = filepath.Join(s.dir, "data")
	if at.Data != "" {
		own(t, s.as, at.Data)
		s.data = filepath.Join(at.Data, "data")
	}
	s.env = at.Env
	return s
}

// own makes files those of the servers' user.
func own(t testing.TB, as *syscall.SysProcAttr, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if c := as.Credential; c != nil {
			if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// do runs one of the server's programs as its user.
func (s *Server) do(t testing.TB, program string, args ...string) {
	t.Helper()
	s.run(t, filepath.Join(s.bin, program), args...)
}

// run runs a program as the server's user.
func (s *Server) run(t testing.TB, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.as
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// ownKeeper is keeper for a server whose folder stays, and that may end before
// its input does, by itself: then the keeper ends as well. $0 is the log.
const ownKeeper = `exec 3<&0
"$@" >>"$0" 2>&1 3<&- & server=$!
(read -r _; kill -QUIT $server) <&3 >/dev/null 2>&1 & watch=$!
wait $server; kill $watch 2>/dev/null`

// Folder is where all is that the server writes, its log among it.
func (s *Server) Folder() string { return s.dir }

// Dump is what pg_dump writes of the database.
func (s *Server) Dump(t testing.TB) []byte {
	t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, "pg_dump"), s.URL)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.as
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	return out
}

// Start starts the server, unless it runs, and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	for late := time.Now().Add(startMax); !s.Answers(); {
		if !s.Runs() {
			s.end()
			s.launch(t)
		}
		if time.Now().After(late) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			t.Fatalf("the server does not answer\n%s", log)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *Server) launch(t testing.TB) {
	t.Helper()
	args := []string{
		"-c", ownKeeper, filepath.Join(s.dir, "log"), filepath.Join(s.bin, "postgres"), "-D", s.data, "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
	}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = exec.Command("/bin/sh", args...)
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, s.as
	s.cmd.Env = append(os.Environ(), s.env...)
	var err error
	if s.input, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait() // how it ended says nothing: it may have been stopped
	}(s.cmd, s.ended)
}

// Runs reports whether the server has been started and has not ended, perhaps
// by itself.
func (s *Server) Runs() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
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

// Shutdown stops the server in order, by pg_ctl stop -m fast.
func (s *Server) Shutdown(t testing.TB) {
	t.Helper()
	s.do(t, "pg_ctl", "stop", "-m", "fast", "-t", "600", "-D", s.data)
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
	if err := s.Try(statements...); err != nil {
		t.Fatal(err)
	}
}

// Try is Run where a statement may fail.
func (s *Server) Try(statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, errors.Join(err, conn.Close(ctx)))
		}
	}
	return conn.Close(ctx)
}

// end ends the keeper, and with it the server if it still runs.
func (s *Server) end() {
	if s.cmd == nil {
		return
	}
	_ = s.input.Close()
	<-s.ended
	s.cmd = nil
}
