package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/sign"
)

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    map[string][]string
		status int
		code   fault.Code
		says   string
	}{
		{"no project", map[string][]string{sign.HeaderProject: nil}, 401, fault.Unidentified, sign.HeaderProject},
		{"empty project", map[string][]string{sign.HeaderProject: {""}}, 401, fault.Unidentified, sign.HeaderProject},
		{"project too long", map[string][]string{sign.HeaderProject: {strings.Repeat("a", 65)}}, 400, fault.Invalid, sign.HeaderProject},
		{"project twice", map[string][]string{sign.HeaderProject: {"acme", "acme"}}, 400, fault.Invalid, sign.HeaderProject},
		{"no signature", map[string][]string{sign.HeaderSign: nil}, 401, fault.Unauthenticated, sign.HeaderSign},
		{"empty signature", map[string][]string{sign.HeaderSign: {""}}, 401, fault.Unauthenticated, sign.HeaderSign},
		{"signature that is not Base64", map[string][]string{sign.HeaderSign: {"%%%"}}, 401, fault.Unauthenticated, sign.HeaderSign},
		{"signature in hex", map[string][]string{sign.HeaderSign: {strings.Repeat("ab", 256)}}, 401, fault.Unauthenticated, sign.HeaderSign},
		{"signature twice", map[string][]string{sign.HeaderSign: {"a", "b"}}, 400, fault.Invalid, sign.HeaderSign},
		{"empty key", map[string][]string{sign.HeaderKey: {""}}, 400, fault.Invalid, sign.HeaderKey},
		{"key too long", map[string][]string{sign.HeaderKey: {strings.Repeat("k", 256)}}, 400, fault.Invalid, sign.HeaderKey},
		{"key with a tab", map[string][]string{sign.HeaderKey: {"a\tb"}}, 400, fault.Invalid, sign.HeaderKey},
		{"key beyond ASCII", map[string][]string{sign.HeaderKey: {"ключ"}}, 400, fault.Invalid, sign.HeaderKey},
		{"key twice", map[string][]string{sign.HeaderKey: {"a", "a"}}, 400, fault.Invalid, sign.HeaderKey},
		{"unknown mode", map[string][]string{sign.HeaderKey: {"a"}, sign.HeaderMode: {"refuse"}}, 400, fault.Invalid, sign.HeaderMode},
		{"mode in capitals", map[string][]string{sign.HeaderKey: {"a"}, sign.HeaderMode: {"REPLAY"}}, 400, fault.Invalid, sign.HeaderMode},
		{"empty mode", map[string][]string{sign.HeaderKey: {"a"}, sign.HeaderMode: {""}}, 400, fault.Invalid, sign.HeaderMode},
		{"mode twice", map[string][]string{sign.HeaderKey: {"a"}, sign.HeaderMode: {"replay", "replay"}}, 400, fault.Invalid, sign.HeaderMode},
		{"mode without a key", map[string][]string{sign.HeaderMode: {"replay"}}, 400, fault.Invalid, sign.HeaderKey},
		{"compressed", map[string][]string{"Content-Encoding": {"gzip"}}, 400, fault.Invalid, "Content-Encoding"},
		{"compressed twice", map[string][]string{"Content-Encoding": {"identity", "br"}}, 400, fault.Invalid, "Content-Encoding"},

		{"key of one character", map[string][]string{sign.HeaderKey: {"a"}}, 200, "", ""},
		{"longest key", map[string][]string{sign.HeaderKey: {strings.Repeat("k", 255)}}, 200, "", ""},
		{"key with spaces", map[string][]string{sign.HeaderKey: {"order 7 of march"}}, 200, "", ""},
		{"replay", map[string][]string{sign.HeaderKey: {"a"}, sign.HeaderMode: {"replay"}}, 200, "", ""},
		{"identity encoding", map[string][]string{"Content-Encoding": {"Identity"}}, 200, "", ""},
		{"another content type", map[string][]string{"Content-Type": {"text/plain"}}, 200, "", ""},
		{"no content type", map[string][]string{"Content-Type": nil}, 200, "", ""},
		{"what the SDK adds", map[string][]string{"X-Sdk-Version": {"bank131/php-sdk:2.6.0, PHP/8.1"}, "X-Partner-Submerchant": {"m1"}}, 200, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newServer(t)
			r := post("/api/v1/session/create", "{}")
			for name, values := range c.set {
				r.Header[http.CanonicalHeaderKey(name)] = values
			}
			w := h.do(r)
			if c.status == 200 {
				if w.Code != 200 {
					t.Errorf("answered %d %s", w.Code, w.Body)
				}
				return
			}
			if text := wantRefused(t, w, c.status, c.code); !strings.Contains(text, c.says) {
				t.Errorf("text %q does not name %s", text, c.says)
			}
			if len(h.engine.calls) != 0 {
				t.Error("reached the engine")
			}
		})
	}
}

// FuzzHeaders sends any headers with any body: whatever they hold, the engine
// sees only what its project has signed and keys of the right form, and the
// answer is JSON.
func FuzzHeaders(f *testing.F) {
	f.Add("acme", "", "key-1", "replay", "{}")
	f.Add("ghost", "AAAA", "", "", "[]")
	f.Add(strings.Repeat("p", 65), "not base64", strings.Repeat("k", 256), "REPLAY", "")
	f.Add("acme\x00", "=\n", "\x7f", "replay", `{"metadata":null}`)
	f.Fuzz(func(t *testing.T, project, signature, key, mode, body string) {
		for _, right := range []bool{false, true} {
			h := &harness{engine: newFakeEngine()}
			h.Server = New(h.engine, Options{})
			r := httptest.NewRequest(http.MethodPost, "/api/v2/session/create", strings.NewReader(body))
			set := func(name, v string) { r.Header[http.CanonicalHeaderKey(name)] = []string{v} }
			set(sign.HeaderKey, key)
			set(sign.HeaderMode, mode)
			if right {
				set(sign.HeaderProject, "birch")
				set(sign.HeaderSign, signed("birch", body)) // an RSA key signs thirty times as slowly
			} else {
				set(sign.HeaderProject, project)
				set(sign.HeaderSign, signature)
			}
			w := h.do(r)
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("answer %q is not JSON", w.Body)
			}
			done := slices.ContainsFunc(h.engine.calls, func(c seen) bool { return c.method != "Refuse" })
			if (w.Code == 200) != done || len(h.engine.calls) > 1 {
				t.Errorf("answered %d after %d calls of the engine", w.Code, len(h.engine.calls))
			}
			for _, c := range h.engine.calls {
				caller := h.engine.callers[c.call.Project.ID]
				good := slices.ContainsFunc(caller.Public, func(k sign.PublicKey) bool {
					return k.Verify([]byte(body), r.Header.Get(sign.HeaderSign)) == nil
				})
				if !good {
					t.Errorf("%s reached the engine unsigned", c.method)
				}
				if c.call.Key == "" || len(c.call.Key) > 255 || c.call.Key != key || !c.call.Replay || mode != "replay" {
					t.Errorf("key %q, mode %q became %+v", key, mode, c.call)
				}
			}
		}
	})
}
