package postgres

import (
	"context"
	"testing"
	"time"
)

// TestNudge has one node wake another, and again after the connection on which
// it listens was lost.
func TestNudge(t *testing.T) {
	url := newDatabase(t)
	here, there := join(t, url, 1), join(t, url, 2)
	nudged := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		there.Listen(ctx, func() { nudged <- struct{}{} })
	}()
	wait := func(what string) {
		t.Helper()
		select {
		case <-nudged:
		case <-time.After(time.Minute):
			t.Fatalf("no nudge %s", what)
		}
	}
	wait("once it listens")
	here.must(here.Nudge(t.Context()))
	wait("after a nudge")
	shell(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query = '`+listen+`'`)
	wait("after the connection was lost")
	here.must(here.Nudge(t.Context()))
	wait("on the new connection")
	cancel()
	<-ended
	if extra := len(nudged); extra > 0 {
		t.Errorf("%d nudges too many", extra)
	}
}
