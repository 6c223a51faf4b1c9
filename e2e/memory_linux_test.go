package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	deathsPerRound = 3
	deathMax       = 10 * time.Minute // from the first squeeze to the kernel's kill
	squeezeRoom    = 256 << 10        // bytes above what the node holds
	roomyHeap      = 48 << 20         // bytes; what the Go runtime is told to stay under
	roomyCage      = 2 * roomyHeap    // bytes; what the kernel lets it have
	roomyRequests  = 10 * requestsMax // answered in the cage
)

// cage is a memory cgroup, in which the kernel kills what takes too much.
type cage struct {
	*testing.T
	dir string
	cageNames
}

// cageNames are where cgroups are, the names of their files, and the word in
// memory.stat for memory that the kernel can't take back.
type cageNames struct{ root, limit, events, anonymous, none, swap string }

var (
	cageV1 = cageNames{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control", "rss", "-1", "memory.swappiness"}
	cageV2 = cageNames{"/sys/fs/cgroup", "memory.max", "memory.events", "anon", "max", "memory.swap.max"}
	cages  atomic.Int64
)

// newCage makes a cgroup, of whichever version the machine has. Only root may,
// and not in every container.
func newCage(t *testing.T) *cage {
	t.Helper()
	name := fmt.Sprintf("payoutd-test-%d-%d", os.Getpid(), cages.Add(1))
	for _, names := range []cageNames{cageV1, cageV2} {
		c := &cage{t, filepath.Join(names.root, name), names}
		if os.Mkdir(c.dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			if !until(context.Background(), startTimeout, func() bool { return os.Remove(c.dir) == nil }) {
				t.Errorf("%s can't be removed", c.dir)
			}
		})
		if _, err := os.Stat(filepath.Join(c.dir, c.limit)); err == nil && c.set(c.none) == nil {
			_ = os.WriteFile(filepath.Join(c.dir, c.swap), []byte("0"), 0) // where there is none to be had, there is no file either
			return c
		} // else it is no cgroup, or one without the controller
	}
	t.Skip("no memory cgroup can be made here: it takes root, and a container whose /sys/fs/cgroup can be written to")
	return nil
}

func (c *cage) set(limit string) error {
	return os.WriteFile(filepath.Join(c.dir, c.limit), []byte(limit), 0)
}

// command starts a node in the cage, with variables of its environment.
func (c *cage) command(variables ...string) []string {
	return append([]string{"sh", "-c", `echo $$ >"$0"/cgroup.procs && exec env "$@"`, c.dir}, append(variables, payoutd)...)
}

// value reads a number behind a word; of some files the last one counts.
func (c *cage) value(file, word string) (value int64) {
	c.Helper()
	for line := range strings.Lines(string(readFile(c.T, filepath.Join(c.dir, file)))) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == word {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				c.Fatal(err)
			}
			value = n
		}
	}
	return value
}

// squeeze takes away all memory but a little more than what is held now.
func (c *cage) squeeze() {
	c.Helper()
	err := c.set(strconv.FormatInt(c.value("memory.stat", c.anonymous)+squeezeRoom, 10))
	if errors.Is(err, syscall.EBUSY) { // the kernel has more of it than it can take back: version 1 wants a limit above that
		used := strings.TrimSpace(string(readFile(c.T, filepath.Join(c.dir, "memory.usage_in_bytes"))))
		err = c.set(used)
	}
	if err != nil && !errors.Is(err, syscall.EBUSY) { // it has grown since
		c.Fatal(err)
	}
}

// deaths is how many processes the kernel has killed in the cage.
func (c *cage) deaths() int64 {
	c.Helper()
	return c.value(c.events, "oom_kill")
}

// TestDrillOutOfMemory lets the kernel kill a node for want of memory while
// partners pay, again and again, at whatever it asks for memory for.
func TestDrillOutOfMemory(t *testing.T) {
	t.Parallel()
	c := newCage(t)
	d := newDrill(t, place{}, c.command()...)
	d.witness.expectCuts()
	listen := strings.TrimPrefix(d.node.url, "http://")
	wanted := deathsPerRound * roundsWanted(t)
	for n := range wanted {
		d.letFinish(d.ctx, requestsMax/2)
		d.during(func() {
			if !until(d.ctx, deathMax, func() bool {
				select {
				case <-d.node.ended:
					return true
				default:
					c.squeeze()
					return false
				}
			}) {
				t.Fatalf("the kernel has not killed the node in %s", deathMax)
			}
		})
		d.shut()
		if killed, ok := d.node.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || killed.Signal() != syscall.SIGKILL || c.deaths() < int64(n+1) {
			t.Fatalf("the node ended with %v after %d kills of the kernel\n%s", d.node.err, c.deaths(), d.node.stderr.String())
		}
		d.noAlarm(d.node)
		if err := c.set(c.none); err != nil {
			t.Fatal(err)
		}
		d.node = launchAs(t, c.command(), d.at.flags("serve", "--sandbox-rails", "--listen", listen, "--log-level", "warn")...)
		d.node.await(t)
		d.lift()
	}
	counted(t, "deaths for want of memory", wanted)
	d.letFinish(d.ctx, requestsMax)
	d.during(func() { d.level = d.weigh() }) // that of another process
	d.finish()
}

// TestDrillTightMemory gives a node little memory and tells it so, as a
// container with GOMEMLIMIT does: it must live with that.
func TestDrillTightMemory(t *testing.T) {
	t.Parallel()
	c := newCage(t)
	d := newDrill(t, place{}, c.command("GOMEMLIMIT="+strconv.Itoa(roomyHeap))...)
	if err := c.set(strconv.Itoa(roomyCage)); err != nil {
		t.Fatal(err)
	}
	for range roundsWanted(t) {
		d.letFinish(d.ctx, roomyRequests)
		d.during(d.payOne)
	}
	weighed(t, "memory at most", residentPeak(t, d.node))
	t.Logf("the node had %d MiB in memory at most", residentPeak(t, d.node))
	d.finish()
	if n := c.deaths(); n > 0 {
		t.Errorf("the kernel has killed %d processes", n)
	}
}
