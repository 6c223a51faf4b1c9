package e2e

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// A node has come back to its level when it holds no more than a tenth and
	// these above what it held before: it keeps what it has seen last in stores
	// that are bounded, and up to 64 goroutines of each of two crews for the next
	// work.
	levelMemory     = 16 << 20 // bytes
	levelGoroutines = 300
	levelMax        = 2 * time.Minute // for it to come back
	levelGap        = 500 * time.Millisecond
)

// level is what a node holds after it has collected its garbage. memory is what
// the Go runtime has of the system; SQLite's page cache, up to 64 MiB for each
// connection, grows with the file and is not in it.
type level struct{ memory, goroutines int } // bytes

// weigh lets the node collect its garbage and says what it holds then.
func (d *drill) weigh() level {
	d.t.Helper()
	sockets, err := filepath.Glob(filepath.Join(d.at.data, "payoutd*.sock"))
	if err != nil || len(sockets) == 0 {
		d.t.Fatalf("no socket of a node in %s: %v", d.at.data, err)
	}
	for _, s := range sockets {
		local := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s)
		}}}
		d.get(&local, "http://node/debug/pprof/heap?gc=1")
	}
	metric := map[string]int{}
	for line := range strings.Lines(d.get(http.DefaultClient, d.node.url+"/metrics")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			metric[name] = int(n)
		}
	}
	l := level{
		memory:     metric["go_memstats_heap_sys_bytes"] - metric["go_memstats_heap_released_bytes"] + metric["go_memstats_stack_inuse_bytes"],
		goroutines: metric["go_goroutines"],
	}
	if l.memory <= 0 || l.goroutines <= 0 {
		d.t.Fatalf("the metrics say %+v", l)
	}
	return l
}

func (d *drill) get(c *http.Client, url string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), noticeMax)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(body)
}

// settle waits until the node has given back what the drill made it take.
func (d *drill) settle() {
	d.t.Helper()
	d.witness.under.CloseIdleConnections()
	began, late, now := time.Now(), time.After(levelMax), d.weigh()
	tick := time.NewTicker(levelGap)
	defer tick.Stop()
	for ; !now.backTo(d.level); now = d.weigh() {
		select {
		case <-tick.C:
			continue
		case <-late:
		}
		d.t.Errorf("the node holds %d bytes and %d goroutines after the drill, %d bytes and %d before it", now.memory, now.goroutines, d.level.memory, d.level.goroutines)
		return
	}
	weighed(d.t, "memory above its level", max(now.memory-d.level.memory, 0)>>20)
	d.t.Logf("the node holds %d MiB and %d goroutines, %d MiB and %d before, after %s",
		now.memory>>20, now.goroutines, d.level.memory>>20, d.level.goroutines, time.Since(began).Round(time.Millisecond))
}

func (l level) backTo(before level) bool {
	return l.memory <= before.memory+before.memory/10+levelMemory && l.goroutines <= before.goroutines+levelGoroutines
}

func TestLevelIsABound(t *testing.T) {
	before := level{60 << 20, 100}
	for _, row := range []struct {
		level
		back bool
	}{
		{level{60 << 20, 100}, true},
		{level{82 << 20, 100}, true},
		{level{83 << 20, 100}, false},
		{level{60 << 20, 401}, false},
	} {
		if row.backTo(before) != row.back {
			t.Errorf("%+v is back to %+v: %t, want %t", row.level, before, !row.back, row.back)
		}
	}
}

// residentNow and residentPeak are what a process has in memory, and had at most,
// in MiB. Linux tells.
func residentNow(t *testing.T, p *process) int  { return status(t, p, "VmRSS:") >> 10 }
func residentPeak(t *testing.T, p *process) int { return status(t, p, "VmHWM:") >> 10 }

func status(t *testing.T, p *process, name string) (kib int) {
	t.Helper()
	for line := range strings.Lines(string(readFile(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.Atoi(cmp.Or(strings.Fields(rest)...))
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatalf("no %s", name)
	return 0
}
