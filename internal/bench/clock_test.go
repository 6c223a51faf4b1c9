package bench

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 17 2 3 0 -1 4194560 100 0 0 0 250 30 40 2 20 0 8 0 1 2 3"
	want := stat{parent: 17, used: 2800 * time.Millisecond, ended: 420 * time.Millisecond}
	tests := []struct {
		name string
		stat string
		want stat
		fail bool
	}{
		{"plain", "18 (payoutd)" + rest, want, false},
		{"blanks and parentheses in the name", "18 (a) b (c)" + rest, want, false},
		{"cut off", "18 (payoutd) S 1 2 3", stat{}, true},
		{"no number", "18 (payoutd) S 1 2 3 0 -1 4 1 0 0 0 many 30 0 0", stat{}, true},
		{"no parent", "18 (payoutd) S x 2 3 0 -1 4 1 0 0 0 1 30 0 0", stat{}, true},
		{"empty", "", stat{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStat([]byte(test.stat))
			if got != test.want || (err != nil) != test.fail {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestStatusBytes(t *testing.T) {
	const status = "Name:\tpayoutd\nVmHWM:\t  204800 kB\nVmRSS:\t1024 kB\nVmSwap:\tmuch\n"
	tests := []struct {
		name, line string
		want       int64
	}{
		{"the first", "VmHWM:", 200 << 20},
		{"with one blank", "VmRSS:", 1 << 20},
		{"no number", "VmSwap:", 0},
		{"not there", "VmPeak:", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := statusBytes([]byte(status), test.line); got != test.want {
				t.Errorf("%d bytes, want %d", got, test.want)
			}
		})
	}
}

// burn uses the processor in another process, which has then ended.
func burn(t *testing.T) {
	t.Helper()
	if err := exec.Command("bash", "-c", "for ((i = 0; i < 200000; i++)); do :; done").Run(); err != nil {
		t.Fatal(err)
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
	burn(t)
	own, seen = cpuOf(os.Getpid()), familyCPU(os.Getpid())
	if seen < own+50*time.Millisecond {
		t.Errorf("the family has used %s, this process %s: the child that has ended is missing", seen, own)
	}
	if got := cpuOf(1<<30) + familyCPU(1<<30); got != 0 {
		t.Errorf("a process that does not exist has used %s", got)
	}
}

func TestMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the memory of other processes by /proc")
	}
	if now, most := memory(os.Getpid()); now < 1<<20 || most < now {
		t.Errorf("%d bytes now, %d at most", now, most)
	}
	if now, most := memory(1 << 30); now != 0 || most != 0 {
		t.Errorf("a process that does not exist has %d bytes, %d at most", now, most)
	}
}
