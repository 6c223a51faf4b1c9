package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// disk is a small one of its own, which can be filled.
type disk struct {
	*testing.T
	dir string
}

// newDisk mounts a file system of some megabytes, in memory. Only root may, and
// not in every container.
func newDisk(t *testing.T, megabytes int) *disk {
	t.Helper()
	dir, err := os.MkdirTemp("", "payoutd-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	err = syscall.Mount("payoutd-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0755", megabytes))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("a small disk can't be mounted here, it takes root and a container with CAP_SYS_ADMIN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return &disk{t, dir}
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes all room that is left.
func (d *disk) fill() {
	d.Helper()
	f, err := os.OpenFile(d.filler(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	block := make([]byte, os.Getpagesize())
	for {
		switch _, err := f.Write(block); {
		case errors.Is(err, syscall.ENOSPC):
			return
		case err != nil:
			d.Fatal(err)
		}
	}
}

func (d *disk) makeRoom() {
	d.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.Fatal(err)
	}
}

// full is an outage by a disk on which no room is left, until enough says so.
func (d *drill) full(disk *disk, enough func() bool, mends func()) {
	d.t.Helper()
	failed := d.witness.failures()
	d.trouble("the disk was full", disk.fill, func() bool {
		disk.fill() // whatever was given back meanwhile
		return d.witness.failures() >= failed+requestsOut && enough()
	}, func() {
		disk.makeRoom()
		mends()
	})
}

func always() bool { return true }

// TestDrillDiskFull fills the disk of the database.
func TestDrillDiskFull(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		disk := newDisk(t, 128)
		d := newDrill(t, place{db: "sqlite:" + filepath.Join(disk.dir, "payoutd.db")})
		for range roundsWanted(t) {
			d.full(disk, always, func() {})
		}
		d.finish()
	})
	t.Run("PostgreSQL, whose log is elsewhere", func(t *testing.T) {
		t.Parallel()
		disk := newDisk(t, 192)
		server := pgtest.Own(t, pgtest.Place{Data: disk.dir, LogApart: true})
		d := migrated(t, server.URL)
		for range roundsWanted(t) {
			d.full(disk, always, func() {
				if !server.Runs() {
					t.Error("the server has ended")
				}
			})
		}
		d.finish()
	})
	t.Run("PostgreSQL, with its log", func(t *testing.T) {
		t.Parallel()
		disk := newDisk(t, 192)
		server := pgtest.Own(t, pgtest.Place{Data: disk.dir})
		d := migrated(t, server.URL)
		for range roundsWanted(t) {
			d.full(disk, func() bool {
				_ = server.Try("SELECT pg_switch_wal()") // wants a new file of the log
				return !server.Runs()
			}, func() { server.Start(t) }) // as whatever looks after it does
		}
		d.finish()
	})
}

// TestDrillFileReadOnly makes the file of the database one that can't be
// changed.
func TestDrillFileReadOnly(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	chattr := func(how string) error {
		for _, name := range []string{"payoutd.db", "payoutd.db-wal"} {
			if out, err := exec.Command("chattr", how, filepath.Join(data, name)).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return nil
	}
	d := newDrill(t, place{data: data})
	mends := func() {
		if err := chattr("-i"); err != nil {
			t.Fatal(err)
		}
	}
	if err := chattr("+i"); err != nil {
		t.Skipf("a file can't be made immutable here, it takes root and a file system that knows it: %v", err)
	}
	t.Cleanup(func() { _ = chattr("-i") })
	mends()
	for range roundsWanted(t) {
		d.outage("the file took no writes", func() {
			if err := chattr("+i"); err != nil {
				t.Fatal(err)
			}
		}, mends)
	}
	d.finish()
}
