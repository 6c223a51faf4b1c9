//go:build unix

package pgtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

func connect(t *testing.T, database string) (*pgx.Conn, error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}

func TestDatabasesAreNewAndDropped(t *testing.T) {
	var first string
	t.Run("first", func(t *testing.T) {
		first = pgtest.URL(t)
		conn, err := connect(t, first)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `CREATE TABLE t (x int)`); err != nil {
			t.Fatal(err)
		}
		other, err := connect(t, pgtest.URL(t))
		if err != nil {
			t.Fatal(err)
		}
		var tables int
		if err := other.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&tables); err != nil || tables != 0 {
			t.Errorf("%d tables in a new database, error %v; want none", tables, err)
		}
	})
	if _, err := connect(t, first); err == nil {
		t.Error("the database is still there when its test has ended")
	}
}

// helper makes the test below run as the process that is killed.
const helper = "PAYOUTD_PGTEST_HELPER"

// TestServerEndsWithTheBinary kills a test binary in the middle of a test: its
// server goes, and its folder.
func TestServerEndsWithTheBinary(t *testing.T) {
	if os.Getenv(helper) != "" {
		database := pgtest.URL(t)
		conn, err := connect(t, database)
		if err != nil {
			t.Fatal(err)
		}
		var folder string
		if err := conn.QueryRow(t.Context(), `SHOW data_directory`).Scan(&folder); err != nil {
			t.Fatal(err)
		}
		fmt.Println("server", database, folder)
		select {} // until it is killed
	}
	if os.Getenv(pgtest.Variable) != "" {
		t.Skip("the server is somebody else's: " + pgtest.Variable + " names it")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestServerEndsWithTheBinary$")
	cmd.Env = append(os.Environ(), helper+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 3 || words[0] != "server" {
		t.Fatalf("the helper says %q, error %v", line, err)
	}
	database, err := url.Parse(words[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, folder := os.Stat(words[2])
		conn, port := net.Dial("tcp", database.Host)
		if port == nil {
			_ = conn.Close()
		}
		if errors.Is(folder, fs.ErrNotExist) && port != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after two minutes: folder %v, port %v; want both gone", folder, port)
		}
	}
}

// TestKeptServerKeepsItsFiles stops a kept server in order and at once, and finds
// what was written each time it is there again.
func TestKeptServerKeepsItsFiles(t *testing.T) {
	dir, err := os.MkdirTemp("", "payoutd-pgtest-") // not t.TempDir, which the server's user may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Run("new", func(t *testing.T) {
		s := pgtest.Kept(t, dir)
		s.Run(t, `CREATE TABLE t (x int)`, `INSERT INTO t VALUES (1)`)
		s.Shutdown(t)
		if s.Answers() {
			t.Error("the server answers after its shutdown")
		}
	})
	t.Run("stopped in order", func(t *testing.T) { // and left to the end of the test
		pgtest.Kept(t, dir).Run(t, `INSERT INTO t SELECT 2 FROM t`)
	})
	s := pgtest.Kept(t, dir)
	s.Run(t, `INSERT INTO t SELECT 1 / (count(*) = 2)::int FROM t`)
}
