package bench

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/sign"
)

// exchangeTimeout is what the published SDK waits for an answer.
const exchangeTimeout = 30 * time.Second

// answerBytesMax bounds what is read of an answer.
const answerBytesMax = 1 << 20

// Conn is one connection that is kept alive. A request is one write and its
// answer is read where it arrives, without the goroutines of http.Transport:
// what the generator does not use of the cores is left to the server.
type Conn struct {
	Host string // and port
	c    net.Conn
	r    *bufio.Reader
	out  []byte
	in   []byte
}

// Request is one signed request, to be sent again as it is.
type Request struct {
	Path      string
	Project   id.Project
	Key       string // of idempotency
	Signature string
	Body      []byte
}

// Exchange sends a request and returns the answer, whose body is good until the
// next exchange. After an error the next exchange opens another connection.
func (c *Conn) Exchange(r *Request) (status int, body []byte, err error) {
	if c.c == nil {
		if c.c, err = net.DialTimeout("tcp", c.Host, exchangeTimeout); err != nil {
			c.c = nil
			return 0, nil, err
		}
		c.r = bufio.NewReader(c.c)
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.c.SetDeadline(now().Add(exchangeTimeout)); err != nil {
		return 0, nil, err
	}
	c.out = r.append(c.out[:0], c.Host)
	if _, err := c.c.Write(c.out); err != nil {
		return 0, nil, err
	}
	h, err := readHead(c.r, answerBytesMax)
	if err != nil {
		return 0, nil, err
	}
	if status, err = strconv.Atoi(h.second); err != nil {
		return 0, nil, errHead
	}
	c.in = slices.Grow(c.in[:0], h.length)[:h.length]
	if _, err := io.ReadFull(c.r, c.in); err != nil {
		return 0, nil, err
	}
	if h.close {
		c.Close()
	}
	return status, c.in, nil
}

// Close ends the connection, if there is one; the next exchange opens another.
func (c *Conn) Close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}

// append writes the request as it goes over the wire. A repeat of it gets the
// first answer again (sign.HeaderMode).
func (r *Request) append(b []byte, host string) []byte {
	line := func(parts ...string) {
		for _, p := range parts {
			b = append(b, p...)
		}
		b = append(b, '\r', '\n')
	}
	line("POST ", r.Path, " HTTP/1.1")
	line("Host: ", host)
	line("Content-Type: application/json")
	line("Content-Length: ", strconv.Itoa(len(r.Body)))
	if r.Project != "" {
		line(sign.HeaderProject, ": ", string(r.Project))
		line(sign.HeaderSign, ": ", r.Signature)
		line(sign.HeaderKey, ": ", r.Key)
		line(sign.HeaderMode, ": replay")
	}
	line()
	return append(b, r.Body...)
}

// Member returns the first text member of a name in JSON that the server wrote:
// what the generator needs of an answer stands at its beginning, and reading the
// rest would cost more than it tells.
func Member(body []byte, name string) string {
	_, rest, _ := bytes.Cut(body, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(value)
}
