package bench

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

const ready = `echo "payoutd is ready on http://127.0.0.1:8131 (data in x)"; `

func TestProcess(t *testing.T) {
	tests := []struct {
		name, script string
		start, stop  string // part of the error; "" for none
	}{
		{"ends in order", `trap "exit 0" TERM; ` + ready + `while :; do read -t 1 line || :; done`, "", ""},
		{"ends in disorder", `trap "exit 3" TERM; ` + ready + `while :; do read -t 1 line || :; done`, "", "exit status 3"},
		{"ends before it is ready", `echo "port in use"; exit 1`, "before it was ready", ""},
		{"listens beyond the machine", `echo "payoutd is ready on http://192.0.2.1:8131"; exit 0`, "before it was ready", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := startProcess(t.Context(), exec.Command("bash", "-c", test.script))
			if !says(err, test.start) {
				t.Fatalf("start: %v, want %q", err, test.start)
			}
			if err != nil {
				return
			}
			defer p.kill()
			if p.host != "127.0.0.1:8131" {
				t.Errorf("the server is on %s", p.host)
			}
			if err := p.stop(); !says(err, test.stop) {
				t.Errorf("stop: %v, want %q", err, test.stop)
			}
		})
	}
	t.Run("is not there", func(t *testing.T) {
		if _, err := startProcess(t.Context(), exec.Command("/no/such/program")); !says(err, "start the server") {
			t.Errorf("%v", err)
		}
	})
	t.Run("interrupted before it is ready", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := startProcess(ctx, exec.Command("sleep", "1000")); !says(err, "canceled") {
			t.Errorf("%v", err)
		}
	})
}

func says(err error, part string) bool {
	if err == nil || part == "" {
		return err == nil && part == ""
	}
	return strings.Contains(err.Error(), part)
}
