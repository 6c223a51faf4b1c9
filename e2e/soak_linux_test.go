package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/bench"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/sign"
)

const (
	soakShare    = 0.7              // of the maximum, where no rate is asked for
	soakClients  = 512              // of the closed loop that finds the maximum
	soakWarms    = 15 * time.Second // before it is measured
	soakMeasures = 45 * time.Second // and for how long
	soakDrainMax = 15 * time.Minute // until all that was begun has ended, when nothing more is begun
	soakQuietMax = 3 * time.Minute  // until the memory of the nodes is back
	soakHeapMore = 32               // MiB of live heap that may stay after the load: maps keep the size that they had
	soakReplays  = 200              // requests of the past that are made again at the end
	soakBriefly  = 30               // payouts a second of the bounded form
	soakFreeGB   = 8                // free on the disk, where the soak stops
	soakDatabase = "payoutd"
	soakLogBytes = 64 << 20 // of a node, above which it says too much
	soakStartMax = 2 * time.Minute
)

// soak keeps a rate of payouts up over two nodes on PostgreSQL for hours, while
// things break and are mended. All that it knows is in its folder, so that it can
// be stopped and go on later.
type soak struct {
	*testing.T
	place
	dir      string
	server   *pgtest.Server
	link     *link
	nodes    []*soakServer // the second one is missing where the first is alone
	partners *soakPartners
	ctx      context.Context // done when the test is over
	stopped  chan struct{}   // closed when no more payouts are to be begun

	brief  bool // the bounded form
	alone  bool // one node, on SQLite
	total  time.Duration
	leg    time.Duration // at most in this run; 0 is all that is left
	every  time.Duration // from fault to fault, on average
	rate   float64
	older  string        // sessions that ended so long ago are archived; "" for none
	sweeps time.Duration // from one archiving to the next
	freeGB uint64

	mu       sync.Mutex
	wanted   [2]bool // nodes that are to run
	breaking string  // the fault under way
	halt     sync.Once
	State    soakState // guarded by mu while there is load
	began    time.Time // of the load of this leg; zero before
	level    [2]usage  // of the nodes before the load
}

// soakState is what a later run has to know.
type soakState struct {
	Seed     uint64
	Maximum  float64 // complete payouts a second in a closed loop
	Port     int     // of the receiver
	Elapsed  time.Duration
	Legs     int
	Deck     []int // faults to come
	Troubles []incident
	Starts   [2]int        // of the nodes
	Sweeps   int           // runs of payoutd archive
	Swept    int64         // sessions that it took out
	Sweeping time.Duration // the longest run
	// What was counted in all legs.
	Failed, Missed, Repeats int64
}

// soakServer is a node and its process.
type soakServer struct {
	*soakNode
	process *process
	log     string // file
}

// TestSoak is the bounded form of `make soak`, and that itself where SOAK says
// for how long.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	s.open()
	if s.State.Maximum == 0 && s.rate == 0 {
		s.measure()
	}
	if s.rate == 0 {
		s.rate = soakShare * s.State.Maximum
	}
	s.load()
	s.finish()
}

func newSoak(t *testing.T) *soak {
	s := &soak{T: t, dir: os.Getenv("SOAK_DIR"), stopped: make(chan struct{}), freeGB: soakFreeGB, every: 5 * time.Minute}
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(t.Context())
	t.Cleanup(cancel)
	total := os.Getenv("SOAK")
	if total == "" {
		t.Parallel()
		s.brief, s.rate = true, soakBriefly
		dir, err := os.MkdirTemp("", "payoutd-soak-") // not t.TempDir, which the user of the database may not enter
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		s.dir = dir
		return s
	}
	span := func(name, text string, to *time.Duration) {
		if text == "" {
			return
		}
		var err error
		if *to, err = time.ParseDuration(text); err != nil || *to <= 0 {
			t.Fatalf("%s=%q: want a time, such as 2h", name, text)
		}
	}
	span("SOAK", total, &s.total)
	span("SOAK_LEG", os.Getenv("SOAK_LEG"), &s.leg)
	span("SOAK_FAULT", os.Getenv("SOAK_FAULT"), &s.every)
	if text := os.Getenv("SOAK_RATE"); text != "" {
		var err error
		if s.rate, err = strconv.ParseFloat(text, 64); err != nil || s.rate <= 0 {
			t.Fatalf("SOAK_RATE=%q: want payouts a second", text)
		}
	}
	if text := os.Getenv("SOAK_FREE_GB"); text != "" {
		var err error
		if s.freeGB, err = strconv.ParseUint(text, 10, 32); err != nil {
			t.Fatalf("SOAK_FREE_GB=%q: want a number", text)
		}
	}
	if words := strings.Fields(os.Getenv("SOAK_ARCHIVE")); len(words) == 2 {
		s.older = words[0]
		span("SOAK_ARCHIVE", words[1], &s.sweeps)
	} else if len(words) > 0 {
		t.Fatalf("SOAK_ARCHIVE=%q: want an age and a time from run to run, such as '20m 5m'", words)
	}
	if s.dir == "" {
		t.Fatal("SOAK_DIR: want a folder")
	}
	for _, dir := range []string{s.dir, s.path("archive")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *soak) path(name string) string { return filepath.Join(s.dir, name) }

// open starts the database and the nodes, where they were left or anew, and ends
// what was left in the middle.
func (s *soak) open() {
	s.restore()
	first := s.State.Port == 0
	if s.alone {
		s.place = place{data: s.path("payoutd")}
	} else {
		s.openDatabase(first)
	}

	cut, cancel := context.WithCancel(s.ctx)
	s.Cleanup(cancel)
	p := newSoakPartners(openJournal(s.T, s.path("journal")), cut)
	s.partners = p
	var err error
	if p.box, err = bench.Receive(fmt.Sprintf("127.0.0.1:%d", s.State.Port), p.take); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.box.Close)
	s.Cleanup(cancel)
	if first {
		s.found()
	}
	if p.key, err = sign.ParsePrivateKey(readFile(s, s.path("partner.pem"))); err != nil {
		s.Fatal(err)
	}
	p.server = serverKey(s, s.data, serverP256)
	for n := range p.nodes {
		if n > 0 && s.alone {
			p.nodes[n] = p.nodes[0]
			break
		}
		name := string(rune('a' + n))
		s.nodes = append(s.nodes, &soakServer{soakNode: newSoakNode(name), log: s.path("node-" + name + ".log")})
		p.nodes[n] = s.nodes[n].soakNode
		s.startNode(n)
		go p.watch(s.ctx, p.nodes[n])
	}
	if !until(s.ctx, soakStartMax, func() bool { return p.nodes[0].up.Load() && p.nodes[1].up.Load() }) {
		s.Fatal("the nodes are not ready")
	}
	s.State.Legs++
	if resumed := p.resume(soakClients); resumed > 0 {
		s.say("%d payouts of the run before were brought to their end", resumed)
	}
	s.settle()
}

// openDatabase starts the server and brings the schema up, and makes the database
// first where there is none.
func (s *soak) openDatabase(first bool) {
	settings := []string{"shared_buffers=1GB", "max_wal_size=2GB", "wal_compression=lz4"}
	if s.brief {
		settings = nil
	}
	s.server = pgtest.Kept(s.T, s.dir, settings...)
	u, err := url.Parse(s.server.URL)
	if err != nil {
		s.Fatal(err)
	}
	u.Path = "/" + soakDatabase
	s.place = place{data: s.path("payoutd"), db: u.String()}
	if first {
		s.server.Run(s, "CREATE DATABASE "+soakDatabase)
	}
	run(s, "migrate", "--db", s.db)
	if s.sweeps > 0 && exec.Command(payoutd, "archive", "--help").Run() != nil {
		s.say("this payoutd does not archive")
		s.sweeps = 0
	}
	s.link = newLink(s.T, s.db)
}

// found makes the projects of a new soak.
func (s *soak) found() {
	key := newP256(s)
	for name, pem := range map[string][]byte{"partner.pem": key.PEM(), "partner-public.pem": key.Public().PEM()} {
		if err := os.WriteFile(s.path(name), pem, 0o600); err != nil {
			s.Fatal(err)
		}
	}
	for n := range int64(soakProjects) {
		open(s, s.place, string(soakProject(n)), s.path("partner-public.pem"), s.partners.box.URL, "1000000000.00", "--server-key", "p256")
	}
	u, err := url.Parse(s.partners.box.URL)
	if err != nil {
		s.Fatal(err)
	}
	if s.State.Port, err = strconv.Atoi(u.Port()); err != nil {
		s.Fatal(err)
	}
	s.save()
}

func (s *soak) restore() {
	b, err := os.ReadFile(s.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		s.State.Seed = rand.Uint64()
		if text := os.Getenv("SOAK_SEED"); text != "" {
			if s.State.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
				s.Fatalf("SOAK_SEED=%q: want a number", text)
			}
		}
		return
	}
	if err == nil {
		err = json.Unmarshal(b, &s.State)
	}
	if err != nil {
		s.Fatal(err)
	}
}

func (s *soak) save() {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.State
	if !s.began.IsZero() {
		state.Elapsed += time.Since(s.began)
	}
	b, err := json.MarshalIndent(state, "", "\t")
	if err == nil {
		err = errors.Join(os.WriteFile(s.path("state.new"), b, 0o600), os.Rename(s.path("state.new"), s.path("state.json")))
	}
	if err != nil {
		s.Errorf("state of the soak: %v", err)
	}
}

// startNode starts a node, at the address where it was. The second one has the
// link between itself and the database.
func (s *soak) startNode(n int) {
	node, at := s.nodes[n], s.place
	if n == 1 {
		at.db = s.link.url
	}
	if node.host == "" {
		node.host = address(s)
	}
	log, err := os.OpenFile(node.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has it
	p := &process{startMax: soakStartMax, cmd: exec.Command(payoutd, at.flags("serve", "--sandbox-rails", "--rails-no-sync", "--listen", node.host,
		"--log-level", "warn", "--drain-delay", drainDelay.String())...)}
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // an interrupt of the terminal is for us
	p.launch(s)
	p.await(s)
	node.process = p
	s.mu.Lock()
	s.wanted[n] = true
	s.State.Starts[n]++
	s.mu.Unlock()
	go func() {
		<-p.ended
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.wanted[n] {
			s.Errorf("node %s has ended by itself: %v", node.name, p.err)
			s.stop()
		}
	}()
}

func (s *soak) stop() { s.halt.Do(func() { close(s.stopped) }) }

// settle waits until the nodes have started up, and notes their memory.
func (s *soak) settle() {
	for n := range s.nodes {
		s.level[n] = s.usage(n)
	}
}

// measure finds the maximum by a closed loop.
func (s *soak) measure() {
	ctx, cancel := context.WithTimeout(s.ctx, soakWarms+soakMeasures)
	defer cancel()
	go func() {
		select {
		case <-time.After(soakWarms):
		case <-ctx.Done():
			return
		}
		began, before := time.Now(), s.partners.completed.Load()
		<-ctx.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.State.Maximum = float64(s.partners.completed.Load()-before) / time.Since(began).Seconds()
	}()
	s.partners.closed(func() bool { return ctx.Err() == nil }, soakClients)
	if !until(s.ctx, time.Minute, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.State.Maximum > 0 }) {
		s.Fatal("not one payout was complete in the closed loop")
	}
	s.say("the maximum is %.0f complete payouts a second", s.State.Maximum)
	s.save()
}

// elapsed is how long the load has lasted in all legs.
func (s *soak) elapsed() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() {
		return s.State.Elapsed
	}
	return s.State.Elapsed + time.Since(s.began)
}

// load keeps the rate up until the leg is over, and has things break meanwhile.
func (s *soak) load() {
	left := s.total - s.State.Elapsed
	if s.leg > 0 {
		left = min(left, s.leg)
	}
	if left <= 0 && !s.brief {
		s.say("the soak has reached its %s", s.total)
		return
	}
	if s.brief {
		left = time.Hour // until each fault has come
	}
	signals := make(chan os.Signal, 1)
	if !s.brief {
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		s.Cleanup(func() { signal.Stop(signals) }) // a second one does not end what is done in order
	}
	go func() {
		select {
		case got := <-signals:
			s.say("%s: stopping in order", got)
			s.stop()
		case <-time.After(left):
			s.stop()
		case <-s.ctx.Done():
		case <-s.stopped:
		}
	}()
	s.say("leg %d: %.0f payouts a second for %s, seed %d", s.State.Legs, s.rate, left.Round(time.Second), s.State.Seed)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mu.Lock()
	s.began = time.Now()
	s.mu.Unlock()
	s.partners.minute.Store(new(minute))
	var all sync.WaitGroup
	all.Go(func() { s.partners.open(ctx, s.rate) })
	all.Go(func() { s.sample(ctx) })
	if s.sweeps > 0 {
		all.Go(func() { s.sweep(ctx) })
	}
	r := rand.New(rand.NewPCG(s.State.Seed, uint64(s.State.Legs)))
	for !s.isStopped() {
		if s.brief {
			if len(s.State.Troubles) > 0 && len(s.State.Deck) == 0 {
				s.stop()
				break
			}
			s.rest(time.Second)
		} else {
			s.rest(s.every/2 + time.Duration(r.Float64()*float64(s.every)))
		}
		if !s.isStopped() {
			s.breakOne(r)
		}
	}
	cancel()
	s.mu.Lock()
	s.State.Elapsed += time.Since(s.began)
	s.began = time.Time{}
	s.mu.Unlock()
	all.Wait()
	s.save()
}

// sweep archives what is old again and again. What breaks while it does so may
// end it: then its next run goes on.
func (s *soak) sweep(ctx context.Context) {
	for {
		select {
		case <-time.After(s.sweeps):
		case <-ctx.Done():
			return
		}
		began := s.elapsed()
		cmd := exec.CommandContext(ctx, payoutd, s.flags("archive", "--trial", "--older-than", s.older, "--to", s.path("archive"), "--json")...)
		cmd.Env = environ()
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var done struct{ Sessions, Held, Changed int64 }
		if err == nil {
			err = json.Unmarshal(stdout.Bytes(), &done)
		}
		took := s.elapsed() - began
		if ctx.Err() != nil {
			s.say("payoutd archive was cut after %.1f s, since the load has ended", took.Seconds())
			return
		}
		if err != nil {
			s.say("payoutd archive ended after %.1f s with %v: %s", took.Seconds(), err, stderr.String())
			if s.faults(began) == "" {
				s.Errorf("payoutd archive: %v: %s", err, stderr.String())
			}
			continue
		}
		s.say("payoutd archive took %.1f s for %d sessions, %d stay, %d had changed", took.Seconds(), done.Sessions, done.Held, done.Changed)
		s.mu.Lock()
		s.State.Sweeps++
		s.State.Swept += done.Sessions
		s.State.Sweeping = max(s.State.Sweeping, took)
		s.mu.Unlock()
	}
}

// finish waits until all that was begun has ended, and compares what partners
// know with the ledger and with the books of the rails.
func (s *soak) finish() {
	began := time.Now()
	p := s.partners
	if !until(s.ctx, soakDrainMax, func() bool { return p.flying.Load() == 0 }) {
		s.Errorf("%d payouts have not ended %s after the last was begun", p.flying.Load(), soakDrainMax)
	}
	s.say("all had ended %s after the last was begun", time.Since(began).Round(time.Millisecond))
	s.tally(p.minute.Swap(new(minute)))
	s.calmDown()
	s.replay()
	s.endNodes()
	known, ok := s.told()
	if ok {
		s.booked(known)
		s.executed(known)
	}
	s.save()
	if s.brief {
		if s.State.Failed == 0 {
			s.Error("no request has failed: nothing has broken")
		}
	} else {
		s.summarize(known)
	}
	s.server.Shutdown(s)
}

func (s *soak) endNodes() {
	for n := range s.nodes {
		s.mu.Lock()
		s.wanted[n] = false
		s.mu.Unlock()
		s.nodes[n].process.stop(s)
		s.listen(s.nodes[n].log)
	}
}

// calmDown waits until the memory of the nodes is back.
func (s *soak) calmDown() {
	var now [2]usage
	back := func() bool {
		for n := range s.nodes {
			if now[n] = s.usage(n); now[n].heap > s.level[n].heap+soakHeapMore {
				return false
			}
		}
		return true
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began := time.Now()
	for !back() {
		if time.Since(began) > soakQuietMax {
			s.Errorf("the nodes have %.0f and %.0f MiB of live heap %s after the load, %.0f and %.0f before, want %d more at most",
				now[0].heap, now[1].heap, soakQuietMax, s.level[0].heap, s.level[1].heap, soakHeapMore)
			break
		}
		<-tick.C
	}
	for n := range s.nodes {
		s.say("node %s has %.0f MiB in memory, %.1f of live heap, %.0f goroutines after the load; before it %.0f, %.1f, %.0f", s.nodes[n].name,
			now[n].rss, now[n].heap, now[n].goroutines, s.level[n].rss, s.level[n].heap, s.level[n].goroutines)
	}
}

// replay makes requests of the past again: they are answered as they were.
func (s *soak) replay() {
	p := s.partners
	if p.begun() == 0 {
		return
	}
	for range soakReplays {
		n := 1 + rand.Int64N(p.begun())
		if p.marks(n)&markFailed != 0 {
			continue
		}
		answer, err := p.ask(n, "create", createBody(n), time.Now())
		if err == nil {
			answer, err = p.ask(n, "confirm", confirmBody(bench.Member(answer, "id")), time.Now())
		}
		if want := fmt.Sprintf(`"id":"po_%d"`, p.ids[n].Load()); err != nil || !strings.Contains(string(answer), want) {
			s.Errorf("payout %d, confirmed again: %s, error %v; want %s", n, answer, err, want)
		}
	}
}

// listen looks for what only people could put right in the log of a node.
func (s *soak) listen(log string) {
	lines := string(readFile(s, log))
	if len(lines) > soakLogBytes {
		s.Errorf("%s has %d bytes", log, len(lines))
	}
	for line := range strings.Lines(lines) {
		if strings.Contains(line, "panic") || strings.Contains(line, "msg=alarm") {
			s.Errorf("%s: %s", log, line)
		}
	}
}

// soakOutcome is what partners know of all payouts.
type soakOutcome struct {
	paid, failed int64
	minor        [soakProjects]int64 // that was paid, by project
}

// told checks that each payout has ended as it was promised; false if one has
// not. One whose check took too long, as while the database is down, has failed
// and was never ready.
func (s *soak) told() (a soakOutcome, ok bool) {
	p := s.partners
	wrong := int64(0)
	for n := int64(1); n <= p.begun(); n++ {
		const paid = markBegun | markStarted | markAccepted | markReady | markPaid
		got, number := p.marks(n), p.ids[n].Load()
		switch {
		case got == paid && number != 0:
			a.paid++
			a.minor[n%soakProjects] += soakMinor(n)
		case got == markBegun|markStarted|markFailed && number == 0:
			a.failed++
		default:
			if wrong++; wrong <= 10 {
				s.Errorf("payout %d has the marks %07b and the number %d, want %07b and one", n, got, number, paid)
			}
		}
	}
	if wrong > 0 {
		s.Errorf("%d of %d payouts have not ended as they should; refused: %s", wrong, p.begun(), p.refused())
	}
	if f, x, d := p.forged.Load(), p.stranger.Load(), p.doubled.Load(); f+x+d > 0 {
		s.Errorf("%d webhooks with a wrong signature, %d about what nobody asked for, %d with another end than was told before", f, x, d)
	}
	s.say("%d payouts were paid and told, %d failed since their check took too long", a.paid, a.failed)
	return a, wrong == 0
}

// booked checks that the ledger is clean and holds what partners were told,
// nothing less and nothing more.
func (s *soak) booked(known soakOutcome) {
	began := time.Now()
	var r struct {
		Sessions, Payouts, Live, Events, Pending, Archived, Proved int64
		GivenUp                                                    int64 `json:"given_up"`
	}
	command := []string{"check", "--json"}
	if files, _ := filepath.Glob(s.path("archive/*")); len(files) > 0 { // fails on a bad pattern only
		command = slices.Concat([]string{"archive", "verify", "--json"}, files)
	}
	if err := json.Unmarshal([]byte(run(s, s.flags(command...)...)), &r); err != nil {
		s.Fatal(err)
	}
	s.say("payoutd %s found nothing in %s: %d sessions, %d payouts, %d events, %d sessions archived",
		command[0], time.Since(began).Round(time.Millisecond), r.Sessions, r.Payouts, r.Events, r.Archived)
	begun := s.partners.begun()
	kept := begun - r.Archived // a run of payoutd archive that was cut may have taken some out
	if r.Archived < s.State.Swept {
		s.Errorf("%d sessions are archived, payoutd archive spoke of %d", r.Archived, s.State.Swept)
	}
	for _, c := range []struct {
		what      string
		got, want int64
	}{
		{"sessions proved from the archive", r.Proved, r.Archived},
		{"sessions", r.Sessions, kept},
		{"payouts", r.Payouts, kept},
		{"live payouts", r.Live, 0},
		{"events", r.Events, max(min(r.Events, 2*kept), 2*kept-known.failed)},
		{"pending events", r.Pending, 0},
		{"events given up", r.GivenUp, 0},
	} {
		if c.got != c.want {
			s.Errorf("the ledger has %d %s, partners know of %d", c.got, c.what, c.want)
		}
	}
	for n, want := range known.minor {
		b := balanceOf(s, s.place, string(soakProject(int64(n))))
		if b.clearing != want || b.held != 0 || b.available != 1_000_000_000_00-want {
			s.Errorf("project %s has %+v, and %d kopecks were paid", soakProject(int64(n)), b, want)
		}
	}
}

// executed checks the books of the rails: each payout that was told to be paid
// was paid once, and nothing else was.
func (s *soak) executed(all soakOutcome) {
	type told struct{ id, n int64 }
	p := s.partners
	known := make([]told, 0, all.paid)
	for n := int64(1); n <= p.begun(); n++ {
		if number := p.ids[n].Load(); number != 0 {
			known = append(known, told{number, n})
		}
	}
	slices.SortFunc(known, func(a, b told) int { return int(min(max(a.id-b.id, -1), 1)) })
	paid := make([]bool, len(known))
	world, err := sandbox.Open(filepath.Join(s.data, "sim"), &sandbox.Clock{})
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = world.Close() }()
	count, wrong := 0, 0
	for e, err := range world.Executions(s.ctx) {
		if err != nil {
			s.Fatal(err)
		}
		count++
		number, err := strconv.ParseInt(strings.TrimPrefix(e.Reference, "po_"), 10, 64)
		i, found := slices.BinarySearchFunc(known, number, func(t told, id int64) int { return int(min(max(t.id-id, -1), 1)) })
		if err != nil || !found || paid[i] || e.Amount.Minor != soakMinor(known[i].n) {
			if wrong++; wrong <= 10 {
				s.Errorf("the rails have paid %s for %s, which is not what was asked for, or twice", e.Amount, e.Reference)
			}
			continue
		}
		paid[i] = true
	}
	if missing := len(known) - (count - wrong); missing > 0 || wrong > 0 {
		s.Errorf("the rails have paid %d times, %d of these wrongly, and %d payouts not", count, wrong, missing)
	}
	s.say("the rails have paid %d payouts, each once", count-wrong)
}

// usage is what a node uses, NaN for what could not be learned. Memory is in MiB.
type usage struct{ rss, heap, goroutines float64 }

func (s *soak) usage(n int) usage {
	u := usage{math.NaN(), math.NaN(), math.NaN()}
	u.rss = memoryOf(s.nodes[n].process.cmd.Process.Pid, "VmRSS:")
	socket := s.socket(n)
	if text, err := ask(s.ctx, socket, "/debug/pprof/goroutine?debug=1"); err == nil {
		_, _ = fmt.Sscanf(text, "goroutine profile: total %f", &u.goroutines)
	}
	if text, err := ask(s.ctx, socket, "/debug/pprof/heap?gc=1&debug=1"); err == nil {
		_, rest, _ := strings.Cut(text, "\n# HeapAlloc = ")
		var bytes float64
		if _, err := fmt.Sscan(rest, &bytes); err == nil {
			u.heap = bytes / (1 << 20)
		}
	}
	return u
}

// socket is where a node listens for operators.
func (s *soak) socket(n int) string {
	if s.alone {
		return filepath.Join(s.data, "payoutd.sock")
	}
	return filepath.Join(s.data, fmt.Sprintf("payoutd-%d.sock", n+1)) // nodes take the first that is free
}
