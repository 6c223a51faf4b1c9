package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// answerHeaders are the headers that are ours to decide; the rest is net/http's.
var answerHeaders = []string{
	"Allow", "Cache-Control", "Content-Length", "Content-Type", "Idempotency-Replayed", "Location",
	"Retry-After", "X-Content-Type-Options", "X-Request-Id",
}

// TestWire plays testdata/wire/*.txtar: each file is a conversation with one
// server over one connection, in sections
//
//	request  verb, path and headers, as they go over the line
//	body     the bytes of the body, without the last newline; may be left out
//	answer   status, our headers and body, exactly
//
// In a request {name} is the signature of the body by that key, and
// "Transfer-Encoding: chunked" sends the body in chunks of seven bytes.
func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/wire/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			played := play(t, archive)
			if *update {
				if err := os.WriteFile(name, txtar.Format(played), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got, want := string(txtar.Format(played)), string(txtar.Format(archive)); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// play sends the requests of a fixture and returns it with the answers that came.
func play(t *testing.T, fixture *txtar.Archive) *txtar.Archive {
	t.Helper()
	conn, err := net.Dial("tcp", serveTCP(t, newServer(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)

	played := &txtar.Archive{Comment: fixture.Comment}
	for i, file := range fixture.Files {
		switch file.Name {
		case "request":
			var body []byte
			if i+1 < len(fixture.Files) && fixture.Files[i+1].Name == "body" {
				body = bytes.TrimSuffix(fixture.Files[i+1].Data, []byte("\n"))
			}
			head := fill(string(file.Data), string(body))
			if _, err := conn.Write(message(head, body)); err != nil {
				t.Fatal(err)
			}
			played.Files = append(played.Files, file)
			if len(body) > 0 {
				played.Files = append(played.Files, fixture.Files[i+1])
			}
			verb, _, _ := strings.Cut(head, " ")
			response, err := http.ReadResponse(replies, &http.Request{Method: verb})
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			played.Files = append(played.Files, txtar.File{Name: "answer", Data: written(t, response)})
		case "body", "answer":
		default:
			t.Fatalf("unknown section %q", file.Name)
		}
	}
	return played
}

var placeholder = regexp.MustCompile(`\{[a-z0-9-]+\}`)

// fill puts signatures in place of key names.
func fill(head, body string) string {
	return placeholder.ReplaceAllStringFunc(head, func(name string) string {
		return signed(strings.Trim(name, "{}"), body)
	})
}

// message is an HTTP/1.1 request with its headers exactly as the fixture has them.
func message(head string, body []byte) []byte {
	line, headers, _ := strings.Cut(head, "\n")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: payoutd\r\n", line)
	for h := range strings.Lines(headers) {
		b.WriteString(strings.TrimSuffix(h, "\n") + "\r\n")
	}
	if strings.Contains(headers, "chunked") {
		b.WriteString("\r\n")
		for part := range slices.Chunk(body, 7) {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
		b.WriteString("0\r\n\r\n")
		return b.Bytes()
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.Bytes()
}

// written is an answer as fixtures hold it.
func written(t *testing.T, r *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.Status)
	for _, name := range answerHeaders {
		for _, v := range r.Header[textproto.CanonicalMIMEHeaderKey(name)] {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", body)
	return b.Bytes()
}
