package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

const (
	timeoutDefault      = 10 * time.Second
	responseBodyMax     = 64 << 10
	responseHeaderMax   = 16 << 10
	idlePerEndpointMax  = 128
	idleMax             = 1024
	idleTimeout         = 90 * time.Second
	connectKeepAlive    = 30 * time.Second
	eventTimeFormat     = "2006-01-02T15:04:05.000000Z07:00"
	userAgent           = "payoutd"
	headerSignature     = "X-PARTNER-SIGN"
	headerEventID       = "X-PAYOUTD-EVENT-ID"
	headerEventSequence = "X-PAYOUTD-EVENT-SEQUENCE"
	headerEventTime     = "X-PAYOUTD-EVENT-TIME"
)

// PosterOptions are the settings of a Poster; the zero value is the default.
type PosterOptions struct {
	// Timeout is for a whole attempt, from the name lookup to the last byte of
	// the answer; 10 s by default.
	Timeout time.Duration
	// Now is the real time, which Retry-After and Took go by; time.Now by default.
	Now func() time.Time
	// Resolver looks names up; net.DefaultResolver by default.
	Resolver *net.Resolver
	// Transport makes the attempts in place of the network, whatever their
	// addresses; nil by default.
	Transport http.RoundTripper
}

// Poster makes delivery attempts over HTTP. It never follows a redirect, uses
// no proxy and keeps no cookies. It is safe for concurrent use.
type Poster struct {
	timeout time.Duration
	now     func() time.Time
	public  http.RoundTripper // refuses addresses of special purpose
	private http.RoundTripper
}

// NewPoster returns a Poster, to be closed after its last attempt.
func NewPoster(o PosterOptions) *Poster {
	if o.Timeout <= 0 {
		o.Timeout = timeoutDefault
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport != nil {
		return &Poster{timeout: o.Timeout, now: o.Now, public: o.Transport, private: o.Transport}
	}
	return &Poster{
		timeout: o.Timeout,
		now:     o.Now,
		public:  newTransport(net.Dialer{Timeout: o.Timeout, KeepAlive: connectKeepAlive, Resolver: o.Resolver, Control: guard.Safe}),
		private: newTransport(net.Dialer{Timeout: o.Timeout, KeepAlive: connectKeepAlive, Resolver: o.Resolver}),
	}
}

// newTransport dials each connection by the dialer alone, whose Control sees
// the address after the name was resolved: a name that changes its meaning
// between a check and the connection gains nothing. The transport may go on
// connecting after the attempt has ended, so that has a time-out of its own.
func newTransport(d net.Dialer) *http.Transport {
	// One connection per attempt under way: over HTTP/2 a receiver's one stuck
	// connection would hold up all events to it.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            d.DialContext,
		Protocols:              &protocols,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    d.Timeout,
		DisableCompression:     true,
		MaxIdleConns:           idleMax,
		MaxIdleConnsPerHost:    idlePerEndpointMax,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: responseHeaderMax,
	}
}

// Close closes the connections that nobody uses.
func (p *Poster) Close() {
	for _, t := range []http.RoundTripper{p.public, p.private} {
		if t, ok := t.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

// Result is what came of an attempt.
type Result struct {
	// OK says that the event is delivered. The reference asks for status 200;
	// any other 2xx counts too (wire reference, core §7 no. 24).
	OK         bool
	Status     int           // HTTP status; 0 where none came
	RetryAfter time.Duration // as the receiver asked, at most 6 h; 0 for nothing
	// Err is "" on success, else a few stable words; it holds no part of the URL
	// or of the answer.
	Err  string
	Took time.Duration
}

// Alive reports whether the receiver works, even if it did not take this event:
// what to tell Endpoints. A receiver that several projects share is not held to
// be down because it refuses the events of one.
func (r Result) Alive() bool {
	return r.Status != 0 && r.Status < 500 && r.Status != http.StatusTooManyRequests
}

// Post makes one attempt to deliver the event, signed before. Without
// allowPrivate it connects to no address of special purpose, whatever the URL
// or its name says. The event may arrive even if the Result is not OK. Where
// ctx was cancelled the attempt says nothing about the receiver.
func (p *Poster) Post(ctx context.Context, url string, allowPrivate bool, e Event) Result {
	began := p.now()
	r := p.post(ctx, url, allowPrivate, e)
	r.Took = p.now().Sub(began)
	return r
}

func (p *Poster) post(ctx context.Context, url string, allowPrivate bool, e Event) Result {
	u, err := parseURL(url)
	if err != nil {
		return Result{Err: "bad address"}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(e.Body))
	if err != nil {
		return Result{Err: "bad address"}
	}
	request.Header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {userAgent},
		headerSignature:     {e.Signature},
		headerEventID:       {e.ID.String()},
		headerEventSequence: {strconv.FormatInt(e.Seq, 10)},
		headerEventTime:     {e.CreatedAt.UTC().Format(eventTimeFormat)},
		// Sent as no header at all, this tells the transport that the request may
		// be repeated on a new connection if a kept one turns out to be dead.
		"Idempotency-Key": {},
	}

	transport := p.public
	if allowPrivate {
		transport = p.private
	}
	// The transport alone, not a client: it follows no redirect, and its errors
	// do not quote the URL.
	response, err := transport.RoundTrip(request)
	if err != nil {
		return Result{Err: explain(err)}
	}
	defer func() { _ = response.Body.Close() }()
	// The body means nothing; it is read so that the connection can be kept. One
	// of 101 Switching Protocols is the bare connection, which no time-out ends.
	if response.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.CopyN(io.Discard, response.Body, responseBodyMax)
	}

	r := Result{
		Status:     response.StatusCode,
		OK:         response.StatusCode >= 200 && response.StatusCode < 300,
		RetryAfter: parseRetryAfter(response.Header.Get("Retry-After"), p.now()),
	}
	switch {
	case r.OK:
		r.RetryAfter = 0
	case r.Status >= 300 && r.Status < 400:
		r.Err = fmt.Sprintf("status %d: redirects are not followed", r.Status)
	default:
		r.Err = fmt.Sprintf("status %d", r.Status)
	}
	return r
}

// explain names the kind of a failure. The errors themselves are not shown:
// they hold addresses, change with the library and can quote the receiver.
func explain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case name.IsTimeout:
			return "name lookup timed out"
		case name.IsNotFound:
			return "no such host"
		}
		return "name lookup failed"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "certificate not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "not a TLS server"
	}
	// So package tls names the alerts of the other side and its own.
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return "TLS handshake failed"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "timed out"
	}
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrInvalidHostPort):
		return "address not allowed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "host unreachable"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection broken"
	}
	return "no readable answer"
}
