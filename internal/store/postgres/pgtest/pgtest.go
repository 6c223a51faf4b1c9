//go:build unix

// Package pgtest gives tests a PostgreSQL server. Each test binary starts one
// of its own when the first test asks, with its data in a temporary folder,
// and takes it down when the binary ends, in whatever way it does.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable names a server to be used in place of one of our own, as the URL of
// a user who may create databases.
const Variable = "PAYOUTD_TEST_POSTGRES"

// URL returns a new, empty database, which the end of the test drops. The
// server does not sync to disk: what a test needs is there after a crash of
// the program, not of the machine. A test fails where there is no server to
// start: PostgreSQL is not optional.
func URL(t testing.TB) string {
	t.Helper()
	return create(t, fast)
}

// Durable is URL on a server that syncs to disk as in production, for
// measurements.
func Durable(t testing.TB) string {
	t.Helper()
	return create(t, durable)
}

// The servers of this test binary; each function starts its own once and
// returns the URL of the database postgres.
var (
	fast    = sync.OnceValues(func() (string, error) { return server("fsync=off", "full_page_writes=off") })
	durable = sync.OnceValues(func() (string, error) { return server("max_wal_size=8GB", "shared_buffers=1GB", "wal_compression=lz4") })
)

// startMax bounds each step on the way to a database, of which some have much to
// recover.
const startMax = 10 * time.Minute

func create(t testing.TB, server func() (string, error)) string {
	t.Helper()
	admin, err := server()
	if err != nil {
		t.Fatalf("PostgreSQL for the tests: %v", err)
	}
	name := "payoutd_test_" + strings.ToLower(rand.Text())
	run := func(statement string) error {
		ctx, cancel := context.WithTimeout(context.Background(), startMax)
		defer cancel()
		conn, err := pgx.Connect(ctx, admin)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, statement)
		return errors.Join(err, conn.Close(ctx))
	}
	if err := run("CREATE DATABASE " + name); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		if err := run("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the database: %v", err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("URL of the server: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

// server starts one with settings of the form name=value.
func server(settings ...string) (string, error) {
	if given := os.Getenv(Variable); given != "" {
		return given, nil
	}
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	as, err := unprivileged()
	if err != nil {
		return "", err
	}
	// The last component of a long TMPDIR does no harm: there is no socket in it.
	dir, err := os.MkdirTemp("", "payoutd-pgtest-")
	if err != nil {
		return "", err
	}
	if as.Credential != nil {
		if err := os.Chown(dir, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
			return "", err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, as
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return start(bin, dir, as, settings)
}

// keeper runs the server until its input ends, which is when the test binary
// does, killed or not; then it leaves nothing behind. $0 is the folder, the
// rest is the command.
const keeper = `"$@" >"$0/log" 2>&1 & server=$!
read -r _
kill -QUIT $server; wait $server; rm -rf "$0"`

// input is never written to. It must not be collected, which would close it.
var input []io.WriteCloser

func start(bin, dir string, as *syscall.SysProcAttr, settings []string) (string, error) {
	port, _, err := holdPort() // for as long as the binary runs
	if err != nil {
		return "", err
	}
	args := []string{
		"-c", keeper, dir, filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"), "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
	}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir, cmd.SysProcAttr = dir, as
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	input = append(input, pipe)
	if err := cmd.Start(); err != nil {
		return "", err
	}
	at := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, at)
		if err == nil {
			return at, conn.Close(ctx)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return "", fmt.Errorf("the server does not answer: %w\n%s", err, log)
		}
	}
}

// Port returns a port of 127.0.0.1 that nobody else is given until the test has
// ended, whether a server listens there or not.
func Port(t testing.TB) int {
	t.Helper()
	port, release, err := holdPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}

// holdPort holds a port by a socket that does not listen. Linux lets a server
// bind to it all the same, as both sockets say SO_REUSEADDR, and gives it to
// nobody who asks for any port. Other systems let nobody bind there, so that the
// port is free again at once, and somebody may be faster than the server.
func holdPort() (port int, release func(), err error) {
	syscall.ForkLock.RLock()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(socket)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, nil, err
	}
	release = sync.OnceFunc(func() { _ = syscall.Close(socket) })
	err = errors.Join(
		syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	)
	at, named := syscall.Getsockname(socket)
	if err = errors.Join(err, named); err != nil || runtime.GOOS != "linux" {
		release()
	}
	if err != nil {
		return 0, nil, err
	}
	return at.(*syscall.SockaddrInet4).Port, release, nil
}

// binaries is the folder with those of the server. Debian keeps it out of PATH.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("no PostgreSQL server found; scripts/needs.sh installs one, or name one in " + Variable)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// unprivileged is how to run the server, which refuses to run as root. A
// process group of its own keeps the terminal's ^C from it: it ends when the
// test binary has ended.
func unprivileged() (*syscall.SysProcAttr, error) {
	as := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return as, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return nil, err
		}
		as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return as, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}
