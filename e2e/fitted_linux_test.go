package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// faults are what goes wrong with the machine under a node of the fitted
// program: the program itself, built with a standard library whose time.Now
// adds a shift to the machine's time, and whose fsync and fdatasync, which are
// SQLite's too, take longer. Timers and measured durations go by the monotonic
// clock, as they do where a machine's own clock is stepped.
type faults struct {
	*testing.T
	dir string // which others may enter, as PostgreSQL's user must
	*page
}

// page is shared memory: the node reads what the test writes.
type page struct {
	shift atomic.Int64 // nanoseconds added to the machine's time
	delay atomic.Int64 // nanoseconds that each fsync takes longer
	syncs atomic.Int64 // how many were delayed
}

// newFaults makes the page of one node, or of one PostgreSQL server.
func newFaults(t *testing.T) *faults {
	t.Helper()
	dir, err := os.MkdirTemp("", "payoutd-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	f := &faults{T: t, dir: dir}
	if err := errors.Join(
		os.WriteFile(f.file(), make([]byte, os.Getpagesize()), 0o600),
		os.Chmod(f.file(), 0o666),
		os.Chmod(dir, 0o755),
	); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(f.file(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	shared, err := syscall.Mmap(int(file.Fd()), 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(shared); err != nil {
			t.Error(err)
		}
	})
	f.page = (*page)(unsafe.Pointer(&shared[0]))
	return f
}

func (f *faults) file() string { return filepath.Join(f.dir, "page") }

func (f *faults) variable() string { return faultsVariable + "=" + f.file() }

// command starts a node that has the faults.
func (f *faults) command() []string {
	f.Helper()
	program, err := fitted()
	if err != nil {
		f.Fatal(err)
	}
	return []string{"env", f.variable(), program}
}

// preloaded is the environment of a program in C that has the faults of a disk:
// a library before the system's own delays its fsync and fdatasync.
func (f *faults) preloaded() []string {
	f.Helper()
	source, library := filepath.Join(f.dir, "slow.c"), filepath.Join(f.dir, "slow.so")
	if err := os.WriteFile(source, []byte(slow), 0o600); err != nil {
		f.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source).CombinedOutput(); err != nil {
		f.Fatalf("gcc: %v\n%s", err, out)
	}
	return []string{f.variable(), "LD_PRELOAD=" + library}
}

const faultsVariable = "E2E_FAULTS"

// fitted builds the fitted program once. It fails where a source is not what is
// to be changed there.
var fitted = sync.OnceValues(func() (string, error) {
	dir := filepath.Dir(payoutd)
	overlay := map[string]string{}
	put := func(original, text string) error {
		replaced := filepath.Join(dir, fmt.Sprintf("fitted-%d.go", len(overlay)))
		overlay[original] = replaced
		return os.WriteFile(replaced, []byte(text), 0o600)
	}
	change := func(original string, pairs ...string) error {
		b, err := os.ReadFile(original)
		text := string(b)
		for pair := range slices.Chunk(pairs, 2) {
			if n := strings.Count(text, pair[0]); err == nil && n != 1 {
				err = fmt.Errorf("%s has %q %d times, want once: the drills' change of it must be looked at anew", original, pair[0], n)
			}
			text = strings.Replace(text, pair[0], pair[1], 1)
		}
		return errors.Join(err, put(original, text))
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src")
	clock, calls := filepath.Join(source, "time"), filepath.Join(source, "syscall")
	const (
		now   = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
		call  = "\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, 0, 0, 0)\n"
		call6 = "\tr1, r2, err = RawSyscall6(trap, a1, a2, a3, a4, a5, a6)\n"
		late  = "\tif trap == SYS_FSYNC || trap == SYS_FDATASYNC {\n\t\tdelay()\n\t}\n"
	)
	if err := errors.Join(
		change(filepath.Join(clock, "time.go"), now, now+"\tsec, nsec = shifted(sec, nsec)\n"),
		put(filepath.Join(clock, "shifted.go"), shifted),
		change(filepath.Join(calls, "syscall_linux.go"), call, late+call, call6, late+call6),
		put(filepath.Join(calls, "faults.go"), delayed),
	); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600); err != nil {
		return "", err
	}
	program := filepath.Join(dir, "payoutd-fitted")
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "../cmd/payoutd")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build -overlay: %w\n%s", err, out)
	}
	return program, nil
})

// shifted reads the page that delayed has mapped.
const shifted = `package time

import (
	"sync/atomic"
	"syscall"
)

func shifted(sec int64, nsec int32) (int64, int32) {
	at := int64(nsec) + atomic.LoadInt64(&syscall.Faults[0])
	sec += at / 1e9
	if at %= 1e9; at < 0 {
		at += 1e9
		sec--
	}
	return sec, int32(at)
}
`

const delayed = `package syscall

import (
	"internal/runtime/atomic"
	"unsafe"
)

var Faults = new([3]int64)

func init() {
	path, ok := Getenv("` + faultsVariable + `")
	if !ok {
		return
	}
	fd, err := Open(path, O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	page, err := Mmap(fd, 0, Getpagesize(), PROT_READ|PROT_WRITE, MAP_SHARED)
	if err != nil {
		panic(err)
	}
	Faults = (*[3]int64)(unsafe.Pointer(&page[0]))
}

// delay runs where nothing may grow the stack or be scheduled.
//
//go:nosplit
//go:norace
func delay() {
	if Faults == nil { // not set up yet
		return
	}
	if d := atomic.Loadint64(&Faults[1]); d > 0 {
		atomic.Xaddint64(&Faults[2], 1)
		rest := Timespec{Sec: d / 1e9, Nsec: d % 1e9}
		for {
			_, _, err := RawSyscall6(SYS_NANOSLEEP, uintptr(unsafe.Pointer(&rest)), uintptr(unsafe.Pointer(&rest)), 0, 0, 0, 0)
			if err != EINTR {
				return
			}
		}
	}
}
`

// step moves the machine's clock by d.
func (f *faults) step(d time.Duration) { f.shift.Add(int64(d)) }

const slow = `#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long *faults;

__attribute__((constructor)) static void map(void) {
	int fd = open(getenv("` + faultsVariable + `"), O_RDWR);
	faults = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || faults == MAP_FAILED) abort();
	close(fd);
}

static int late(long number, int fd) {
	long d = __atomic_load_n(&faults[1], __ATOMIC_SEQ_CST);
	if (d > 0) {
		struct timespec rest = {d / 1000000000, d % 1000000000};
		__atomic_fetch_add(&faults[2], 1, __ATOMIC_SEQ_CST);
		while (nanosleep(&rest, &rest) != 0 && errno == EINTR) ;
	}
	return syscall(number, fd);
}

int fsync(int fd) { return late(SYS_fsync, fd); }
int fdatasync(int fd) { return late(SYS_fdatasync, fd); }
`
