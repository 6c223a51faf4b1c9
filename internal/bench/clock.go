package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// now is real time: it is what a benchmark measures.
func now() time.Time { return time.Now() }

// ownCPU is what this process has used of all cores so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // not possible with these arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tick is the unit of /proc/PID/stat: the kernel shows 100 a second to
// programs, whatever it counts in itself (proc(5), USER_HZ).
const tick = time.Second / 100

// cpuOf is what another process has used of all cores so far; 0 where the
// system does not tell, which is everywhere but on Linux.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	used, _ := parseStat(stat)
	return used
}

// parseStat reads utime and stime, the 14th and 15th fields. The 2nd is the name
// of the program in parentheses, in which anything may stand.
func parseStat(stat []byte) (time.Duration, error) {
	after := stat[bytes.LastIndexByte(stat, ')')+1:]
	fields := bytes.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%d fields after the name, want 13 or more", len(fields))
	}
	var used time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		used += time.Duration(n) * tick
	}
	return used, nil
}
