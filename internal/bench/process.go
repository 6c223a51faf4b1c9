package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	startDeadline = 60 * time.Second
	stopDeadline  = 60 * time.Second
)

// process is the server under test.
type process struct {
	cmd   *exec.Cmd
	pid   int
	host  string // and port of its API
	ended chan struct{}
	err   error // of its end
}

// address finds where the server listens in what it prints. A benchmark stays
// on the machine.
var address = regexp.MustCompile(`ready on http://(127\.0\.0\.1:\d+|\[::1\]:\d+)`)

// startProcess starts the server and waits until it says that it is ready. An
// interrupt of the terminal reaches the benchmark alone, which has the server
// finish what it has begun.
func startProcess(ctx context.Context, cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	apart(cmd)
	screen, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started, ready := make(chan error), make(chan string, 1)
	go func() {
		defer close(p.ended)
		// Where the system ends a child with its parent it means the thread that
		// started it, which is therefore kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		for lines := bufio.NewScanner(screen); lines.Scan(); {
			if found := address.FindSubmatch(lines.Bytes()); found != nil {
				ready <- string(found[1])
			}
		}
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	p.pid = cmd.Process.Pid
	select {
	case p.host = <-ready:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("the server ended before it was ready: %v", p.err)
	case <-ctx.Done():
		p.kill()
		return nil, ctx.Err()
	case <-time.After(startDeadline):
		p.kill()
		return nil, fmt.Errorf("the server was not ready after %s", startDeadline)
	}
}

func (p *process) cpu() time.Duration { return cpuOf(p.pid) }

// stop asks the server to end in order, and waits for it.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(stopDeadline):
		p.kill()
		return fmt.Errorf("the server had not ended %s after it was told to", stopDeadline)
	}
	if p.err != nil {
		return fmt.Errorf("the server ended with: %w", p.err)
	}
	return nil
}

// kill ends the server whatever it does; once it has ended this does nothing.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// profile has the server measure where its CPU time goes for as long as payouts
// are begun. The function returned waits until that is written.
func profile(ctx context.Context, o Options) (wait func()) {
	var done sync.WaitGroup
	done.Go(func() {
		if err := fetchProfile(ctx, o); err != nil {
			o.Say("no profile: %v", err)
		}
	})
	return done.Wait
}

func fetchProfile(ctx context.Context, o Options) (err error) {
	sockets := o.Sockets()
	if len(sockets) == 0 {
		return errors.New("the server has no socket")
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sockets[0])
	}}
	defer transport.CloseIdleConnections()
	seconds := strconv.Itoa(max(int(o.Duration/time.Second), 1))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://payoutd/debug/pprof/profile?seconds="+seconds, nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers with status %d", answer.StatusCode)
	}
	f, err := os.Create(o.Profile)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, answer.Body)
	return errors.Join(err, f.Close())
}
