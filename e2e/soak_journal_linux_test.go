package e2e

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"
)

// What partners know of a payout.
const (
	markBegun    = 1 << iota // the first request was made
	markStarted              // session/start/payout was answered ok
	markAccepted             // session/confirm was answered ok
	markReady                // told by ready_to_confirm
	markPaid                 // told by payment_finished that it is paid
	markFailed               // told by payment_finished that it is not, since its check took too long
	markRefused              // a request was refused, for which there is no reason
)

// journalMax is how many payouts a journal has room for. The file is sparse.
const journalMax = 1 << 25

// journal is what partners know, a byte and the payout's number for each. It is
// a file in memory, so that it is there whatever ends the test. It is safe for
// concurrent use.
type journal struct {
	words []atomic.Uint32 // four payouts in each
	ids   []atomic.Int64  // of the payout, once it is told to be paid; the first one is how many were begun
}

func openJournal(t *testing.T, path string) *journal {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // the mapping stays
	const size = 9 * journalMax
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return &journal{
		words: unsafe.Slice((*atomic.Uint32)(unsafe.Pointer(&b[0])), journalMax/4),
		ids:   unsafe.Slice((*atomic.Int64)(unsafe.Pointer(&b[journalMax])), journalMax),
	}
}

// begun is how many payouts were begun: their numbers are 1 to that.
func (j *journal) begun() int64 { return j.ids[0].Load() }

// next is the number of one that is begun.
func (j *journal) next() int64 {
	n := j.ids[0].Add(1)
	j.mark(n, markBegun)
	return n
}

// mark adds marks and returns those of before.
func (j *journal) mark(n int64, marks uint32) (before uint32) {
	shift := n % 4 * 8
	return j.words[n/4].Or(marks<<shift) >> shift & 0xff
}

func (j *journal) marks(n int64) uint32 { return j.words[n/4].Load() >> (n % 4 * 8) & 0xff }

// ended reports whether nothing more is to be done or told about a payout.
func ended(marks uint32) bool {
	const paid = markAccepted | markReady | markPaid
	return marks&paid == paid || marks&(markFailed|markRefused) != 0
}

func TestJournal(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "journal", nil)
	j := openJournal(t, path)
	for n := range int64(9) {
		if got := j.next(); got != n+1 {
			t.Fatalf("payout %d after %d", got, n)
		}
	}
	if before := j.mark(5, markAccepted); before != markBegun {
		t.Errorf("marks before %b", before)
	}
	j.mark(5, markReady)
	j.ids[5].Store(77)
	again := openJournal(t, path)
	for n := range int64(11) {
		want, id := uint32(markBegun), int64(0)
		switch n {
		case 0, 10:
			want = 0
		case 5:
			want, id = markBegun|markAccepted|markReady, 77
		}
		if got := again.marks(n); got != want || n > 0 && again.ids[n].Load() != id {
			t.Errorf("payout %d has the marks %b and the number %d, want %b and %d", n, got, again.ids[n].Load(), want, id)
		}
	}
	if again.begun() != 9 {
		t.Errorf("%d begun", again.begun())
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [8]byte
	if _, err := f.ReadAt(b[:], journalMax); err != nil || binary.NativeEndian.Uint64(b[:]) != 9 {
		t.Errorf("the file has the number %x, error %v", b, err)
	}
}
