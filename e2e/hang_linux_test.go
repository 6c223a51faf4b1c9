package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/sign"
)

const (
	hangingDefault  = 300 // receivers that never answer, where HANGING says nothing
	healthyPayouts  = 200
	healthyToldMax  = 5 * time.Second // from the request to the webhook of the end, 9 of 10: the machine may stand still now and then
	hangMemoryMax   = 512             // MiB
	hangSettlesMax  = 10 * time.Minute
	loopbackNetwork = "127.%d.%d.%d"
)

// TestDrillHangingReceivers lets thousands of partners have servers that take a
// webhook and never answer. A partner whose server answers notices nothing of
// it, the node stays small, and in the end everybody has been told.
func TestDrillHangingReceivers(t *testing.T) {
	count := hangingDefault
	if s := os.Getenv("HANGING"); s != "" {
		var err error
		if count, err = strconv.Atoi(s); err != nil || count < 1 || count > 200*200*200 {
			t.Fatalf("HANGING=%q: want a number above zero", s)
		}
	}
	hang := newHanging(t)
	at := place{data: t.TempDir()}
	key := newP256(t)
	hang.enrol(at, count, key)
	node := start(t, at.flags("serve", "--sandbox-rails", "--listen", "127.0.0.1:0", "--log-level", "error")...)
	hooks := newReceiver(t, serverKey(t, at.data, serverP256).Verify)
	healthy := enrol(t, at, node.url, "healthy", hooks.url, newP256(t), []string{"--server-key", "p256", "--single-request"})
	newcomer := enrol(t, at, node.url, "newcomer", strings.Replace(hooks.url, "127.0.0.1", "localhost", 1), newP256(t), []string{"--server-key", "p256", "--single-request"})
	before := residentNow(t, node)

	pay := func(c *client.Client) (string, error) {
		s, err := c.InitPayout(t.Context(), request(byOutcome()[sandbox.Succeeded][0], 100_00))
		return s.ID, err
	}
	tell := func(c *client.Client, most time.Duration) time.Duration {
		began := time.Now()
		s, err := pay(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), most)
		defer cancel()
		if _, err := hooks.wait(ctx, s, client.PaymentFinished); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	tell(healthy, resumeMax)

	few := http.DefaultTransport.(*http.Transport).Clone() // not a connection for each partner
	defer few.CloseIdleConnections()
	var all sync.WaitGroup
	next := atomic.Int64{}
	for range partners {
		all.Go(func() {
			for n := int(next.Add(1)); n <= count; n = int(next.Add(1)) {
				c, err := client.New(node.url, hangingName(n), key, client.WithHTTPClient(&http.Client{Transport: few}))
				if err == nil {
					_, err = pay(c)
				}
				if err != nil {
					t.Errorf("partner %d: %v", n, err)
					return
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	took := make([]time.Duration, healthyPayouts)
	for i := range took {
		took[i] = tell(healthy, resumeMax)
	}
	slices.Sort(took)
	if p90 := took[len(took)*9/10]; p90 > healthyToldMax {
		t.Errorf("a partner whose server answers is told after %s, 9 of 10, want %s at most", p90, healthyToldMax)
	}
	// One whose server was never tried waits at most until the others were.
	unknown := tell(newcomer, resumeMax+time.Duration(2+count/256)*10*time.Second)
	held := hang.held()
	if held == 0 {
		t.Error("no receiver has held a webhook: nothing was tried")
	}

	close(hang.healed)
	began := time.Now()
	if !until(t.Context(), hangSettlesMax, func() bool { return hang.told() == count }) {
		t.Errorf("%d of %d partners were told %s after their servers had begun to answer", hang.told(), count, hangSettlesMax)
	}
	settled := time.Since(began)
	peak, after := residentPeak(t, node), residentNow(t, node)
	if peak > hangMemoryMax {
		t.Errorf("the node had %d MiB in memory, want %d at most", peak, hangMemoryMax)
	}
	node.stop(t)
	if out := run(t, at.flags("check")...); !strings.Contains(out, "clean") {
		t.Errorf("check says %s", out)
	}
	counted(t, "hanging receivers", count)
	measured(t, "told, 99 of 100 healthy", took[len(took)*99/100])
	measured(t, "until all were told", settled)
	weighed(t, "memory at most", peak)
	t.Logf("%d receivers hung, %d webhooks at a time; another partner was told after %s, 99 of 100 after %s, a new one after %s; "+
		"all were told %s after the receivers began to answer; %d MiB before, %d at most, %d at the end",
		count, held, took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), unknown.Round(time.Millisecond),
		settled.Round(time.Second), before, peak, after)
}

// hanging is a server on every loopback address: each is an endpoint of its own.
// It takes webhooks and does not answer before it is healed.
type hanging struct {
	*testing.T
	port   int
	healed chan struct{}

	mu      sync.Mutex
	waiting int
	most    int             // that waited at a time
	done    map[string]bool // addresses that have answered
}

func newHanging(t *testing.T) *hanging {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0") // every 127.x.y.z; others on the machine reach it for the time of the test
	if err != nil {
		t.Fatal(err)
	}
	h := &hanging{T: t, port: l.Addr().(*net.TCPAddr).Port, healed: make(chan struct{}), done: map[string]bool{}}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return h
}

func (h *hanging) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	h.add(1)
	defer h.add(-1)
	select {
	case <-h.healed:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.done[r.Host] = true
	case <-r.Context().Done():
	}
}

func (h *hanging) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting += n
	h.most = max(h.most, h.waiting)
}

// held is how many webhooks were held at a time.
func (h *hanging) held() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.most
}

func (h *hanging) told() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.done)
}

func hangingName(n int) string { return fmt.Sprintf("hanging-%d", n) }

// enrol makes the projects in the database itself, with a credit line in place
// of a deposit: the commands would take a minute for a thousand.
func (h *hanging) enrol(at place, count int, key sign.PrivateKey) {
	h.Helper()
	run(h, at.flags("migrate")...)
	s, err := sqlite.Open(h.Context(), filepath.Join(at.data, "payoutd.db"), nil)
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	public := key.Public()
	for n := 1; n <= count; n++ {
		host := fmt.Sprintf(loopbackNetwork, 1+n/(200*200)%200, 1+n/200%200, 1+n%200)
		if err := s.CreateProject(h.Context(), partner.Project{
			ID: id.Project(hangingName(n)), Wallet: strconv.Itoa(n), Credit: 1_000_00, SingleRequest: true, ServerKey: partner.P256,
			Keys:    []partner.Key{{ID: public.ID(), PEM: string(public.PEM())}},
			Webhook: fmt.Sprintf("http://%s:%d/", host, h.port), AllowPrivateWebhooks: true,
		}); err != nil {
			h.Fatal(err)
		}
	}
}
