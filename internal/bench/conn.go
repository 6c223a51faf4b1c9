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

// conn is one connection that is kept alive. A request is one write and its
// answer is read where it arrives, without the goroutines of http.Transport:
// what the generator does not use of the cores is left to the server.
type conn struct {
	host string // and port
	c    net.Conn
	r    *bufio.Reader
	out  []byte
	in   []byte
}

// request is one signed request, to be sent again as it is.
type request struct {
	path      string
	project   id.Project
	key       string // of idempotency
	signature string
	body      []byte
}

// exchange sends a request and returns the answer, whose body is good until the
// next exchange. After an error the next exchange opens another connection.
func (c *conn) exchange(r *request) (status int, body []byte, err error) {
	if c.c == nil {
		if c.c, err = net.DialTimeout("tcp", c.host, exchangeTimeout); err != nil {
			c.c = nil
			return 0, nil, err
		}
		c.r = bufio.NewReader(c.c)
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.c.SetDeadline(now().Add(exchangeTimeout)); err != nil {
		return 0, nil, err
	}
	c.out = r.append(c.out[:0], c.host)
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
		c.close()
	}
	return status, c.in, nil
}

func (c *conn) close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}

// append writes the request as it goes over the wire. A repeat of it gets the
// first answer again (sign.HeaderMode).
func (r *request) append(b []byte, host string) []byte {
	line := func(parts ...string) {
		for _, p := range parts {
			b = append(b, p...)
		}
		b = append(b, '\r', '\n')
	}
	line("POST ", r.path, " HTTP/1.1")
	line("Host: ", host)
	line("Content-Type: application/json")
	line("Content-Length: ", strconv.Itoa(len(r.body)))
	if r.project != "" {
		line(sign.HeaderProject, ": ", string(r.project))
		line(sign.HeaderSign, ": ", r.signature)
		line(sign.HeaderKey, ": ", r.key)
		line(sign.HeaderMode, ": replay")
	}
	line()
	return append(b, r.body...)
}

// member returns the first text member of a name in JSON that the server wrote:
// what the generator needs of an answer stands at its beginning, and reading the
// rest would cost more than it tells.
func member(body []byte, name string) string {
	_, rest, _ := bytes.Cut(body, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(value)
}
