//go:build unix

package sqlite

import (
	"os"
	"syscall"
)

// tryLock takes the lock of the file until it is closed; the kernel gives it
// back when the process dies.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
