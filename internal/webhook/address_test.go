package webhook

import (
	"strings"
	"testing"

	"github.com/payoutd/payoutd/internal/fault"
)

func TestCheckURL(t *testing.T) {
	const public, private, never = "public", "private", "never"
	for _, c := range []struct {
		name, url string
		allowed   string // where: to everybody, where private addresses are allowed, or never
	}{
		{"https", "https://partner.example/hook", public},
		{"http", "http://partner.example", public},
		{"a port", "https://partner.example:8443/hook?a=b", public},
		{"capitals", "HTTPS://Partner.Example/Hook", public},
		{"a dot at the end", "https://partner.example./hook", public},
		{"a public IPv4 address", "https://8.8.8.8/hook", public},
		{"a public IPv6 address", "https://[2a00:1450:4010:c05::71]:443/hook", public},
		{"a public address, mapped", "https://[::ffff:8.8.8.8]/", public},
		{"digits in the last label", "https://partner.example2/", public},

		{"loopback", "http://127.0.0.1:8080/hook", private},
		{"another loopback", "http://127.255.255.254/", private},
		{"IPv6 loopback", "http://[::1]:8080/hook", private},
		{"mapped loopback", "http://[::ffff:127.0.0.1]/", private},
		{"mapped loopback in hex", "http://[::ffff:7f00:1]/", private},
		{"compatible loopback", "http://[::127.0.0.1]/", private},
		{"translated loopback (NAT64)", "http://[64:ff9b::7f00:1]/", private},
		{"6to4 loopback", "http://[2002:7f00:1::]/", private},
		{"6to4 of ten", "http://[2002:a01:203::1]/", private},
		{"translated loopback (local NAT64)", "http://[64:ff9b:1::7f00:1]/", private},
		{"translated loopback (SIIT)", "http://[::ffff:0:7f00:1]/", private},
		{"Teredo", "http://[2001:0:7f00:1::1]/", private},
		{"IPv6 site-local", "http://[fec0::1]/", private},
		{"IPv6 discard-only", "http://[100::1]/", private},
		{"IPv6 segment routing", "http://[5f00::1]/", private},
		{"IPv6 documentation", "http://[2001:db8::1]/", private},
		{"IPv6 beyond what is given out", "http://[4000::1]/", private},
		{"IPv6 loopback in full", "http://[0000:0000:0000:0000:0000:0000:0000:0001]/", private},
		{"any address, mapped", "http://[::ffff:0.0.0.0]/", private},
		{"this network", "http://0.1.2.3/", private},
		{"benchmarks", "http://198.18.0.1/", private},
		{"6to4 relay", "http://192.88.99.1/", private},
		{"where another cloud keeps secrets", "http://192.0.0.192/", private},
		{"where a third cloud keeps secrets", "http://100.100.100.200/", private},
		{"reserved", "http://240.0.0.1/", private},
		{"ten", "https://10.1.2.3/", private},
		{"172.16", "https://172.31.255.255/", private},
		{"192.168", "https://192.168.0.1/", private},
		{"carrier-grade NAT", "https://100.64.0.1/", private},
		{"link-local, where clouds keep secrets", "http://169.254.169.254/latest/meta-data", private},
		{"IPv6 link-local", "http://[fe80::1]/", private},
		{"IPv6 link-local with a zone", "http://[fe80::1%25eth0]/", private},
		{"IPv6 unique local", "http://[fd00::1]/", private},
		{"any address", "http://0.0.0.0/", private},
		{"IPv6 any address", "http://[::]/", private},
		{"multicast", "http://224.0.0.1/", private},
		{"broadcast", "http://255.255.255.255/", private},
		{"localhost", "http://localhost:8080/", private},
		{"localhost in capitals", "http://LOCALHOST/", private},
		{"localhost with a dot", "http://localhost./", private},
		{"below localhost", "http://a.localhost/", private},

		{"nothing", "", never},
		{"no scheme", "partner.example/hook", never},
		{"no scheme but slashes", "//partner.example/hook", never},
		{"a path", "/hook", never},
		{"ftp", "ftp://partner.example/hook", never},
		{"file", "file:///etc/passwd", never},
		{"no host", "https:///hook", never},
		{"only a port", "https://:443/hook", never},
		{"opaque", "https:partner.example", never},
		{"a user name", "https://secret@partner.example/", never},
		{"a user name and password", "https://user:secret@partner.example/", never},
		{"an empty user name", "https://@partner.example/", never},
		{"a fragment", "https://partner.example/#secret", never},
		{"an empty fragment", "https://partner.example/#", never},
		{"port zero", "https://partner.example:0/", never},
		{"a port too high", "https://partner.example:65536/", never},
		{"a named port", "https://partner.example:https/", never},
		{"an empty port", "https://partner.example:/", never},
		{"decimal loopback", "http://2130706433/", never},
		{"octal loopback", "http://0177.0.0.1/", never},
		{"octal loopback in one", "http://017700000001/", never},
		{"hexadecimal loopback", "http://0x7f000001/", never},
		{"hexadecimal last part", "http://127.0.0.0x1/", never},
		{"short loopback", "http://127.1/", never},
		{"a number and a dot", "http://2130706433./", never},
		{"full-width digits", "http://１２７.0.0.1/", never},
		{"a name not in ASCII", "https://пример.рф/", never},
		{"an encoded host", "http://%31%32%37.0.0.1/", never},
		{"a space in the host", "https://partner example/", never},
		{"a new line", "https://partner.example/\nX: y", never},
		{"only dots", "https://./", never},
		{"too long", "https://partner.example/" + strings.Repeat("a", 2048), never},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, allowPrivate := range []bool{false, true} {
				err := CheckURL(c.url, allowPrivate)
				if want := c.allowed == public || c.allowed == private && allowPrivate; (err == nil) != want {
					t.Errorf("private allowed %v: %v, want accepted %v", allowPrivate, err, want)
				}
				if err == nil {
					continue
				}
				if fault.CodeOf(err) != fault.Invalid {
					t.Errorf("code %s, want %s", fault.CodeOf(err), fault.Invalid)
				}
				if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "partner") {
					t.Errorf("the error quotes the URL: %q", err)
				}
			}
		})
	}
}

func FuzzCheckURL(f *testing.F) {
	f.Add("https://partner.example:8443/hook?a=b")
	f.Add("http://[::ffff:127.0.0.1]/")
	f.Fuzz(func(t *testing.T, raw string) {
		open, closed := CheckURL(raw, true), CheckURL(raw, false)
		if open != nil && closed == nil {
			t.Errorf("%q is accepted only where private addresses are not", raw)
		}
		if Endpoint(raw) == "" && raw != "" {
			t.Errorf("%q has no endpoint", raw)
		}
	})
}
