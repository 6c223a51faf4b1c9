package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Receiver takes webhooks in as a partner's server does. It reads requests
// without the goroutines of http.Server, for the reason that Conn has.
type Receiver struct {
	URL string

	take     func(body []byte, signature string) bool
	listener net.Listener
	serving  sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool // connections; nil once it is closed
}

// webhookBytesMax is far above any webhook.
const webhookBytesMax = 1 << 20

// Receive opens a receiver at an address such as 127.0.0.1:0. take is asked from
// several goroutines about each webhook, and for its answer: 200 or, with false,
// 400. What cannot be read comes to it as nothing.
func Receive(address string, take func(body []byte, signature string) bool) (*Receiver, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("receiver of webhooks: %w", err)
	}
	v := &Receiver{URL: "http://" + l.Addr().String() + "/hook", take: take, listener: l, open: map[net.Conn]bool{}}
	v.serving.Go(v.serve)
	return v, nil
}

// serve takes connections until the listener is closed.
func (v *Receiver) serve() {
	for {
		c, err := v.listener.Accept()
		if err != nil {
			return
		}
		if !v.keep(c) {
			_ = c.Close()
			return
		}
		v.serving.Go(func() {
			defer v.drop(c)
			for r := bufio.NewReader(c); v.answer(c, r) == nil; {
			}
		})
	}
}

// keep remembers a connection that has to be closed with the receiver; false if
// that has happened.
func (v *Receiver) keep(c net.Conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.open == nil {
		return false
	}
	v.open[c] = true
	return true
}

func (v *Receiver) drop(c net.Conn) {
	_ = c.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, c)
}

// Close ends all connections. Whoever is sending learns nothing of it: it is
// called when no more webhooks are waited for.
func (v *Receiver) Close() {
	_ = v.listener.Close()
	v.mu.Lock()
	for c := range v.open {
		_ = c.Close()
	}
	v.open = nil
	v.mu.Unlock()
	v.serving.Wait()
}

// The answers to a webhook.
var (
	taken   = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	refused = []byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
)

// answer reads one request and answers it. It fails when the connection is of no
// more use.
func (v *Receiver) answer(c net.Conn, r *bufio.Reader) error {
	h, err := readHead(r, webhookBytesMax)
	if errors.Is(err, errHead) {
		v.take(nil, "")
		_, _ = c.Write(refused)
	}
	if err != nil {
		return err
	}
	body := make([]byte, h.length)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	text := taken
	if !v.take(body, h.signature) {
		text = refused
	}
	if _, err = c.Write(text); err == nil && h.close {
		err = io.EOF
	}
	return err
}
