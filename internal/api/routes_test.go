package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/sign"
)

func TestNotOfferedOperations(t *testing.T) {
	h := newServer(t)
	for _, path := range notOffered {
		for _, version := range []string{"v1", "v2"} {
			t.Run(version+"/"+path, func(t *testing.T) {
				url := "/api/" + version + "/" + path
				if text := wantRefused(t, h.do(post(url, `{"any":"thing"}`)), 403, fault.Unauthorized); !strings.Contains(text, path) {
					t.Errorf("text %q does not name %s", text, path)
				}
				r := post(url, `{"any":"thing"}`)
				r.Header.Set(sign.HeaderSign, signed("birch", `{"any":"thing"}`))
				wantRefused(t, h.do(r), 401, fault.Unauthenticated)
			})
		}
	}
	if len(h.engine.calls) != 0 {
		t.Errorf("%d calls reached the engine", len(h.engine.calls))
	}
}

func TestPathsAndVerbs(t *testing.T) {
	for _, c := range []struct {
		name, verb, path string
		status           int
		allow            string
	}{
		{"root", "GET", "/", 404, ""},
		{"outside the API", "POST", "/session/create", 404, ""},
		{"no version", "POST", "/api/session/create", 404, ""},
		{"unknown version", "POST", "/api/v3/session/create", 404, ""},
		{"version only", "POST", "/api/v1/", 404, ""},
		{"unknown operation", "POST", "/api/v1/session/creat", 404, ""},
		{"longer than an operation", "POST", "/api/v1/session/create/more", 404, ""},
		{"upper case", "POST", "/api/v1/Session/Create", 404, ""},
		{"dot segments are not resolved", "POST", "/api/v1/token/../session/create", 404, ""},
		{"v1 only", "POST", "/api/v2/wallet/balance", 404, ""},
		{"get on an operation", "GET", "/api/v1/session/status", 405, "POST"},
		{"head", "HEAD", "/api/v2/session/status", 405, "POST"},
		{"options", "OPTIONS", "/api/v2/session/status", 405, "POST"},
		{"delete on banks", "DELETE", "/api/v1/fps/banks", 405, "GET, POST"},
		{"put on what is not offered", "PUT", "/api/v1/sberpay/push", 405, "POST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newServer(t)
			r := post(c.path, "{}")
			r.Method = c.verb
			w := h.do(r)
			wantRefused(t, w, c.status, fault.Invalid)
			if got := w.Header().Get("Allow"); got != c.allow {
				t.Errorf("Allow %q, want %q", got, c.allow)
			}
			if len(h.engine.calls) != 0 {
				t.Error("reached the engine")
			}
		})
	}
}

func TestRoutesReachTheirMethod(t *testing.T) {
	const on = `{"session_id":"ps_7300451"}`
	const phone = `"payment_method":{"type":"bank_account","bank_account":{"system_type":"faster_payment_system_verification",` +
		`"faster_payment_system_verification":{"phone":"79990001310","bank_id":"100000000131"}}},` +
		`"participant_details":{"recipient":{"first_name":"Марина","last_name":"Соколова"}}`
	for _, c := range []struct{ path, body, method string }{
		{"session/create", "{}", "Create"},
		{"session/start/payout", on, "Start"},
		{"session/start", on, "Start"},
		{"session/init/payout", initBody, "Init"},
		{"session/status", on, "Status"},
		{"session/confirm", on, "Confirm"},
		{"session/cancel", on, "Cancel"},
		{"fps/customer_verification", "{" + phone + "}", "Verify"},
		{"wallet/balance", `{"request_datetime":"2026-03-02T12:20:00+03:00"}`, "Balance"},
		{"token", `{"tokenize_widget":{"access":true}}`, "PublicToken"},
		{"token/info", `{"type":"public_token","public_token":{"token":"` + strings.Repeat("b4", 32) + `"}}`, "TokenInfo"},
		{"tokenize", `{"type":"bank_account_ru","bank_account_ru":{"bik":"044525974","account":"40817810900001234567"}}`, "Tokenize"},
		{"npd/check", `{"tax_reference":"772912345698"}`, "NPDAsk"},
		{"npd/taxpayer/check", `{"tax_reference":"772912345698"}`, "NPDAsk"},
		{"npd/taxpayer/check_personal_info", `{"tax_reference":"772912345698","full_name":"Orlov Pavel","phone":"79990001310"}`, "NPDAsk"},
		{"npd/request/status", `{"request_id":"npd-7300451"}`, "NPDStatus"},
		{"npd/notifications/count", `{"tax_references":["772912345698"]}`, "NPDNotices"},
		{"npd/notifications/read", `{"tax_references":["772912345698"]}`, "NPDNotices"},
		{"npd/notifications/mark_as_delivered", `{"notifications":[{"tax_reference":"772912345698","message_id_list":["n-1"]}]}`, "NPDNotices"},
		{"npd/notifications/update", `{"notifications":[{"tax_reference":"772912345698","message_id_list":["n-1"]}]}`, "NPDNotices"},
		{"session/multi/init", `{"payout_list":[` + strings.ReplaceAll(initBody, "payment_method", "payout_details") + `]}`, "MultiInit"},
		{"session/create/rko", "{}", "Create"},
		{"session/create/nominal", "{}", "Create"},
		{"session/start/payout/rko", on, "Start"},
		{"session/start/payout/nominal", on, "Start"},
		{"session/init/payout/rko", strings.Replace(initBody, `"recipient":`, `"sender":{"account":"40702810900000000131"},"recipient":`, 1), "Init"},
		{"session/init/payout/nominal", strings.Replace(initBody, `"recipient":{`, `"sender":{"account":"40701810200000000131","beneficiary_id":"7"},"recipient":{"beneficiary_id":"7",`, 1), "Init"},
		{"report/account_balance", `{"account_number":"40702810900000000131"}`, "AccountBalance"},
		{"account_balance", `{"account_number":"40702810900000000131"}`, "AccountBalance"},
		{"report/account_statement", `{"account_number":"40702810900000000131","date_from":"2026-03-02","date_to":"2026-03-02"}`, "AccountStatement"},
		{"tokenize/elements", `{"elements":[{"ref":"number","type":"card_number","card_number":"4242424242424242"}]}`, "TokenizeElements"},
	} {
		for v, version := range map[int8]string{1: "v1", 2: "v2"} {
			if one := newServer(t).routes[c.path].versions; len(one) == 1 && int8(one[0]) != v {
				continue
			}
			for _, slash := range []string{"", "/"} {
				path := "/api/" + version + "/" + c.path + slash
				t.Run(path, func(t *testing.T) {
					h := newServer(t)
					h.do(post(path, c.body))
					if len(h.engine.calls) != 1 || h.engine.calls[0].method != c.method || int8(h.engine.calls[0].call.Version) != v {
						t.Errorf("calls %+v; want one of %s in version %d\n%s", h.engine.calls, c.method, v, h.log)
					}
				})
			}
		}
	}
}

func TestBanksNeedNoEngine(t *testing.T) {
	for _, verb := range []string{"GET", "POST"} {
		for _, path := range []string{"/api/v1/fps/banks", "/api/v2/fps/banks"} {
			for _, body := range []string{"", "[]", "{}"} {
				h := newServer(t)
				r := post(path, body)
				r.Method = verb
				w := h.do(r)
				if w.Code != 200 || w.Body.String() != string(wire.Banks()) {
					t.Errorf("%s %s with %q: answered %d %s", verb, path, body, w.Code, w.Body)
				}
				if len(h.engine.calls) != 0 {
					t.Error("reached the engine")
				}
			}
		}
	}
}

func TestBeside(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	h := newServer(t)
	handler := h.Beside(mux)
	for path, want := range map[string]int{
		"/healthz":                  204,
		"/api/v1/session/create":    200,
		"//api/v1/session/create":   200,
		"/api//v1/session//create/": 200,
		"/api/v9/session/create":    404,
		"/apiary":                   404,
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, post("http://payoutd"+path, "{}"))
		if w.Code != want {
			t.Errorf("%s: answered %d, want %d", path, w.Code, want)
		}
	}
}
