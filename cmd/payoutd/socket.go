package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
)

// nodesMax bounds how many nodes share one folder.
const nodesMax = 64

// sockets are where a server on the folder may listen for commands: the owner
// of a SQLite file on the one, nodes that share PostgreSQL each on its own.
func (f folder) sockets() []string {
	if !f.db.shared() {
		return []string{f.path("payoutd.sock")}
	}
	found, _ := filepath.Glob(f.path("payoutd-*.sock")) // fails on a bad pattern only
	return found
}

// listen opens this node's socket. The lock beside it is held for as long as
// the node lives, so a socket whose lock is free is a dead node's.
func (f folder) listen() (net.Listener, error) {
	if !f.db.shared() { // the database's own lock tells
		return admin.Listen(f.path("payoutd.sock"))
	}
	for n := range nodesMax {
		path := f.path(fmt.Sprintf("payoutd-%d.sock", n+1))
		held, err := tryLock(path + ".lock")
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l, err := admin.Listen(path)
		if err != nil {
			return nil, errors.Join(err, held.Close())
		}
		return &nodeSocket{l, held}, nil
	}
	return nil, fmt.Errorf("%d nodes use the folder %s already: give this one a folder of its own, with copies of the keys", nodesMax, shown(f.dir))
}

// nodeSocket is a socket with the lock that says that its node lives.
type nodeSocket struct {
	net.Listener
	held *os.File
}

func (s *nodeSocket) Close() error { return errors.Join(s.Listener.Close(), s.held.Close()) }

// tryLock takes the lock of a file until it is closed; the kernel gives it back
// when the process dies. syscall.EWOULDBLOCK if another process has it.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// waitLock is tryLock, until ctx ends.
func waitLock(ctx context.Context, path string) (*os.File, error) {
	for {
		file, err := tryLock(path)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return file, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the lock %s: %w", path, err)
		case <-time.After(lockGap):
		}
	}
}
