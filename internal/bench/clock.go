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
	s, err := readStat(pid)
	if err != nil {
		return 0
	}
	return s.used
}

// familyCPU is what a process, its children and those of them that have ended
// have used of all cores so far: a PostgreSQL server is such a family. 0 where
// the system does not tell.
func familyCPU(pid int) time.Duration {
	head, err := readStat(pid)
	if err != nil {
		return 0
	}
	sum := head.used + head.ended
	folders, err := os.ReadDir("/proc")
	if err != nil {
		return sum
	}
	for _, f := range folders {
		child, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(child); err == nil && s.parent == pid { // it may have ended meanwhile
			sum += s.used
		}
	}
	return sum
}

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	parent int
	used   time.Duration // by itself
	ended  time.Duration // by its children that have ended
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// parseStat reads ppid, and utime, stime, cutime and cstime: the 4th field, and
// the 14th to the 17th (proc(5)). The 2nd is the name of the program in
// parentheses, in which anything may stand.
func parseStat(b []byte) (s stat, err error) {
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 15 {
		return s, fmt.Errorf("%d fields after the name, want 15 or more", len(fields))
	}
	if s.parent, err = strconv.Atoi(string(fields[1])); err != nil {
		return stat{}, err
	}
	for i, to := range []*time.Duration{&s.used, &s.used, &s.ended, &s.ended} {
		n, err := strconv.ParseInt(string(fields[11+i]), 10, 64)
		if err != nil {
			return stat{}, err
		}
		*to += time.Duration(n) * tick
	}
	return s, nil
}

// memory is what a process has in memory, in bytes: now, and at most so far; 0
// where the system does not tell.
func memory(pid int) (resident, peak int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	return statusBytes(b, "VmRSS:"), statusBytes(b, "VmHWM:")
}

// statusBytes reads a line such as "VmRSS:	  1234 kB" of /proc/PID/status.
func statusBytes(status []byte, name string) int64 {
	for line := range bytes.Lines(status) {
		rest, found := bytes.CutPrefix(line, []byte(name))
		if !found {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
		if err != nil {
			return 0
		}
		return n << 10
	}
	return 0
}
