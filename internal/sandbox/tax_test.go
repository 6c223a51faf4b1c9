package sandbox

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
)

// somebody is no magic INN.
const somebody = "500100732259"

func openWorld(t *testing.T) *World {
	t.Helper()
	w, err := Open(t.TempDir(), &Clock{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestLink(t *testing.T) {
	for _, tt := range []struct {
		name, inn string
		answer    func(*testing.T, *World) // of the person
		want      LinkState
	}{
		{"nobody answers", somebody, nil, LinkRequested},
		{"confirmed by hand", somebody, func(t *testing.T, w *World) { decide(t, w, true) }, LinkLinked},
		{"declined by hand", somebody, func(t *testing.T, w *World) { decide(t, w, false) }, LinkDeclined},
		{"confirmed by its INN", innOf(41), nil, LinkLinked},
		{"declined by its INN", innOf(42), nil, LinkDeclined},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := openWorld(t)
			if got, err := w.Link(t.Context(), tt.inn); got != LinkNone || err != nil {
				t.Fatalf("before the request: %s, %v", got, err)
			}
			if got, err := w.RequestLink(t.Context(), tt.inn); got != LinkRequested || err != nil {
				t.Fatalf("the request: %s, %v", got, err)
			}
			if tt.answer != nil {
				tt.answer(t, w)
			}
			for range 2 {
				if got, err := w.Link(t.Context(), tt.inn); got != tt.want || err != nil {
					t.Errorf("%s, %v; want %s", got, err, tt.want)
				}
			}
		})
	}
}

func decide(t *testing.T, w *World, allow bool) {
	t.Helper()
	if err := w.DecideLink(t.Context(), somebody, allow); err != nil {
		t.Fatal(err)
	}
}

func TestLinkOnceMore(t *testing.T) {
	w := openWorld(t)
	if err := w.DecideLink(t.Context(), somebody, true); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an answer to no request: %v", err)
	}
	request := func(want LinkState) {
		t.Helper()
		if got, err := w.RequestLink(t.Context(), somebody); got != want || err != nil {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	request(LinkRequested)
	request(LinkRequested)
	decide(t, w, false)
	if err := w.DecideLink(t.Context(), somebody, true); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("a second answer: %v", err)
	}
	request(LinkRequested)
	decide(t, w, true)
	request(LinkLinked) // who is linked is not asked again
}

func TestTaxServiceBreaks(t *testing.T) {
	w := openWorld(t)
	if _, err := w.RequestLink(t.Context(), innOf(43)); fault.CodeOf(err) != "npd_service_internal_error" {
		t.Error(err)
	}
	if _, err := w.Link(t.Context(), innOf(43)); fault.CodeOf(err) != "npd_service_internal_error" {
		t.Error(err)
	}
}

func TestLinkValues(t *testing.T) {
	for _, v := range LinkValues() {
		if v.Kind != "inn" || !instrument.INN(v.Value) || len(v.Value) != 12 || v.Description == "" || v.ErrorCode != "" && !fault.Known(v.ErrorCode) {
			t.Errorf("%+v", v)
		}
	}
}

func TestTaxOverHTTP(t *testing.T) {
	w := openWorld(t)
	handler := Handler(Site{Clock: w.clock, Inbox: NewInbox(w.clock.Now), World: w})
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"no requests", http.MethodGet, "/sandbox/tax", "", 200, "[]"},
		{"answer to none", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"confirm"}`, 400, "no request to link"},
		{"nonsense", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"maybe"}`, 400, "confirm"},
		{"no JSON", http.MethodPost, "/sandbox/tax/" + somebody, `confirm`, 400, "confirm"},
		{"ask", "", "", "", 0, ""},
		{"listed", http.MethodGet, "/sandbox/tax", "", 200, `"tax_reference":"` + somebody + `","state":"requested"`},
		{"confirmed", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"confirm"}`, 200, `"ok"`},
		{"answered before", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"reject"}`, 400, "was answered"},
		{"listed as linked", http.MethodGet, "/sandbox/tax", "", 200, `"state":"linked"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.method == "" {
				if _, err := w.RequestLink(t.Context(), somebody); err != nil {
					t.Fatal(err)
				}
				return
			}
			r := request(handler, tt.method, tt.path, tt.body, nil)
			if r.Code != tt.status || !strings.Contains(r.Body.String(), tt.want) {
				t.Errorf("%d %s", r.Code, r.Body)
			}
		})
	}
}

func TestDocsListEveryINN(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range LinkValues() {
		if row := "| `" + v.Value + "` | `" + string(v.Outcome) + "` | " + v.Description + " |"; !strings.Contains(string(text), row) {
			t.Errorf("%s has no row %s", docs, row)
		}
	}
}
