package postgres

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

func TestCreateBeside(t *testing.T) {
	beside := pgtest.URL(t)
	ctx, cancel := context.WithCancel(t.Context())
	created, drop, err := CreateBeside(ctx, beside)
	if err != nil {
		t.Fatal(err)
	}
	if created == beside {
		t.Fatalf("nothing new: %s", created)
	}
	if current, _, err := Version(t.Context(), created); err != nil || current != 0 {
		t.Errorf("schema %d, %v; want an empty database", current, err)
	}
	conn, err := pgx.Connect(t.Context(), created) // somebody who stays does not keep it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	cancel()
	if err := drop(); err != nil {
		t.Errorf("drop after the end of the context: %v", err)
	}
	if _, _, err := Version(t.Context(), created); err == nil {
		t.Error("the database is still there")
	}
	if err := drop(); err == nil {
		t.Error("dropping what is not there is no error")
	}
}

func TestCreateBesideRefuses(t *testing.T) {
	const secret = "hunter2"
	limited := limitedUser(t, pgtest.URL(t), secret)
	tests := []struct {
		name, url string
		code      fault.Code
	}{
		{"no URL", "host=localhost password=" + secret, fault.Invalid},
		{"no database", "mailto:somebody", fault.Invalid},
		{"nobody there", "postgres://payoutd:" + secret + "@127.0.0.1:1/payoutd", fault.Busy},
		{"a user who may not", limited, fault.Internal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := CreateBeside(t.Context(), test.url)
			if fault.CodeOf(err) != test.code || strings.Contains(fmt.Sprint(err), secret) {
				t.Errorf("%v, want %s", err, test.code)
			}
		})
	}
}

// limitedUser makes a user of the server who may do nothing in particular.
func limitedUser(t *testing.T, given, password string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	user := "limited_" + strings.TrimPrefix(conn.Config().Database, "payoutd_test_")
	if _, err := conn.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", user, password)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), given)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.Exec(context.Background(), "DROP ROLE "+user); err != nil {
			t.Error(err)
		}
		_ = conn.Close(context.Background())
	})
	u, err := url.Parse(given)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

func TestHostOf(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells of other processes by /proc")
	}
	if os.Getenv(pgtest.Variable) != "" {
		t.Skip("the server of " + pgtest.Variable + " may be anywhere")
	}
	at := pgtest.URL(t)
	h, err := HostOf(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(h.Data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(file), "\n"); first != fmt.Sprint(h.PID) {
		t.Errorf("process %d, the server says %s", h.PID, first)
	}
	h, err = HostOf(t.Context(), limitedUser(t, at, "secret"))
	if err != nil || h.PID == 0 || h.Data != "" {
		t.Errorf("%+v, %v; a user who may not know the folder still finds the process", h, err)
	}
	if _, err := HostOf(t.Context(), "postgres://payoutd@127.0.0.1:1/payoutd"); fault.CodeOf(err) != fault.Busy {
		t.Errorf("%v, want %s", err, fault.Busy)
	}
}

func TestNear(t *testing.T) {
	tests := []struct {
		name string
		addr net.Addr
		want bool
	}{
		{"loopback", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, true},
		{"loopback of IPv6", &net.TCPAddr{IP: net.IPv6loopback}, true},
		{"a socket", &net.UnixAddr{Net: "unix"}, true},
		{"another machine", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if near(test.addr) != test.want {
				t.Errorf("near is %v", !test.want)
			}
		})
	}
}

func TestParentOf(t *testing.T) {
	tests := []struct {
		name, stat string
		want       int
	}{
		{"a process of PostgreSQL", "70 (postgres) S 17 2 3", 17},
		{"another program", "70 (bash) S 17 2 3", 0},
		{"a name that ends alike", "70 (x postgres) S 17 2 3", 0},
		{"cut off", "70 (postgres) S", 0},
		{"no number", "70 (postgres) S many", 0},
		{"nothing", "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := parentOf([]byte(test.stat)); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

// TestSettle wants the server to have counted what was written in bulk.
func TestSettle(t *testing.T) {
	url := newDatabase(t)
	n := join(t, url, 1)
	n.must(n.deposit(n.next(), "p"))
	n.must(Settle(t.Context(), url))
	var counted float64
	n.must(connect(t, url).QueryRow(t.Context(), `SELECT reltuples FROM pg_class WHERE oid = 'entries'::regclass`).Scan(&counted))
	if counted != 1 {
		t.Errorf("the server has counted %g entries, want 1", counted)
	}
	wantCode(t, Settle(t.Context(), "postgres://postgres@127.0.0.1:1/none"), fault.Busy)
}
