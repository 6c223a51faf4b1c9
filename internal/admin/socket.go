package admin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/payoutd/payoutd/internal/fault"
)

// pathBytesMax is the longest path that a socket's address holds everywhere:
// 104 bytes with the closing zero on the BSDs, 108 on Linux.
const pathBytesMax = 103

// Listen opens the socket at path, for its owner only. The caller holds the
// installation, so a socket that lies there is a dead server's and is replaced.
func Listen(path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fault.Wrap(fault.Busy, err, "socket %s", path)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fault.New(fault.Invalid, "%s is in the way of the socket: it is another kind of file", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fault.Wrap(fault.Busy, err, "socket %s", path)
		}
	}
	address, err := shorten(path)
	if err != nil {
		return nil, err
	}
	l, err := bind(address)
	if err != nil {
		return nil, fault.Wrap(fault.Busy, err, "socket %s: %v", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fault.Wrap(fault.Busy, err, "socket %s: %v", path, err)
	}
	return l, nil
}

// bind listens at the address. Linux gives the file the mode that the socket has
// before it is bound, so that nobody else finds it open for a moment; a umask
// would be that of the whole process. Systems that do not know this refuse it, and
// have the mode that Listen gives, and that of the folder.
func bind(address string) (net.Listener, error) {
	ours := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	return ours.Listen(context.Background(), "unix", address)
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	address, err := shorten(path)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", address)
}

// shorten finds a form of the path that fits a socket's address: as it is, or
// seen from the working directory.
func shorten(path string) (string, error) {
	if len(path) <= pathBytesMax {
		return path, nil
	}
	if here, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(here, path); err == nil && len(relative) <= pathBytesMax {
			return relative, nil
		}
	}
	return "", fault.New(fault.Invalid, "%s is longer than the %d bytes of a socket's address: take a shorter --data", path, pathBytesMax)
}
