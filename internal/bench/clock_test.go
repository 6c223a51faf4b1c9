package bench

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 0 -1 4194560 100 0 0 0 250 30 0 0 20 0 8 0 1 2 3"
	tests := []struct {
		name string
		stat string
		want time.Duration
		fail bool
	}{
		{"plain", "17 (payoutd)" + rest, 2800 * time.Millisecond, false},
		{"blanks and parentheses in the name", "17 (a) b (c)" + rest, 2800 * time.Millisecond, false},
		{"cut off", "17 (payoutd) S 1 2 3", 0, true},
		{"no number", "17 (payoutd) S 1 2 3 0 -1 4 1 0 0 0 many 30 0", 0, true},
		{"empty", "", 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStat([]byte(test.stat))
			if got != test.want || (err != nil) != test.fail {
				t.Errorf("%s, %v; want %s", got, err, test.want)
			}
		})
	}
}

// Both ways of asking must tell the same of this process.
func TestCPUTimes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the CPU time of other processes by /proc")
	}
	for ownCPU() < 100*time.Millisecond {
	}
	own, seen := ownCPU(), cpuOf(os.Getpid())
	if d := own - seen; d.Abs() > 100*time.Millisecond {
		t.Errorf("getrusage says %s, /proc says %s", own, seen)
	}
	if got := cpuOf(1 << 30); got != 0 {
		t.Errorf("a process that does not exist has used %s", got)
	}
}
