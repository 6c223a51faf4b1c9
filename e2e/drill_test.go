package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
)

const (
	// noticeMax bounds how long after a thing broke requests have failed: a few
	// times what the program lets partners wait for a server that says nothing.
	noticeMax = 2 * time.Minute
	// resumeMax bounds how long after it was mended a payout goes from the
	// request to the webhook of its end: twice what is promised, since machines that
	// run tests have other things to do.
	resumeMax = 30 * time.Second
	// answerMax bounds every answer, whatever is broken: twice what is promised, and
	// what partners wait for.
	answerMax = 30 * time.Second
	// roundMax bounds all that is done in one round, which takes a minute or so.
	roundMax = 15 * time.Minute
	// requestsOut is how many requests fail before a thing is mended. Half of the
	// partners may be waiting for webhooks, which are no requests.
	requestsOut = partners / 2
)

// roundsWanted is how often to break a thing, as DRILLS says; once by default.
func roundsWanted(t *testing.T) int {
	t.Helper()
	s := os.Getenv("DRILLS")
	if s == "" {
		return 1
	}
	rounds, err := strconv.Atoi(s)
	if err != nil || rounds < 1 {
		t.Fatalf("DRILLS=%q: want a number above zero", s)
	}
	return rounds
}

// drill breaks what a node stands on while partners pay. The node itself runs
// through all of it.
type drill struct {
	*lab
	at      place
	node    *process
	witness *witness
	level   level // of the node before the drill
	ctx     context.Context
	fail    context.CancelCauseFunc
	wait    func()
	// noticeMax and resumeMax, unless something else is promised.
	notices, resumes time.Duration
}

// newDrill starts a node and lets partners pay. The node is started as command
// says, if any is given.
func newDrill(t *testing.T, at place, command ...string) *drill {
	t.Helper()
	if len(command) == 0 {
		command = []string{payoutd}
	}
	if at.data == "" {
		at.data = t.TempDir()
	}
	d := &drill{at: at, notices: noticeMax, resumes: resumeMax, witness: &witness{under: http.DefaultTransport.(*http.Transport).Clone()}}
	t.Cleanup(d.witness.under.CloseIdleConnections)
	d.node = launchAs(t, command, at.flags("serve", "--sandbox-rails", "--listen", address(t), "--log-level", "warn")...)
	d.node.await(t)
	d.lab = newLab(t, at, d.node.url, client.WithHTTPClient(&http.Client{Transport: d.witness, Timeout: time.Minute}))
	ctx, fail := context.WithCancelCause(t.Context())
	t.Cleanup(func() { fail(nil) })
	ctx, cancel := context.WithTimeout(ctx, drainTimeout+time.Duration(roundsWanted(t))*roundMax)
	t.Cleanup(cancel)
	d.ctx, d.fail = ctx, fail
	d.wait = d.load(ctx, fail)
	d.letFinish(ctx, requestsMax)
	d.during(func() { d.level = d.weigh() })
	return d
}

// migrated is newDrill on PostgreSQL.
func migrated(t *testing.T, database string) *drill {
	t.Helper()
	run(t, "migrate", "--db", database)
	return newDrill(t, place{db: database})
}

// outage breaks a thing, waits until requests have failed of it, mends it, and
// measures how long it takes until a payout is paid and told.
func (d *drill) outage(what string, breaks, mends func()) {
	d.t.Helper()
	failed := d.witness.failures()
	d.trouble(what, breaks, func() bool { return d.witness.failures() >= failed+requestsOut }, mends)
}

// trouble is outage for a thing that is mended when enough says so, which is
// asked again and again.
func (d *drill) trouble(what string, breaks func(), enough func() bool, mends func()) {
	d.t.Helper()
	d.letFinish(d.ctx, requestsMax/4)
	d.during(func() {
		failed, broken := d.witness.failures(), time.Now()
		breaks()
		if !d.until(d.notices, enough) {
			d.t.Fatalf("%s: %d requests failed in %s, want more\nthe node said:\n%s",
				what, d.witness.failures()-failed, d.notices, d.node.stderr.String())
		}
		lasted := time.Since(broken)
		mends()
		mended := time.Now()
		d.payOne()
		resumed := time.Since(mended)
		if resumed > d.resumes {
			d.t.Errorf("%s: a payout was paid and told %s after it was mended, want %s at most", what, resumed, d.resumes)
		}
		if !d.until(resumeMax, func() bool { return d.readiness() == http.StatusOK }) {
			d.t.Errorf("%s: the node is not ready %s after it was mended", what, resumeMax)
		}
		counted(d.t, what, 1)
		measured(d.t, "until a payout was paid and told", resumed)
		d.t.Logf("%s for %s: %d requests failed; a payout was paid and told %s after it was mended",
			what, lasted.Round(time.Millisecond), d.witness.failures()-failed, resumed.Round(time.Millisecond))
	})
}

// payOne makes a payout that succeeds, and waits for its end and its webhook.
func (d *drill) payOne() {
	d.t.Helper()
	r := &record{plan: d.plan()}
	v := d.values[sandbox.Succeeded][0]
	r.single, r.value, r.pays, r.ends, r.early, r.act = true, v, request(v, 100_00), "", false, confirms
	if err := d.pay(d.ctx, r); err != nil {
		d.t.Fatalf("%s: %v", r.plan, err)
	}
	if err := d.end(d.ctx, r); err != nil {
		d.t.Fatalf("%s: %v", r.plan, err)
	}
}

// finish lets partners come to an end and compares all accounts of what
// happened.
func (d *drill) finish() {
	d.t.Helper()
	d.letFinish(d.ctx, requestsMax)
	close(d.enough)
	d.wait()
	if err := context.Cause(d.ctx); err != nil {
		d.t.Fatalf("%v\nthe node said:\n%s", err, d.node.stderr.String())
	}
	d.drain(d.ctx)
	d.replay(d.ctx)
	d.settle()
	d.node.stop(d.t)
	d.calm(d.node)
	d.witness.judge(d.t)
	if d.t.Failed() {
		d.t.Logf("the node said:\n%s", d.node.stderr.String())
		return // what follows would only repeat it
	}
	d.proven(d.at)
	counted(d.t, "requests failed", d.witness.failures())
	measured(d.t, "slowest answer", d.witness.slowest)
	d.t.Logf("%d payouts in %d sessions, %d requests cut and repeated (%d had been carried out), %d webhooks (%d repeats); %s",
		d.payouts(), len(d.journal), d.cut, d.replayed, d.webhooks, d.repeats, d.witness)
}

// calm looks for panics and for alarms, which no failure of a database is a
// reason for.
func (d *drill) calm(p *process) {
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "msg=alarm") {
			d.t.Errorf("the node said: %s", line)
		}
	}
}

// until polls until a thing is so; false if that took longer than most, or if
// the node has ended or the load was given up meanwhile.
func (d *drill) until(most time.Duration, is func() bool) bool {
	return until(d.ctx, most, func() bool {
		select {
		case <-d.node.ended:
			d.fail(fmt.Errorf("the node has ended: %w", d.node.err))
		default:
		}
		return is()
	})
}

func until(ctx context.Context, most time.Duration, is func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// readiness is the status of /readyz; 0 if it was not answered.
func (d *drill) readiness() int {
	ctx, cancel := context.WithTimeout(d.ctx, lookMax)
	defer cancel()
	return ready(ctx, d.node.url)
}

// notReady waits until the node says that it is not.
func (d *drill) notReady() {
	d.t.Helper()
	if !d.until(noticeMax, func() bool { return d.readiness() == http.StatusServiceUnavailable }) {
		d.t.Errorf("the node is ready %s after its database went", noticeMax)
	}
}

// witness is a transport that sees how requests fail.
type witness struct {
	under *http.Transport

	mu      sync.Mutex
	marked  time.Time
	since   int // requests that began after marked and have come to an end
	failed  int // answered with 5xx, or not at all
	slowest time.Duration
	wrong   []error // failures of a form that they should not have
	cuts    bool    // requests may be cut: the node is killed
}

func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	answer, err := w.under.RoundTrip(r)
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slowest = max(w.slowest, took)
	if began.After(w.marked) {
		w.since++
	}
	switch {
	case r.Context().Err() != nil: // the test has ended
	case err != nil:
		w.failed++
		if w.cuts {
			break
		}
		w.wrong = append(w.wrong, fmt.Errorf("no answer after %s: %w", took, err))
	case answer.StatusCode >= http.StatusInternalServerError:
		w.failed++
		if err := clear(answer); err != nil {
			w.wrong = append(w.wrong, err)
		}
	}
	return answer, err
}

// clear reports what a partner could not make sense of in a failure.
func clear(answer *http.Response) error {
	body, err := io.ReadAll(answer.Body)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	var says struct {
		Error struct{ Code, Description string }
	}
	if err = errors.Join(err, json.Unmarshal(body, &says)); err != nil || says.Error.Code != client.CodeInternal || says.Error.Description == "" {
		return fmt.Errorf("a failure with status %d and the body %q: %w", answer.StatusCode, body, err)
	}
	if busy := answer.StatusCode == http.StatusServiceUnavailable; busy != (answer.Header.Get("Retry-After") != "") {
		return fmt.Errorf("a failure with status %d and Retry-After %q", answer.StatusCode, answer.Header.Get("Retry-After"))
	}
	return nil
}

// expectCuts is for a node that is killed.
func (w *witness) expectCuts() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts = true
}

func (w *witness) failures() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// mark begins to count requests anew; counted reports whether n that have begun
// since have come to an end.
func (w *witness) mark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marked, w.since = time.Now(), 0
}

func (w *witness) counted(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since >= n
}

func (w *witness) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d requests failed, the slowest answer took %s", w.failed, w.slowest.Round(time.Millisecond))
}

// judge fails the test if a request was left hanging or failed in a way that
// says nothing.
func (w *witness) judge(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slowest > answerMax {
		t.Errorf("the slowest answer took %s, want %s at most", w.slowest, answerMax)
	}
	for _, err := range w.wrong[:min(len(w.wrong), 10)] {
		t.Error(err)
	}
}

// TestDrillDatabaseStops stops the server under the node, as a crash does, and
// starts it again.
func TestDrillDatabaseStops(t *testing.T) {
	t.Parallel()
	server := pgtest.Own(t, pgtest.Place{})
	d := migrated(t, server.URL)
	for range roundsWanted(t) {
		d.outage("the database stopped", func() {
			server.Stop(t)
			d.notReady()
		}, func() { server.Start(t) })
	}
	d.finish()
}

// TestDrillDatabaseTakesNoWrites makes every transaction of the server one that
// only reads, as on a server that was made a standby.
func TestDrillDatabaseTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := pgtest.Own(t, pgtest.Place{})
	d := migrated(t, server.URL)
	for range roundsWanted(t) {
		d.outage("the database took no writes", func() {
			server.Run(t, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
		}, func() {
			server.Run(t, "SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
		})
	}
	d.finish()
}

// TestDrillFailover loses the server for good; its standby, which has whatever
// was confirmed, takes over at another address.
func TestDrillFailover(t *testing.T) {
	t.Parallel()
	for round := range roundsWanted(t) {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			primary := pgtest.Own(t, pgtest.Place{})
			standby := primary.Standby(t)
			primary.Run(t, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
			run(t, "migrate", "--db", primary.URL)
			d := newDrill(t, place{db: either(t, primary.URL, standby.URL) + "&target_session_attrs=read-write"})
			d.outage("the database died", func() {
				primary.Stop(t)
				d.notReady()
			}, func() { standby.Promote(t) })
			d.finish()
		})
	}
}

// either is the URL of a database that is on either of two servers.
func either(t *testing.T, first, second string) string {
	t.Helper()
	a, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := url.Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	a.Host += "," + b.Host
	return a.String()
}
