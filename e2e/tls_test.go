package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/sign"
)

// TestCertificateUnderLoad replaces the certificate of a running server while
// partners send requests over kept connections and new ones: none fails, kept
// connections stay, and all listeners show the new certificate.
func TestCertificateUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := x509.NewCertPool() // of partners, who trust both from the start
	var chains, keys [3][]byte
	for serial := range 2 {
		chains[serial+1], keys[serial+1] = certify(t, int64(serial+1))
		roots.AppendCertsFromPEM(chains[serial+1])
	}
	put := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(certFile, chains[1])
	put(keyFile, keys[1])
	data := filepath.Join(dir, "data")
	server := start(t, "serve", "--sandbox-rails", "--data", data, "--listen", "127.0.0.1:0", "--widget-listen", "127.0.0.1:0",
		"--console-listen", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile)
	said := server.says(t, "the console is on ")
	var listeners []string
	for _, m := range regexp.MustCompile(`https://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(said, -1) {
		listeners = append(listeners, m[1])
	}
	if len(listeners) != 3 {
		t.Fatalf("%d listeners by TLS, want API, widgets and console: %s", len(listeners), said)
	}
	key := newP256(t)
	open(t, place{data: data}, "careful", writeFile(t, "public.pem", key.Public().PEM()), "https://careful.example/hook", "1000.00")

	const body = `{"request_datetime":"2026-03-02T09:15:04.120031Z"}`
	signature, err := key.Sign([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(by http.RoundTripper) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.url+"/api/v1/wallet/balance", strings.NewReader(body))
		if err != nil {
			return err
		}
		r.GetBody = nil // so that nothing is sent again behind our back
		r.Header.Set(sign.HeaderProject, "careful")
		r.Header.Set(sign.HeaderSign, signature)
		answer, err := by.RoundTrip(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		got, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", answer.Status, got)
		}
		return err
	}

	// Two partners keep their connection and two take a new one for each request.
	const partners = 4
	var dials, asked atomic.Int64 // connections of those who keep them; requests of all
	stop := make(chan struct{})
	var load sync.WaitGroup
	for n := range partners {
		kept := n%2 == 0
		load.Go(func() {
			by := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: !kept}
			defer by.CloseIdleConnections()
			by.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if kept {
					dials.Add(1)
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := ask(by); err != nil {
					t.Error(err)
					return
				}
				asked.Add(1)
			}
		})
	}
	finish := sync.OnceFunc(func() { close(stop); load.Wait() })
	defer finish()
	shown := func(address string) int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	reach := func(what string, reached func() bool) {
		t.Helper()
		late := time.After(startTimeout)
		for !reached() {
			select {
			case <-late:
				t.Fatalf("%s: not within %s\n%s", what, startTimeout, server.stderr.String())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	some := func() {
		t.Helper()
		before := asked.Load()
		reach("50 requests", func() bool { return t.Failed() || asked.Load() >= before+50 })
	}
	some()
	for _, l := range listeners {
		if got := shown(l); got != 1 {
			t.Errorf("%s shows certificate %d at the start", l, got)
		}
	}
	put(certFile, chains[2]) // half of it, for as long as it takes to be seen
	reach("a word about half a pair", func() bool { return strings.Contains(server.stderr.String(), "could not be renewed") })
	some()
	put(keyFile, keys[2])
	for _, l := range listeners {
		reach(l+" shows the new certificate", func() bool { return shown(l) == 2 })
	}
	some()
	finish()
	if got := dials.Load(); got != partners/2 {
		t.Errorf("%d partners who keep their connection took %d", partners/2, got)
	}
	t.Logf("%d requests, none failed", asked.Load())
}

// certify makes a certificate for this machine that vouches for itself.
func certify(t *testing.T, serial int64) (chain, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "payoutd.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: inner})
}
