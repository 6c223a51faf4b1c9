// Command payoutd is the payout platform in one binary: the server, its sandbox
// and the operator's commands. It is the one place that chooses engines,
// connectors and settings; what it wires together is below internal.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// The first signal asks for an orderly end; after that a second one ends the
	// program at once, as signals do by themselves.
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	p := &program{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), name: startedAs(os.Args[0])}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// gcPercent lets the heap grow to three and a half times of what is alive before
// it is collected. At Go's own 100 a tenth of the CPU time of a payout goes into
// collections; at 400 a server with 10,000 payouts under way takes more than
// 200 MiB (docs/performance.md).
const gcPercent = 250

// startedAs is how to start the program again: what `go run` has built is gone
// by then.
func startedAs(path string) string {
	if strings.Contains(path, "/go-build") {
		return "go run ./cmd/payoutd"
	}
	return path
}
