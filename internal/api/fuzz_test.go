package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/payoutd/payoutd/sign"
)

// FuzzRequest sends any body to any path, rightly signed, so that it gets as far
// as a partner's. The answer is JSON, no failure of ours and no redirect, and
// repeats no card number.
func FuzzRequest(f *testing.F) {
	all := routes(newFakeEngine())
	for i, r := range all {
		for _, body := range trials[r.path].bodies {
			f.Add(uint8(i), false, []byte(body))
			f.Add(uint8(i), true, []byte(strings.NewReplacer("{created}", "ps_7300451", "{awaiting}", "ps_7300451").Replace(body)))
		}
	}
	f.Add(uint8(0), false, []byte(`{"metadata":{"a":[1e400,"\ud83d\ude00",null]}}`))
	f.Add(uint8(0), true, []byte(`[`))
	key := keys()["birch"]
	f.Fuzz(func(t *testing.T, n uint8, last bool, body []byte) {
		r := all[int(n)%len(all)]
		v := r.versions[0]
		if last {
			v = r.versions[len(r.versions)-1]
		}
		q := httptest.NewRequest(http.MethodPost, fmt.Sprintf("/api/v%d/%s", v, r.path), strings.NewReader(string(body)))
		q.Header.Set(sign.HeaderProject, "birch")
		q.Header.Set(sign.HeaderSign, must(key.Sign(body)))
		w := httptest.NewRecorder()
		New(newFakeEngine(), Options{}).ServeHTTP(w, q)
		if w.Code != 200 && (w.Code < 400 || w.Code >= 500) {
			t.Errorf("%s: answered %d %s", q.URL.Path, w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) || strings.Contains(w.Body.String(), "4242424242424242") {
			t.Errorf("%s: answered %s", q.URL.Path, w.Body)
		}
	})
}
