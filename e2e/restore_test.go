package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/store/sqlite"
)

// restoreMax bounds a drill of restoring.
const restoreMax = 20 * time.Minute

// restoreDrill loses the database under load and goes on with a backup of it,
// while the simulated rails keep books of their own through all of it.
type restoreDrill struct {
	t      *testing.T
	at     place
	listen string
	node   *process
	ctx    context.Context
	hooks  *receiver
	// oneStep and twoStep are partners; orders is what they have asked for, with
	// or without success.
	oneStep, twoStep *client.Client
	values           []sandbox.Value

	mu      sync.Mutex
	orders  []*order
	placed  int // orders that a partner has come through with
	allowed int // how many may be placed, so that a slow machine is not drowned in them
}

// order is one thing that a partner wants paid, once, whatever happens.
type order struct {
	n        int
	c        *client.Client
	twoStep  bool
	pays     client.Request
	waits    bool     // it is confirmed later
	session  string   // that it was last told of
	payouts  []string // all that it was ever told of: rails know them by these
	finished client.Session
}

func (o *order) key(what string) string { return fmt.Sprintf("%s-order-%d", what, o.n) }

func newRestoreDrill(t *testing.T, at place) *restoreDrill {
	t.Helper()
	d := &restoreDrill{t: t, at: at, listen: address(t)}
	ctx, cancel := context.WithTimeout(t.Context(), restoreMax)
	t.Cleanup(cancel)
	d.ctx = ctx
	for _, v := range sandbox.Values() {
		switch {
		case v.Outcome == sandbox.CheckSlow || v.Outcome == sandbox.Returned:
		case v.Kind == "card" || v.Kind == "bank_account" || v.Kind == "fps" || v.Kind == "wallet":
			d.values = append(d.values, v)
		}
	}
	d.node = d.serve()
	d.hooks = newReceiver(t, serverKey(t, at.data, serverP256).Verify)
	p256 := []string{"--server-key", "p256"}
	d.twoStep = enrol(t, at, d.node.url, "two-step", d.hooks.url, newP256(t), p256)
	d.oneStep = enrol(t, at, d.node.url, "one-step", d.hooks.url, newP256(t), append(p256, "--single-request"))
	return d
}

// serve starts the node, at the same address each time.
func (d *restoreDrill) serve() *process {
	d.t.Helper()
	return start(d.t, d.at.flags("serve", "--sandbox-rails", "--listen", d.listen, "--log-level", "warn")...)
}

// load lets partners order until stop is called, which waits for them.
func (d *restoreDrill) load() (stop func()) {
	ctx, cancel := context.WithCancel(d.ctx)
	var all sync.WaitGroup
	for range partners {
		all.Go(func() {
			for until(ctx, restoreMax, d.mayPlace) {
				o := d.order()
				err := d.place(ctx, o)
				refused, ok := errors.AsType[*client.Error](err)
				if ctx.Err() == nil && ok && refused.HTTP < http.StatusInternalServerError {
					d.t.Errorf("order %d: %v", o.n, err)
				}
				d.mu.Lock()
				d.placed++
				d.mu.Unlock()
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// await places orders that await their confirmation, and returns what confirms
// them and waits for their end.
func (d *restoreDrill) await(n int) (confirm func()) {
	d.t.Helper()
	var waiting []*order
	for len(waiting) < n {
		o := d.order()
		o.c, o.twoStep, o.waits = d.twoStep, true, true
		o.pays = request(d.paid(), o.pays.Amount.Minor)
		if err := d.place(d.ctx, o); err != nil {
			d.t.Fatalf("order %d: %v", o.n, err)
		}
		if _, err := o.c.WaitFor(d.ctx, o.session, client.AwaitsConfirm); err != nil {
			d.t.Fatalf("order %d: %v", o.n, err)
		}
		waiting = append(waiting, o)
	}
	return func() { d.end(waiting) }
}

// around makes a backup in which orders await their confirmation. Some of them
// are confirmed right after it, and paid: that is lost. The others are confirmed
// when the backup has become the database.
func (d *restoreDrill) around(backup func()) {
	d.t.Helper()
	soon := d.await(awaiting)
	d.await(awaiting)
	backup()
	soon()
}

const awaiting = 5

// paid is a value that is paid at once.
func (d *restoreDrill) paid() sandbox.Value {
	return d.values[slices.IndexFunc(d.values, func(v sandbox.Value) bool { return v.Outcome == sandbox.Succeeded })]
}

// more waits until n more orders were placed. As many may follow while nobody
// waits.
func (d *restoreDrill) more(n int) {
	d.t.Helper()
	d.mu.Lock()
	enough := d.placed + n
	d.allowed = enough + n
	d.mu.Unlock()
	if !until(d.ctx, restoreMax, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.placed >= enough
	}) {
		d.t.Fatalf("%d orders were not placed\nthe node said:\n%s", n, d.node.stderr.String())
	}
}

func (d *restoreDrill) mayPlace() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.placed < d.allowed
}

func (d *restoreDrill) order() *order {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := &order{n: len(d.orders), twoStep: len(d.orders)%2 == 0, c: d.oneStep}
	if o.twoStep {
		o.c = d.twoStep
	}
	v := d.values[o.n%len(d.values)]
	if o.n%3 != 0 { // most are paid at once
		v = d.paid()
	}
	o.pays = request(v, 100_00+int64(o.n))
	d.orders = append(d.orders, o)
	return o
}

// place sends an order and confirms it, under its keys; it does not wait for its end.
func (d *restoreDrill) place(ctx context.Context, o *order) error {
	s, err := o.c.InitPayout(ctx, o.pays, client.WithKey(o.key("init")), client.WithReplay())
	if err != nil {
		return err
	}
	d.mu.Lock()
	o.session = s.ID
	for _, p := range s.Payouts {
		if !slices.Contains(o.payouts, p.ID) {
			o.payouts = append(o.payouts, p.ID)
		}
	}
	d.mu.Unlock()
	return d.confirm(ctx, o)
}

// confirm confirms an order once it awaits that, if it ever does.
func (d *restoreDrill) confirm(ctx context.Context, o *order) error {
	if !o.twoStep || o.waits {
		return nil
	}
	s, err := o.c.WaitFor(ctx, o.session, func(s client.Session) bool { return client.AwaitsConfirm(s) || client.Finished(s) })
	if err != nil || !client.AwaitsConfirm(s) {
		return err
	}
	_, err = o.c.Confirm(ctx, o.session, client.WithKey(o.key("confirm")), client.WithReplay())
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Code == client.CodeWrongState {
		return nil // it is under way, or has ended
	}
	return err
}

// end waits for the end of orders.
func (d *restoreDrill) end(orders []*order) {
	d.t.Helper()
	var all sync.WaitGroup
	for chunk := range slices.Chunk(orders, max(1, len(orders)/partners)) {
		all.Go(func() {
			for _, o := range chunk {
				o.waits = false
				err := d.confirm(d.ctx, o)
				if err == nil {
					o.finished, err = o.c.WaitFor(d.ctx, o.session, client.Finished)
				}
				if err != nil {
					d.t.Errorf("order %d, session %s: %v", o.n, o.session, err)
				}
			}
		})
	}
	all.Wait()
}

// known tells the orders that the installation still knows from those that it
// does not. Whoever was told of no session has nothing to ask about.
func (d *restoreDrill) known() (known, lost []*order) {
	d.t.Helper()
	for _, o := range d.orders {
		_, err := o.c.Status(d.ctx, o.session)
		refused, ok := errors.AsType[*client.Error](err)
		switch {
		case o.session == "", ok && refused.HTTP < http.StatusInternalServerError:
			lost = append(lost, o)
		case err != nil:
			d.t.Fatalf("order %d: %v", o.n, err)
		default:
			known = append(known, o)
		}
	}
	return known, lost
}

// refused sees that the node does not start on the database as it is, and says
// what to do.
func (d *restoreDrill) refused() {
	d.t.Helper()
	out := exits(d.t, 1, d.at.flags("serve", "--sandbox-rails", "--listen", "127.0.0.1:0")...)
	if !strings.Contains(out, "payoutd restored declare --data ") {
		d.t.Errorf("a server on a database that went back said: %s", out)
	}
}

// restored is what the command says.
type restored struct {
	State   string
	Rails   []struct{ Covered bool }
	Unknown []struct{ Reference string }
}

func (d *restoreDrill) shown() (r restored) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(run(d.t, d.at.flags("restored", "show", "--json")...)), &r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

// goOn does what an operator does with a database that was restored, and
// compares what partners, the books and the rails know.
func (d *restoreDrill) goOn() {
	t := d.t
	t.Helper()
	run(t, d.at.flags("restored", "declare")...)
	began := time.Now()
	d.node = d.serve()
	known, lost := d.known()
	if len(known) == 0 || len(lost) == 0 {
		t.Fatalf("%d orders are known and %d lost: the drill has lost nothing, or all", len(known), len(lost))
	}
	// Partners repeat at once what nobody knows any more; none of it is taken.
	for _, o := range lost[:min(len(lost), 20)] {
		err := d.place(d.ctx, o)
		if refused, ok := errors.AsType[*client.Error](err); !ok || refused.HTTP != http.StatusServiceUnavailable {
			t.Errorf("order %d, which is lost, was repeated: %v, want status 503", o.n, err)
		}
	}
	if !until(d.ctx, noticeMax, func() bool { return d.shown().State == "held" }) {
		t.Fatalf("rails are still being asked: %+v\nthe node said:\n%s", d.shown(), d.node.stderr.String())
	}
	asked := time.Since(began)
	d.end(known)

	exits(t, 1, d.at.flags("restored", "release")...) // without a statement
	for _, rail := range []string{"account", "card", "fps", "wallet"} {
		path := writeFile(t, "statement", fetch(t, http.MethodGet, d.node.url+"/sandbox/statement?rail="+rail, ""))
		cmd := exec.Command(payoutd, d.at.flags("statement", "import", path, "--rail", rail)...)
		cmd.Env = environ()
		if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 1 {
			t.Fatalf("statement of %s: %v\n%s", rail, err, out)
		}
	}
	r := d.shown()
	if len(r.Rails) != 4 || slices.ContainsFunc(r.Rails, func(of struct{ Covered bool }) bool { return !of.Covered }) {
		t.Errorf("statements of all rails were taken in: %+v", r)
	}
	unknown := d.settle(known, lost, r)

	if out := exits(t, 1, d.at.flags("restored", "release")...); !strings.Contains(out, "payments in the lost time that are not known here") {
		t.Errorf("released although %d payments are unknown: %s", len(unknown), out)
	}
	run(t, d.at.flags("restored", "release", "--despite", "partners know of all of them")...)
	// Partners ask again for what nobody has paid.
	var again []*order
	for _, o := range lost {
		if !slices.ContainsFunc(o.payouts, func(p string) bool { return unknown[p] }) {
			if err := d.place(d.ctx, o); err != nil {
				t.Errorf("order %d is repeated: %v", o.n, err)
				continue
			}
			again = append(again, o)
		}
	}
	d.end(again)
	if t.Failed() {
		t.Fatalf("the node said:\n%s", d.node.stderr.String())
	}
	d.node.stop(t)
	d.consistent()
	run(t, d.at.flags("check")...)
	if out := run(t, d.at.flags("audit")...); !strings.Contains(out, "restore_declare") || !strings.Contains(out, "restore_release") {
		t.Errorf("the audit has not both acts:\n%s", out)
	}
	for n, executed := range d.executed() {
		if executed > 1 {
			t.Errorf("order %d was paid %d times: %v", n, executed, d.orders[n].payouts)
		}
	}
	t.Logf("%d orders: %d known after the restore, %d lost, of those %d paid by rails; rails were asked within %s of the start",
		len(d.orders), len(known), len(lost), len(unknown), asked.Round(time.Millisecond))
}

// settle compares the rails' books with ours: each payment is in ours as paid,
// or shown as one that nobody knows.
func (d *restoreDrill) settle(known, lost []*order, r restored) (unknown map[string]bool) {
	d.t.Helper()
	paid, unknown := map[string]bool{}, map[string]bool{}
	for _, o := range known {
		for _, p := range o.finished.Payouts {
			if p.Status == client.PayoutSucceeded {
				paid[p.ID] = true
			}
		}
	}
	for _, u := range r.Unknown {
		unknown[u.Reference] = true
	}
	for reference, times := range d.executions() {
		if times != 1 {
			d.t.Errorf("%s was paid %d times", reference, times)
		}
		if paid[reference] == unknown[reference] {
			d.t.Errorf("%s was paid; the books say so: %t, shown as unknown: %t", reference, paid[reference], unknown[reference])
		}
		delete(paid, reference)
	}
	for reference := range paid {
		d.t.Errorf("the books say that %s is paid, and no rail has", reference)
	}
	return unknown
}

// executions are how often each reference was paid.
func (d *restoreDrill) executions() map[string]int { return executionsOf(d.t, d.at.data) }

func executionsOf(t *testing.T, data string) map[string]int {
	t.Helper()
	world, err := sandbox.Open(filepath.Join(data, "sim"), &sandbox.Clock{})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	all := map[string]int{}
	for e, err := range world.Executions(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		all[e.Reference]++
	}
	return all
}

// executed is how often each order was paid, under whatever reference.
func (d *restoreDrill) executed() map[int]int {
	all, orders := d.executions(), map[int]int{}
	for _, o := range d.orders {
		for _, p := range o.payouts {
			orders[o.n] += all[p]
		}
	}
	return orders
}

// consistent sees that no partner was told two ends of one session, before the
// restore and after it.
func (d *restoreDrill) consistent() {
	d.t.Helper()
	ends := map[string]ending{}
	for _, got := range d.hooks.all() {
		if got.Type != client.PaymentFinished {
			continue
		}
		now := endingOf(got.Session)
		if before, ok := ends[got.Session.ID]; ok && before != now {
			d.t.Errorf("session %s ended as %+v and as %+v", got.Session.ID, before, now)
		}
		ends[got.Session.ID] = now
	}
}

// ordersEach is how many orders each part of a drill waits for.
func ordersEach(t *testing.T) int { return 20 * min(roundsWanted(t), 20) }

// TestDrillRestoreSQLite loses the file under load and goes on with a copy that
// was made beside the running server. Then it does the same without being asked
// about anything, on a copy of all of it: so partners are paid twice, which is
// what the drill would find.
func TestDrillRestoreSQLite(t *testing.T) {
	t.Parallel()
	d := newRestoreDrill(t, place{data: t.TempDir()})
	stop := d.load()
	d.more(ordersEach(t))
	backup := filepath.Join(t.TempDir(), "copy.db")
	d.around(func() { run(t, d.at.flags("backup", backup)...) })
	d.more(ordersEach(t))
	d.node.kill()
	stop()

	naive := filepath.Join(t.TempDir(), "naive")
	if err := os.CopyFS(naive, noSockets(t, d.at.data)); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{d.at.data, naive} {
		for _, end := range []string{"", "-wal", "-shm"} {
			if err := os.RemoveAll(filepath.Join(data, "payoutd.db"+end)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(data, "payoutd.db"), readFile(t, backup), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.refused()
	before := slices.Clone(d.orders)
	for i, o := range before {
		copied := *o
		copied.payouts = slices.Clone(o.payouts)
		before[i] = &copied
	}
	d.goOn()
	d.naive(naive, before)
}

// noSockets is a folder without what can't be copied.
func noSockets(t *testing.T, dir string) fs.FS {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "payoutd.sock")); err != nil {
		t.Fatal(err)
	}
	return os.DirFS(dir)
}

// naive goes on with the backup as if nothing had happened: its mark is taken
// off, and so is what the folder knows.
func (d *restoreDrill) naive(data string, orders []*order) {
	t := d.t
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(data, "payoutd.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.PutSetting(t.Context(), "restore", []byte("{}")), s.Close(), os.Remove(filepath.Join(data, "head-1"))); err != nil {
		t.Fatal(err)
	}
	d.at, d.orders = place{data: data}, orders
	d.node = d.serve()
	known, lost := d.known()
	for _, o := range lost {
		if err := d.place(d.ctx, o); err != nil {
			t.Errorf("order %d: %v", o.n, err)
		}
	}
	d.end(append(known, lost...))
	d.node.stop(t)
	twice := 0
	for _, executed := range d.executed() {
		if executed > 1 {
			twice++
		}
	}
	if twice == 0 {
		t.Error("the naive restore has paid nobody twice: the drill can't find what it is for")
	}
	t.Logf("without the declaration %d of %d lost orders were paid twice", twice, len(lost))
}

// TestDrillRestorePostgres loses the server with its disk under load, and goes on
// with its backup and the archive of its write-ahead log, at the end of which the
// last orders are missing.
func TestDrillRestorePostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.OwnArchived(t, pgtest.Place{})
	run(t, "migrate", "--db", server.URL)
	d := newRestoreDrill(t, place{data: t.TempDir(), db: server.URL})
	stop := d.load()
	d.more(ordersEach(t))
	server.Backup(t)
	d.more(ordersEach(t))
	d.around(func() {
		server.Archived(t)
		server.Run(t, "ALTER SYSTEM SET archive_command = 'false'", "SELECT pg_reload_conf()")
	})
	d.more(ordersEach(t))
	d.node.kill()
	stop()
	server.Destroy(t)
	began := time.Now()
	server.Restore(t, time.Time{})
	t.Logf("restored in %s", time.Since(began).Round(time.Millisecond))
	d.refused()
	d.goOn()
}

// TestDrillRestoreToAPointInTime restores the server under the running node to a
// moment in the middle of the traffic: the node ends by itself.
func TestDrillRestoreToAPointInTime(t *testing.T) {
	t.Parallel()
	server := pgtest.OwnArchived(t, pgtest.Place{})
	run(t, "migrate", "--db", server.URL)
	d := newRestoreDrill(t, place{data: t.TempDir(), db: server.URL})
	stop := d.load()
	d.more(ordersEach(t))
	server.Backup(t)
	d.more(ordersEach(t))
	var moment time.Time
	d.around(func() { moment = server.Now(t) })
	d.more(ordersEach(t))
	server.Archived(t)
	server.Destroy(t)
	server.Restore(t, moment)
	select {
	case <-d.node.ended:
	case <-time.After(noticeMax):
		t.Errorf("the node runs %s after its database went back", noticeMax)
		d.node.kill()
	}
	stop()
	if said := d.node.stderr.String(); !strings.Contains(said, "went back") {
		t.Errorf("the node ended and said:\n%s", said)
	}
	d.refused()
	d.goOn()
}
