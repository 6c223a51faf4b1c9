package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair makes a certificate of its own key for this machine, both in PEM.
func pair(t *testing.T, key crypto.Signer, serial int64) (chain, private []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "payoutd.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour * time.Duration(24*serial)),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: inner})
}

func p256(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHandshakes: who speaks TLS 1.2 or 1.3 with a good suite gets in, and
// nobody else.
func TestHandshakes(t *testing.T) {
	ofRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	type client struct {
		name     string
		min, max uint16
		suites   []uint16 // of 1.2 and below; nil for all that there are
		ecdsa    bool     // it gets in to an ECDSA key
		rsa      bool
	}
	clients := []client{
		{"TLS 1.0", tls.VersionTLS10, tls.VersionTLS10, nil, false, false},
		{"TLS 1.1", tls.VersionTLS11, tls.VersionTLS11, nil, false, false},
		{"TLS 1.0 to 1.1", tls.VersionTLS10, tls.VersionTLS11, nil, false, false},
		{"TLS 1.2", tls.VersionTLS12, tls.VersionTLS12, nil, true, true},
		{"TLS 1.3", tls.VersionTLS13, tls.VersionTLS13, nil, true, true},
		{"TLS 1.0 to 1.3", tls.VersionTLS10, tls.VersionTLS13, nil, true, true},
	}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if strings.HasPrefix(s.Name, "TLS_AES") || strings.HasPrefix(s.Name, "TLS_CHACHA20") {
			continue // of TLS 1.3, where all suites are good
		}
		sound := strings.HasPrefix(s.Name, "TLS_ECDHE_") && (strings.Contains(s.Name, "_GCM_") || strings.Contains(s.Name, "_CHACHA20_"))
		clients = append(clients, client{
			s.Name, tls.VersionTLS12, tls.VersionTLS12,
			[]uint16{s.ID},
			sound && strings.Contains(s.Name, "_ECDSA_"), sound && strings.Contains(s.Name, "_ECDHE_RSA_"),
		})
	}
	got := map[bool]int{}
	for _, key := range []struct {
		name   string
		signer crypto.Signer
		admits func(client) bool
	}{
		{"ECDSA", p256(t), func(c client) bool { return c.ecdsa }},
		{"RSA", ofRSA, func(c client) bool { return c.rsa }},
	} {
		dir := t.TempDir()
		chain, private := pair(t, key.signer, 1)
		put(t, filepath.Join(dir, "cert.pem"), chain)
		put(t, filepath.Join(dir, "key.pem"), private)
		shown, err := loadCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		l, err := listen("--listen", "127.0.0.1:0", shown)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(chain)
		for _, c := range clients {
			conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{
				RootCAs: roots, MinVersion: c.min, MaxVersion: c.max, CipherSuites: c.suites, NextProtos: []string{"h2", "http/1.1"},
			})
			if err == nil {
				if state := conn.ConnectionState(); state.NegotiatedProtocol != "http/1.1" || c.max == tls.VersionTLS13 && state.Version != tls.VersionTLS13 {
					t.Errorf("%s key, %s: %s over %s", key.name, c.name, state.NegotiatedProtocol, tls.VersionName(state.Version))
				}
				_ = conn.Close()
			}
			got[err == nil]++
			if (err == nil) != key.admits(c) {
				t.Errorf("%s key, %s: error %v, want it in: %v", key.name, c.name, err, key.admits(c))
			}
		}
		response, err := http.Get("http://" + l.Addr().String()) // in clear
		if err != nil {
			t.Fatal(err)
		}
		if _ = response.Body.Close(); response.StatusCode != http.StatusBadRequest {
			t.Errorf("in clear: HTTP %d", response.StatusCode)
		}
	}
	if got[true] != 12 || got[false] < 30 {
		t.Errorf("%d got in and %d did not", got[true], got[false])
	}
}

// TestCertificateIsRenewed: what stands in the files is shown soon, and what is
// no pair never.
func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	oldChain, oldKey := pair(t, p256(t), 1)
	newChain, newKey := pair(t, p256(t), 2)
	put(t, certFile, oldChain)
	put(t, keyFile, oldKey)
	c, err := loadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name    string
		change  func()
		serial  int64
		changed bool
		fails   bool
	}{
		{"nothing", func() {}, 1, false, false},
		{"the new chain with the old key", func() { put(t, certFile, newChain) }, 1, false, true},
		{"still", func() {}, 1, false, false},
		{"the new key", func() { put(t, keyFile, newKey) }, 2, true, false},
		{"half a chain", func() { put(t, certFile, newChain[:100]) }, 2, false, true},
		{"no chain", func() { _ = os.Remove(certFile) }, 2, false, true},
		{"still none", func() {}, 2, false, false},
		{"an empty key", func() { put(t, certFile, oldChain); put(t, keyFile, nil) }, 2, false, true},
		{"the old pair", func() { put(t, keyFile, oldKey) }, 1, true, false},
		{"the old pair, written again", func() { put(t, keyFile, oldKey) }, 1, false, false},
	} {
		step.change()
		changed, err := c.look()
		if serial := c.shown.Load().Leaf.SerialNumber.Int64(); serial != step.serial || changed != step.changed || (err != nil) != step.fails {
			t.Errorf("%s: certificate %d, changed %v, error %v", step.name, serial, changed, err)
		}
	}
	if _, err := loadCertificate(certFile, filepath.Join(dir, "none.pem")); err == nil || !strings.HasPrefix(err.Error(), "--tls-cert and --tls-key: ") {
		t.Errorf("without a key: %v", err)
	}
}

func TestCertificateIsWatched(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	synctest.Test(t, func(t *testing.T) {
		chain, key := pair(t, p256(t), 7)
		put(t, certFile, chain)
		put(t, keyFile, key)
		c, err := loadCertificate(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		ticks := time.NewTicker(certificateLook)
		defer ticks.Stop()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.watch(ctx, ticks.C, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		chain, key = pair(t, p256(t), 8)
		put(t, certFile, chain)
		time.Sleep(3 * certificateLook)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "could not be renewed") != 1 || strings.Contains(got, "PRIVATE") {
			t.Errorf("with half a pair: %s", got)
		}
		log.Reset()
		put(t, keyFile, key)
		time.Sleep(3 * certificateLook)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "the certificate was renewed") != 1 {
			t.Errorf("with the pair: %s", got)
		}
		cancel()
		<-ended
	})
}

// TestServesOverTLS: the certificate is shown, its end is told, and browsers are told
// to come by nothing else.
func TestServesOverTLS(t *testing.T) {
	dir := t.TempDir()
	chain, private := pair(t, p256(t), 1)
	put(t, filepath.Join(dir, "cert.pem"), chain)
	put(t, filepath.Join(dir, "key.pem"), private)
	url, _ := startServer(t, "serve", "--sandbox-rails", "--data", filepath.Join(dir, "d"), "--listen", "127.0.0.1:0",
		"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(url, "https://") || response.Header.Get("Strict-Transport-Security") == "" || !bytes.Contains(body, []byte("payoutd_tls_certificate_end_seconds 1.")) {
		t.Errorf("%s: headers %v", url, response.Header)
	}
}
