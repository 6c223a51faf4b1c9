package partner

import (
	"strings"
	"testing"
)

func TestCheckOrigin(t *testing.T) {
	for _, tt := range []struct {
		origin string
		right  bool
	}{
		{"https://shop.example", true},
		{"https://shop.example:8443", true},
		{"http://localhost:3000", true},
		{"http://127.0.0.1", true},
		{"http://[::1]:3000", false},
		{"http://shop.example", false},
		{"https://shop.example/", false},
		{"https://shop.example/pay", false},
		{"https://Shop.example", false},
		{"https://*.shop.example", false},
		{"https://shop.example; script-src *", false},
		{"https://user@shop.example", false},
		{"shop.example", false},
		{"null", false},
		{"", false},
	} {
		t.Run(tt.origin, func(t *testing.T) {
			if err := CheckOrigin(tt.origin); (err == nil) != tt.right {
				t.Error(err)
			}
		})
	}
}

// FuzzIsOrigin: what may enter a policy can end or widen no part of it.
func FuzzIsOrigin(f *testing.F) {
	for _, s := range []string{"https://shop.example", "http://localhost:8080", "https://a.example;", "https://*", "https://[::1]", "https://a@b", "null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		switch {
		case IsOrigin(s) && (strings.ContainsAny(s, " \t\r\n;,'\"*<>@%") || !strings.HasPrefix(s, "http")):
			t.Errorf("%q is an origin", s)
		case CheckOrigin(s) == nil && !IsOrigin(s):
			t.Errorf("%q may show widgets and is no origin", s)
		}
	})
}
