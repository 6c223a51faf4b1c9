package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptPatience is how long a script waits for something that should come at
// once.
const scriptPatience = 3 * time.Minute

// TestScripts runs the binary as an operator does, in *.txtar. Beside the usual
// commands of testscript, scripts have
//
//	fails CODE PROGRAM ARGS…         exec that must end with this exit code
//	start NAME TEXT PROGRAM ARGS…    start it, wait until it has printed TEXT, a
//	                                 regular expression, and put the first URL
//	                                 that it printed into $URL, its host and port
//	                                 into $ADDRESS
//	end NAME [kill]                  end it by SIGINT, which must go well, or by SIGKILL
//	advance URL TIME                 move the clock of the sandbox at URL
//	noon FOLDER                      let the sandbox that is made there begin at noon,
//	                                 so that no day ends while the script runs
//	appears FILE                     wait for a file of that name, which may have * in it
//
// What a started program prints is in the file NAME.out.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: ".",
		Setup: func(e *testscript.Env) error {
			e.Values[running{}] = map[string]*started{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": failsWith, "start": startProgram, "end": endProgram,
			"advance": advanceClock, "noon": beginAtNoon, "appears": appears,
		},
	})
}

func failsWith(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: fails CODE PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != want {
		ts.Fatalf("%v, want exit code %d", err, want)
	}
}

// running is the key of a script's started programs.
type running struct{}

// started is a program that a script has started.
type started struct {
	*exec.Cmd
	ended chan error
}

func startProgram(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: start NAME TEXT PROGRAM ARGS…")
	}
	name, text := args[0], regexp.MustCompile(args[1])
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	read, write, err := os.Pipe()
	ts.Check(err)
	p := &started{Cmd: exec.Command(args[2], args[3:]...), ended: make(chan error, 1)}
	p.Dir, p.Env, p.Stdout, p.Stderr = ts.MkAbs("."), environ(), write, write
	ts.Check(p.Start())
	ts.Check(write.Close())
	ts.Value(running{}).(map[string]*started)[name] = p
	ts.Defer(func() { _ = p.Process.Kill() }) // no error matters at the end: it may have ended

	seen, url := make(chan struct{}), make(chan string, 1)
	go func() {
		var once sync.Once
		lines := bufio.NewScanner(io.TeeReader(read, out))
		for lines.Scan() {
			if u := regexp.MustCompile(`https?://[0-9.]+:[0-9]+`).FindString(lines.Text()); u != "" {
				select {
				case url <- u:
				default:
				}
			}
			if text.MatchString(lines.Text()) {
				once.Do(func() { close(seen) })
			}
		}
		p.ended <- errors.Join(p.Wait(), out.Close())
	}()
	select {
	case <-seen:
		select {
		case u := <-url:
			ts.Setenv("URL", u)
			_, address, _ := strings.Cut(u, "://")
			ts.Setenv("ADDRESS", address)
		default:
		}
	case err := <-p.ended:
		ts.Fatalf("%s ended before it printed %q: %v\n%s", name, text, err, ts.ReadFile(name+".out"))
	case <-time.After(scriptPatience):
		ts.Fatalf("%s did not print %q\n%s", name, text, ts.ReadFile(name+".out"))
	}
}

func endProgram(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: end NAME [kill]")
	}
	p := ts.Value(running{}).(map[string]*started)[args[0]]
	if p == nil {
		ts.Fatalf("%s was not started", args[0])
	}
	signal := syscall.SIGINT
	if len(args) > 1 {
		signal = syscall.SIGKILL
	}
	ts.Check(p.Process.Signal(signal))
	select {
	case err := <-p.ended:
		if err != nil && signal == syscall.SIGINT {
			ts.Fatalf("%s: %v\n%s", args[0], err, ts.ReadFile(args[0]+".out"))
		}
	case <-time.After(scriptPatience):
		ts.Fatalf("%s did not end", args[0])
	}
}

func advanceClock(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: advance URL TIME")
	}
	answer, err := http.Post(args[0]+"/sandbox/clock", "application/json", strings.NewReader(fmt.Sprintf(`{"advance":%q}`, args[1])))
	ts.Check(err)
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		ts.Fatalf("the clock answers with status %d", answer.StatusCode)
	}
}

func beginAtNoon(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: noon FOLDER")
	}
	dir := filepath.Join(ts.MkAbs(args[0]), "sim")
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(os.WriteFile(filepath.Join(dir, "clock"), []byte(tillNoon().String()), 0o600))
}

// tillNoon is the time until the next day's noon in UTC, far from the end of the
// day in Moscow too.
func tillNoon() time.Duration {
	return time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(36 * time.Hour)).Truncate(time.Second)
}

func appears(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: appears FILE")
	}
	found := until(context.Background(), scriptPatience, func() bool {
		files, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		return len(files) > 0
	})
	if !found {
		ts.Fatalf("there is no %s", args[0])
	}
}
