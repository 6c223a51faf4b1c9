package widget

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is how often somebody may come: Burst times at once, then once in Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// keptMax bounds how many callers are remembered. Above it those are forgotten
// who could come as often as a new one.
const keptMax = 100_000

// limits counts by key. It is safe for concurrent use.
type limits struct {
	rate Rate
	now  func() time.Time

	mu   sync.Mutex
	kept map[string]*rate.Limiter
}

func newLimits(r Rate, now func() time.Time) *limits {
	return &limits{rate: r, now: now, kept: map[string]*rate.Limiter{}}
}

// allow counts one coming and reports whether it is within the rate. When too
// many are remembered and none can be forgotten, strangers are refused: that is
// a flood.
func (l *limits) allow(key string) bool {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := l.kept[key]
	if !ok {
		if len(l.kept) >= keptMax && !l.forget(now) {
			return false
		}
		one = rate.NewLimiter(rate.Every(l.rate.Every), l.rate.Burst)
		l.kept[key] = one
	}
	return one.AllowN(now, 1)
}

// forget drops who has not come for so long that nothing is held against them.
func (l *limits) forget(now time.Time) bool {
	before := len(l.kept)
	for key, one := range l.kept {
		if one.TokensAt(now) >= float64(l.rate.Burst) {
			delete(l.kept, key)
		}
	}
	return len(l.kept) < before
}

// caller is the address that a request came from. A proxy that we know is
// believed about whom it speaks for, and the proxy before it likewise; what a
// stranger claims is not. An IPv6 caller is its network of 64 bits, within
// which one person may take as many addresses as they like.
func (s *Server) caller(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	claims := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, claim := range slices.Backward(claims) {
		if !s.proxy(ip) {
			break
		}
		before, err := netip.ParseAddr(strings.TrimSpace(claim))
		if err != nil {
			break
		}
		ip = before
	}
	if ip = ip.Unmap(); ip.Is6() {
		network, _ := ip.WithZone("").Prefix(64) // an IPv6 address has one
		return network.String()
	}
	return ip.String()
}

func (s *Server) proxy(ip netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}
