package webhook

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"

	"github.com/payoutd/payoutd/internal/fault"
)

// urlBytesMax is far above any receiver's address and keeps settings small.
const urlBytesMax = 2048

// guard knows the addresses of special purpose (IANA registries): private,
// loopback, link-local, mapped, translated and so on. Any port is allowed,
// since receivers choose their own.
var guard = ssrf.New(ssrf.WithAnyPort())

// CheckURL tells whether events may be sent to the address: an absolute http
// or https URL with a host and no user name, password or fragment. Where
// private addresses are not allowed, one that stands in the URL itself is
// refused; what a name stands for is checked at each delivery. The error is
// fault.Invalid and holds no part of the URL, which may carry a secret.
func CheckURL(raw string, allowPrivate bool) error {
	u, err := parseURL(raw)
	if err != nil {
		return err
	}
	if allowPrivate {
		return nil
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	// RFC 6761 §6.3: these names are the machine itself everywhere.
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return errPrivate()
	}
	if ip, err := netip.ParseAddr(host); err == nil && guard.SafeAddr(ip.Unmap()) != nil {
		return errPrivate()
	}
	return nil
}

func errPrivate() error {
	return fault.New(fault.Invalid, "webhook URL: private addresses are not allowed for this project")
}

// parseURL checks the form of the URL and leaves the address to the guard.
func parseURL(raw string) (*url.URL, error) {
	refuse := func(why string) (*url.URL, error) {
		return nil, fault.New(fault.Invalid, "webhook URL: %s", why)
	}
	if len(raw) > urlBytesMax {
		return refuse("longer than " + strconv.Itoa(urlBytesMax) + " bytes")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return refuse("not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return refuse("want http:// or https://")
	case u.Hostname() == "":
		return refuse("no host")
	case u.User != nil:
		return refuse("a user name or password is not allowed")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return refuse("a fragment is not allowed")
	case !isHost(u.Hostname()):
		return refuse("the host is neither a name in ASCII nor an IP address")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return refuse("no such port")
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return refuse("no port after the colon")
	}
	return u, nil
}

// isHost accepts IP addresses in their usual notation and names of ASCII
// letters, digits, '-', '_' and '.'. A name whose last label is a number, such
// as 2130706433 or 0x7f.1, is refused: some resolvers read it as an address
// (WHATWG URL, "ends in a number").
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, c := range []byte(host) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	return last != "" && !isDigits(last) && !strings.HasPrefix(last, "0x")
}
