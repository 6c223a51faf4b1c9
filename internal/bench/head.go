package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/payoutd/payoutd/sign"
)

// head is what the benchmark needs of the lines before the body of a message of
// HTTP/1.1 (RFC 9112). It reads what payoutd writes, no more: what parsing all of
// it would cost is left to the server.
type head struct {
	second    string // word of the first line: the status of an answer
	length    int    // of the body in bytes
	close     bool   // the connection ends with this message
	signature string
}

var errHead = errors.New("the head of an HTTP message is not as payoutd writes it")

// readHead reads up to the empty line. A message must tell its length, at most
// lengthMax, and no line may be longer than r has room for.
func readHead(r *bufio.Reader, lengthMax int) (h head, err error) {
	line, err := readLine(r)
	if err != nil {
		return h, err // of the connection, which may have ended in order
	}
	_, rest, _ := bytes.Cut(line, []byte{' '})
	second, _, _ := bytes.Cut(rest, []byte{' '})
	h.second, h.length = string(second), -1
	for {
		if line, err = readLine(r); err != nil {
			return h, err
		}
		if len(line) == 0 {
			break
		}
		name, value, found := bytes.Cut(line, []byte{':'})
		if !found {
			return h, errHead
		}
		if err := h.field(name, bytes.TrimSpace(value)); err != nil {
			return h, err
		}
	}
	if h.length < 0 || h.length > lengthMax {
		return h, fmt.Errorf("a body of %d bytes: %w", h.length, errHead)
	}
	return h, nil
}

// field takes one of the fields that matter; the name of a field has no case.
func (h *head) field(name, value []byte) (err error) {
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		if h.length, err = strconv.Atoi(string(value)); err != nil || h.length < 0 {
			return errHead
		}
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		return errHead
	case bytes.EqualFold(name, []byte("Connection")):
		h.close = bytes.EqualFold(value, []byte("close"))
	case bytes.EqualFold(name, []byte(sign.HeaderSign)):
		h.signature = string(value)
	}
	return nil
}

// readLine reads a line without its end. It is good until the next one is read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errHead
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
}
