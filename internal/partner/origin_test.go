package partner

import "testing"

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
