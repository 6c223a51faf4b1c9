package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/payoutd/payoutd/internal/hostile"
	"github.com/payoutd/payoutd/sign"
)

// TestHostile plays testdata/hostile/*.txtar: each request goes to a product of
// its file over a connection of its own, and stands before the answer it gets.
// The header of a section is what is asked and why it is hostile:
//
//	-- v2 session/create: title --  a body, signed by acme, without its last newline
//	-- raw: title --                all bytes of a connection; line ends are CRLF
//	-- answer --                    status, error code and text of each answer, then
//	                                whether the server has closed the connection
//
// What stands in ⟨⟩ package hostile explains. The answers are rewritten with
// -update.
func TestHostile(t *testing.T) {
	files, err := filepath.Glob("testdata/hostile/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no hostile requests: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			fixture := must(txtar.ParseFile(name))
			played := playHostile(t, fixture)
			if *update {
				if err := os.WriteFile(name, txtar.Format(played), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for i, want := range fixture.Files {
				if i >= len(played.Files) || string(played.Files[i].Data) != string(want.Data) {
					t.Errorf("%s\ngot  %swant %s", fixture.Files[max(i-1, 0)].Name, played.Files[min(i, len(played.Files)-1)].Data, want.Data)
				}
			}
		})
	}
}

// playHostile sends the requests of a fixture and returns it with their
// answers. Whatever is sent, no answer is a failure of ours, no card number
// comes back, and one message is never taken for two.
func playHostile(t *testing.T, fixture *txtar.Archive) *txtar.Archive {
	t.Helper()
	keys()
	serverKeys()
	vaultKeys()
	emptyDatabase()
	hooks := newReceiver(t)
	played := &txtar.Archive{Comment: fixture.Comment}
	synctest.Test(t, func(t *testing.T) {
		p := newProduct(t, hooks)
		defer p.close()
		for _, file := range fixture.Files {
			if file.Name == "answer" {
				continue
			}
			where, title, ok := strings.Cut(file.Name, ": ")
			if !ok || title == "" {
				t.Fatalf("%q: want a path and a title", file.Name)
			}
			var parts []hostile.Part
			if where == "raw" {
				parts = unfold(t, strings.ReplaceAll(string(file.Data), "\n", "\r\n"))
			} else {
				parts = []hostile.Part{{Bytes: asked(where, bytesOf(t, strings.TrimSuffix(string(file.Data), "\n")))}}
			}
			came := p.overLine(parts)
			if strings.Count(came, "\n") > 2 && !strings.HasSuffix(title, two) {
				t.Errorf("%s: one message had several answers:\n%s", file.Name, came)
			}
			if strings.HasPrefix(came, "5") && !strings.HasPrefix(came, "501 ") || strings.Contains(came, "4242424242424242") {
				t.Errorf("%s: answered %s", file.Name, came)
			}
			played.Files = append(played.Files, file, txtar.File{Name: "answer", Data: []byte(came)})
			settle()
		}
	})
	return played
}

// two ends the titles of messages that are two by any reading of the standard.
const two = "which are two"

// asked is a request of acme that is right but for its body.
func asked(path string, body []byte) []byte {
	version, operation, _ := strings.Cut(path, " ")
	return fmt.Appendf(nil, "POST /api/%s/%s HTTP/1.1\r\nHost: payoutd\r\nX-PARTNER-PROJECT: acme\r\nX-PARTNER-SIGN: %s\r\nContent-Length: %d\r\n\r\n%s",
		version, operation, signed("acme", string(body)), len(body), body)
}

// unfold turns the notation of a section into what is sent.
func unfold(t *testing.T, text string) []hostile.Part {
	t.Helper()
	parts, err := hostile.Unfold(text, signed)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// bytesOf unfolds a body, which takes no time.
func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	parts := unfold(t, text)
	if len(parts) != 1 {
		t.Fatal("time passes within a signed body")
	}
	return parts[0].Bytes
}

// overLine sends the parts over a new connection and says what came back.
func (p *product) overLine(parts []hostile.Part) string {
	p.t.Helper()
	conn := p.dial()
	patience := 2 * time.Second
	for _, part := range parts {
		patience += part.Wait
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for _, part := range parts {
			if _, err := conn.Write(part.Bytes); err != nil {
				return // the server has had enough
			}
			time.Sleep(part.Wait) // the peer is slow; in a bubble this takes no time
		}
	}()
	var came strings.Builder
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	verb, _, _ := strings.Cut(string(parts[0].Bytes), " ")
	for asked := (&http.Request{Method: verb}); ; asked = nil { // whose answer has no body if it is HEAD
		response, err := http.ReadResponse(answers, asked)
		if err != nil {
			state := "closed"
			if errors.Is(err, os.ErrDeadlineExceeded) {
				state = "open"
			}
			fmt.Fprintln(&came, state)
			break
		}
		if response.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(response.Body)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			p.t.Error(err)
		}
		fmt.Fprintln(&came, said(response, body))
	}
	if err := conn.Close(); err != nil {
		p.t.Error(err)
	}
	<-wrote
	return came.String()
}

// said is an answer in one line.
func said(r *http.Response, body []byte) string {
	var answer struct {
		Status string
		Error  struct{ Code, Description string }
	}
	switch err := json.Unmarshal(body, &answer); {
	case err != nil:
		return strings.TrimSpace(r.Status + " " + string(body)) // net/http's own
	case answer.Status == "ok":
		return "200 ok"
	}
	return fmt.Sprintf("%d %s: %s", r.StatusCode, answer.Error.Code, answer.Error.Description)
}

// TestRefusalsLeaveNothing sends what strangers may make up, and bad bodies that
// are signed, thousands of them: no name of theirs stays in memory, in
// the metrics or in what is kept for the next request.
func TestRefusalsLeaveNothing(t *testing.T) {
	h := newServer(t)
	h.log, h.Server.log = nil, slog.New(slog.DiscardHandler)
	var bodies []string
	for _, name := range must(filepath.Glob("testdata/hostile/*.txtar")) {
		for _, file := range must(txtar.ParseFile(name)).Files {
			if strings.HasPrefix(file.Name, "v") && len(file.Data) < 1000 {
				bodies = append(bodies, string(bytesOf(t, strings.TrimSuffix(string(file.Data), "\n"))))
			}
		}
	}
	send := func(n int) {
		stranger := httptest.NewRequest(http.MethodPost, fmt.Sprintf("/api/v1/made/up/%d", n), strings.NewReader("{}"))
		h.do(stranger)
		ghost := httptest.NewRequest(http.MethodPost, "/api/v1/session/create", strings.NewReader("{}"))
		ghost.Header.Set(sign.HeaderProject, fmt.Sprintf("ghost-%d", n))
		ghost.Header.Set(sign.HeaderSign, "AAAA")
		h.do(ghost)
		body := bodies[n%len(bodies)]
		if len(body) > 1<<16 {
			return // these cost their time in TestHostile
		}
		bad := httptest.NewRequest(http.MethodPost, "/api/v2/session/status", strings.NewReader(body))
		bad.Header.Set(sign.HeaderProject, "birch")
		bad.Header.Set(sign.HeaderSign, signed("birch", body))
		h.do(bad)
		h.engine.calls = nil
	}
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what pools hold goes in two steps
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for n := range 200 {
		send(n)
	}
	before := heap()
	for n := range 1500 {
		send(200 + n)
	}
	// A name that was kept with its counters would take some 500 bytes.
	if grown := heap() - before; grown > 300<<10 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, f := range families {
		series += len(f.GetMetric())
	}
	if series > 20 {
		t.Errorf("%d series of metrics", series)
	}
}
