package limit

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are networks of proxies of ours.
type Proxies []netip.Prefix

// Caller is the address that a request came from; the zero Addr if its
// connection has none. A proxy of ours is believed about whom it speaks for, and
// the proxy before it likewise; what a stranger claims is not.
func (p Proxies) Caller(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	if !p.Has(ip) {
		return ip.Unmap()
	}
	claims := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, claim := range slices.Backward(claims) {
		if !p.Has(ip) {
			break
		}
		before, err := netip.ParseAddr(strings.TrimSpace(claim))
		if err != nil {
			break
		}
		ip = before
	}
	return ip.Unmap()
}

// Has reports whether an address is one of the proxies'.
func (p Proxies) Has(ip netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(ip.Unmap()) })
}

// Key is what callers are counted by: the address, and of IPv6 the network of
// 64 bits, within which one person may take as many addresses as they like.
func Key(ip netip.Addr) string {
	if ip.Is6() {
		network, _ := ip.WithZone("").Prefix(64) // an IPv6 address has one
		return network.String()
	}
	return ip.String()
}

// Ambiguous reports whether a proxy in front may take the message to end
// elsewhere than net/http does: behind chunks, because net/http drops a
// Content-Length beside them, and in HTTP/1.0, where it drops Transfer-Encoding
// unseen. What then seems to be the next request on the connection was hidden in
// this one (RFC 9112 §6.1), so the connection ends behind the answer.
func Ambiguous(r *http.Request) bool {
	return len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1)
}
