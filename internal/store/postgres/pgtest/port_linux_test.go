package pgtest_test

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

// TestPortIsHeld has a server come and go at a port, which others can't have
// meanwhile. Other systems let no server bind to a port that is held.
func TestPortIsHeld(t *testing.T) {
	port := pgtest.Port(t)
	for range 2 {
		stranger := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
		if conn, err := stranger.DialContext(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a stranger at the port: %v, %v", conn, err)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
