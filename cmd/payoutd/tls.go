package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificateLook is how often the files of a certificate are looked at.
const certificateLook = 5 * time.Second

// certificate is what the listeners show. When its files change, connections
// from then on get the new one; those that stand are left alone.
type certificate struct {
	certFile, keyFile string
	shown             atomic.Pointer[tls.Certificate]
	seen              [sha256.Size]byte // of both files, when they were last looked at
}

// loadCertificate reads a chain and its key, both in PEM.
func loadCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if _, err := c.look(); err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	return c, nil
}

// look shows what stands in the files, if that has changed. Where they are no
// pair, what was shown before stays; each state of the files is complained of
// once. Two files are written one after the other, so a later look may find them
// right.
func (c *certificate) look() (changed bool, err error) {
	chain, err := os.ReadFile(c.certFile)
	if err != nil {
		return false, c.once(err)
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return false, c.once(err)
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(chain, key)
	switch known := c.known(chain, key); {
	case known:
		return false, nil
	case err != nil:
		return false, err
	}
	c.shown.Store(&pair)
	return true, nil
}

// known reports whether the same was seen last, and remembers it.
func (c *certificate) known(seen ...[]byte) bool {
	hash := sha256.New()
	for _, b := range seen {
		_, _ = fmt.Fprintf(hash, "%d\n%s", len(b), b)
	}
	before := c.seen
	c.seen = [sha256.Size]byte(hash.Sum(nil))
	return c.seen == before
}

// once is err unless it was seen last.
func (c *certificate) once(err error) error {
	if c.known([]byte(err.Error())) {
		return nil
	}
	return err
}

// watch looks at the files at each tick until ctx ends.
func (c *certificate) watch(ctx context.Context, ticks <-chan time.Time, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		switch changed, err := c.look(); {
		case err != nil:
			log.WarnContext(ctx, "the certificate could not be renewed; the old one is still shown", "file", c.certFile, "end", c.end(), "error", err)
		case changed:
			log.InfoContext(ctx, "the certificate was renewed", "file", c.certFile, "end", c.end())
		}
	}
}

// end is when the certificate ends that is shown.
func (c *certificate) end() time.Time { return c.shown.Load().Leaf.NotAfter }

// metric tells the end, for an alert some weeks before.
func (c *certificate) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "payoutd_tls_certificate_end_seconds",
		Help: "When the certificate that the listeners show ends, as Unix time.",
	}, func() float64 { return float64(c.end().Unix()) })
}

// config is TLS 1.2 and newer; of 1.2 what is forward secret and authenticates
// what it encrypts alone.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.shown.Load(), nil },
	}
}

// wrap puts TLS before a listener.
func (c *certificate) wrap(l net.Listener) net.Listener { return tls.NewListener(l, c.config()) }

// strict tells browsers that came by TLS to come by nothing else for a year.
func strict(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		h.ServeHTTP(w, r)
	})
}
