package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
)

// CreateBeside creates an empty database on the server of another one, whose
// user must be allowed to do that, and returns its URL and what drops it again.
// fault.Invalid if the URL can't be read, fault.Busy if no server answers.
func CreateBeside(ctx context.Context, beside string) (created string, drop func() error, err error) {
	config, err := parse(beside)
	if err != nil {
		return "", nil, err
	}
	u, err := url.Parse(beside)
	if err != nil || u.Scheme == "" {
		// The error of url.Parse has the URL in it, and with it the password.
		return "", nil, fault.New(fault.Invalid, "want the database as a URL, such as postgres://user@host/name")
	}
	fresh := "payoutd_" + strings.ToLower(rand.Text())
	if err := alone(ctx, config.ConnConfig, "CREATE DATABASE "+fresh); err != nil {
		return "", nil, failed(err, "create a database beside %s", name(config.ConnConfig))
	}
	u.Path = "/" + fresh
	return u.String(), func() error {
		// It is dropped even if ctx, under which it was made, has ended.
		ctx := context.WithoutCancel(ctx)
		if err := alone(ctx, config.ConnConfig, "DROP DATABASE "+fresh+" WITH (FORCE)"); err != nil {
			return failed(err, "drop the database %s", fresh)
		}
		return nil
	}, nil
}

// alone runs a statement on a connection of its own.
func alone(ctx context.Context, config *pgx.ConnConfig, statement string) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// Host is what is known of the server from the machine that it shares with
// this program.
type Host struct {
	// PID is of the server's first process, whose children are all others; 0 if
	// the server is on another machine or in a container, or if the system does
	// not tell.
	PID int
	// Data is the folder of its data; "" if it is elsewhere or if the user may
	// not know.
	Data string
}

// HostOf finds the server of a database. Errors as of Open.
func HostOf(ctx context.Context, url string) (h Host, err error) {
	config, err := parse(url)
	if err != nil {
		return h, err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return h, failed(err, "connect to %s", name(config.ConnConfig))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if !near(conn.PgConn().Conn().RemoteAddr()) {
		return h, nil
	}
	var backend int
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid(), coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), '')`).
		Scan(&backend, &h.Data)
	if err != nil {
		return Host{}, failed(err, "ask %s about itself", name(config.ConnConfig))
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", backend))
	if h.PID = parentOf(stat); err != nil || h.PID == 0 {
		return Host{}, nil
	}
	return h, nil
}

// near reports whether an address is one of this machine.
func near(a net.Addr) bool {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.IP.IsLoopback()
	}
	return a.Network() == "unix"
}

// parentOf reads the parent of a process of PostgreSQL from /proc/PID/stat; 0
// if it is of another program: a server in a container counts its processes
// from one, and the number means somebody else here (proc(5)).
func parentOf(stat []byte) int {
	before, after, _ := bytes.Cut(stat, []byte(") "))
	fields := bytes.Fields(after)
	if !bytes.HasSuffix(before, []byte("(postgres")) || len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return parent
}

// Settle does at once for the database of a URL what the server would do by and
// by: it counts and freezes what was written in bulk, and brings it to the disk.
// Who may not do the last is content without it.
func Settle(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return failed(err, "connect")
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "VACUUM (FREEZE, ANALYZE)"); err != nil {
		return failed(err, "vacuum")
	}
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil && sqlState(err) != notAllowed {
		return failed(err, "checkpoint")
	}
	return nil
}
