package limit

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestTake(t *testing.T) {
	now := noon
	l := New(func() time.Time { return now })
	rate := Rate{Burst: 2, Every: 10 * time.Second}
	want := func(key string, after time.Duration, ok bool, wait time.Duration) {
		t.Helper()
		now = now.Add(after)
		if got := l.Wait(key); got != wait {
			t.Errorf("%s: it says to wait %s, want %s", key, got, wait)
		}
		if got, allowed := l.Take(key, rate); allowed != ok || got != wait {
			t.Errorf("%s: taken %v, wait %s; want %v, %s", key, allowed, got, ok, wait)
		}
	}
	want("a", 0, true, 0)
	want("a", 0, true, 0)
	want("a", 0, false, 10*time.Second)
	want("b", 0, true, 0)
	want("a", 4*time.Second, false, 6*time.Second) // what is refused does not count
	want("a", 6*time.Second, true, 0)
	want("a", 0, false, 10*time.Second)
	rate = Rate{Burst: 5, Every: time.Second} // a setting has changed
	if wait, ok := l.Take("a", rate); ok || wait != time.Second {
		t.Errorf("at another rate: taken %v, wait %s", ok, wait)
	}
	want("a", time.Second, true, 0)
	if l.Wait("stranger") != 0 || len(l.kept) != 2 {
		t.Errorf("to ask is to be remembered: %d are", len(l.kept))
	}
}

// TestKeysAreCopied wants nothing more to be remembered of a request than its
// key.
func TestKeysAreCopied(t *testing.T) {
	l := New(func() time.Time { return noon })
	request := "GET /frame?token=t" + strings.Repeat("x", 1<<10)
	token := request[len("GET /frame?token="):][:1]
	l.Take(token, PerSecond(1))
	for kept := range l.kept {
		if kept != token || unsafe.StringData(kept) == unsafe.StringData(token) {
			t.Errorf("%q is kept where the request is", kept)
		}
	}
}

func TestPerSecond(t *testing.T) {
	now := noon
	l := New(func() time.Time { return now })
	taken := 0
	for range 10_000 {
		if _, ok := l.Take("a", PerSecond(50)); ok {
			taken++
		}
		now = now.Add(time.Millisecond)
	}
	if taken < 540 || taken > 550 { // 50 at once and 50 in each of ten seconds
		t.Errorf("%d in ten seconds, want 50 a second and the first 50 at once", taken)
	}
	if PerSecond(0) != (Rate{}) {
		t.Error("none a second is no rate")
	}
}

func TestLimitsForgetWhoStaysAway(t *testing.T) {
	now := noon
	l := New(func() time.Time { return now })
	rate := Rate{Burst: 2, Every: time.Second}
	for i := range keptMax {
		l.Take(fmt.Sprint(i), rate)
	}
	if _, ok := l.Take("stranger", rate); ok {
		t.Error("a flood did not keep strangers out")
	}
	if _, ok := l.Take("7", rate); !ok {
		t.Error("a flood keeps out who was there before")
	}
	now = now.Add(forgetEvery / 2)
	tried := l.tried
	if _, ok := l.Take("stranger", rate); ok || l.tried != tried {
		t.Error("in a flood all are looked through for each stranger")
	}
	now = now.Add(time.Minute)
	if _, ok := l.Take("stranger", rate); !ok || len(l.kept) != 1 {
		t.Errorf("%d are remembered", len(l.kept))
	}
}

func TestCaller(t *testing.T) {
	trusted := Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"direct", "192.0.2.7:1234", nil, "192.0.2.7"},
		{"a stranger's claim", "192.0.2.7:1234", []string{"198.51.100.1"}, "192.0.2.7"},
		{"a stranger's claim to be a proxy", "192.0.2.7:1234", []string{"198.51.100.1, 10.1.1.1"}, "192.0.2.7"},
		{"by the proxy", "10.1.1.1:1234", []string{"198.51.100.1"}, "198.51.100.1"},
		{"by the proxy, with a claim before", "10.1.1.1:1234", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"by two proxies", "10.1.1.1:1234", []string{"198.51.100.1, 10.2.2.2"}, "198.51.100.1"},
		{"in two headers", "10.1.1.1:1234", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		{"by the proxy, without a claim", "10.1.1.1:1234", nil, "10.1.1.1"},
		{"by the proxy, nonsense", "10.1.1.1:1234", []string{"me"}, "10.1.1.1"},
		{"by the proxy, nonsense behind a claim", "10.1.1.1:1234", []string{"198.51.100.1, me"}, "10.1.1.1"},
		{"by the proxy as IPv6 writes it", "[::ffff:10.1.1.1]:1234", []string{"198.51.100.1"}, "198.51.100.1"},
		{"IPv6 by its network", "[2001:db8:1:2:3::4]:1234", nil, "2001:db8:1:2::/64"},
		{"IPv6 with a zone", "[fe80::1%eth0]:1234", nil, "fe80::/64"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.7]:1234", nil, "192.0.2.7"},
		{"IPv4 in IPv6, by the proxy", "10.1.1.1:1234", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a socket", "@", nil, "invalid IP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, header := range []string{"X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"} {
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.RemoteAddr = tt.remote
				for _, f := range tt.forwarded {
					r.Header.Add(header, f)
				}
				if got := Key(trusted.Caller(r)); got != tt.want {
					t.Errorf("%s: %s, want %s", header, got, tt.want)
				}
			}
		})
	}
}

// FuzzCaller reads whom callers claim to be: whatever is claimed, a stranger is
// who he is, and one behind a proxy is the last that it names.
func FuzzCaller(f *testing.F) {
	f.Add("198.51.100.1", "10.1.1.1, me", "203.0.113.9")
	f.Add("::ffff:10.1.1.1", "fe80::1%eth0, ,,", "")
	f.Add("[2001:db8::1]:443", "unknown", "_hidden")
	proxies := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	f.Fuzz(func(t *testing.T, first, second, last string) {
		r := &http.Request{Header: http.Header{"X-Forwarded-For": {first, second}, "X-Real-Ip": {last}}, RemoteAddr: "203.0.113.7:1"}
		if got := Key(proxies.Caller(r)); got != "203.0.113.7" {
			t.Errorf("a stranger is taken for %s", got)
		}
		r.RemoteAddr = "10.1.1.1:1"
		if got := proxies.Caller(r); !got.IsValid() || got.Is4In6() || Key(got) == "" {
			t.Errorf("behind a proxy: %s", got)
		}
		r.Header["X-Forwarded-For"] = []string{first, second, "198.51.100.1"} // as the proxy appends it
		if got := Key(proxies.Caller(r)); got != "198.51.100.1" {
			t.Errorf("the proxy's word is taken for %s", got)
		}
	})
}

func BenchmarkTake(b *testing.B) {
	l := New(time.Now)
	rate := Rate{Burst: 1 << 30, Every: time.Nanosecond}
	b.ReportAllocs()
	for b.Loop() {
		l.Take("acme", rate)
	}
}
