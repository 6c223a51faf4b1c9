package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
)

// envelope is the error envelope.
type envelope struct {
	Status string `json:"status"`
	Error  struct {
		Code        fault.Code `json:"code"`
		Description string     `json:"description"`
	} `json:"error"`
}

// wantRefused checks an error answer: its status, its code, and that the
// envelope is whole. It returns the description.
func wantRefused(t *testing.T, w *httptest.ResponseRecorder, status int, code fault.Code) string {
	t.Helper()
	var e envelope
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	if w.Code != status || e.Status != "error" || e.Error.Code != code || e.Error.Description == "" {
		t.Errorf("answered %d %s; want %d and code %s with a description", w.Code, w.Body, status, code)
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Request-Id") != fixedRequest {
		t.Errorf("headers %v; want JSON and the request's number", w.Header())
	}
	return e.Error.Description
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	codes := slices.Sorted(slices.Values(fault.Codes()))
	later := map[fault.Code]string{fault.Busy: "1", fault.Throttled: "1", fault.Restoring: "30"}
	for _, code := range append(codes, "a_code_without_a_row") {
		t.Run(string(code), func(t *testing.T) {
			h := newServer(t)
			h.engine.err = fmt.Errorf("create: %w", &fault.Error{Code: code, Text: "what the engine says", Cause: errors.New("a secret cause")})
			w := h.do(post("/api/v1/session/create", "{}"))

			row := fault.Lookup(code)
			status := row.HTTP
			if status == 0 {
				status = http.StatusBadRequest
			}
			text := wantRefused(t, w, status, row.Wire)
			switch {
			case later[code] != "":
				if w.Header().Get("Retry-After") != later[code] || text != row.Text {
					t.Errorf("Retry-After %q, text %q; want %s and %q", w.Header().Get("Retry-After"), text, later[code], row.Text)
				}
			case row.Wire == fault.Internal:
				if text != "internal failure; request "+fixedRequest {
					t.Errorf("text %q says more than the request's number", text)
				}
			case text != "what the engine says":
				t.Errorf("text %q; want the engine's", text)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the cause is shown: %s", w.Body)
			}
			if !strings.Contains(h.log.String(), "a secret cause") {
				t.Errorf("the cause is not in the log: %s", h.log)
			}
		})
	}
}

func TestErrorWithoutCodeIsInternal(t *testing.T) {
	h := newServer(t)
	h.engine.err = errors.New("disk on fire")
	if text := wantRefused(t, h.do(post("/api/v1/session/create", "{}")), 500, fault.Internal); strings.Contains(text, "fire") {
		t.Errorf("text %q tells the cause", text)
	}
	if !strings.Contains(h.log.String(), `"level":"ERROR"`) || !strings.Contains(h.log.String(), "disk on fire") {
		t.Errorf("log %s; want an error with its cause", h.log)
	}
}

func TestRequestIDs(t *testing.T) {
	h := New(newFakeEngine(), Options{})
	form := regexp.MustCompile(`^rq_[0-9a-f]{16}$`)
	made := make(map[string]bool)
	for range 100 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, post("/api/v1/session/create", "{}"))
		n := w.Header().Get("X-Request-Id")
		if !form.MatchString(n) || made[n] {
			t.Fatalf("request number %q is malformed or used before", n)
		}
		made[n] = true
	}
}
