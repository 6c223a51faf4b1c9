package payout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Report is what a check of the books has found.
type Report struct {
	Projects int `json:"projects"`
	Sessions int `json:"sessions"`
	Payouts  int `json:"payouts"`
	Live     int `json:"live"` // payouts that have not ended
	Entries  int `json:"entries"`
	Events   int `json:"events"`
	Pending  int `json:"pending"`  // events still to be delivered
	GivenUp  int `json:"given_up"` // events that nobody took in time
	// Statements are those of rails, and Differences what was found in them.
	Statements  int `json:"statements"`
	Differences int `json:"differences"`
	// Heads are where the ledgers end.
	Heads  []Head `json:"heads"`
	Opened int    `json:"opened"` // card numbers and accounts of live payouts, opened to see that they can be
	// Archived are sessions that were archived, and Proved those of them that were
	// proved from the files that were given.
	Archived int `json:"archived"`
	Proved   int `json:"proved"`
	// Problems is one sentence for each broken rule; empty means that the books
	// are clean. It is cut at problemsMax.
	Problems []string `json:"problems"`
}

// Head is where the ledger of a project ends: its last entry, whose hash stands for
// all before it.
type Head struct {
	Project id.Project `json:"project"`
	Entries int64      `json:"entries"` // the number of the last
	Hash    string     `json:"hash"`    // hexadecimal
}

const problemsMax = 1000

// Clean reports whether no rule is broken.
func (r *Report) Clean() bool { return len(r.Problems) == 0 }

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) < problemsMax {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check proves the books of a store on one snapshot, as CheckSnapshot. It is
// clean under load.
func Check(ctx context.Context, s store.Store) (*Report, error) { return check(ctx, s, nil, nil, nil) }

// Check proves the books as the function does, and that whatever a payout that
// has not ended is to be paid to stands in the vault and opens, unless its token
// was deleted or has expired. The ledgers must go through the heads that were kept
// from earlier checks.
func (e *Engine) Check(ctx context.Context, kept ...Head) (*Report, error) {
	return check(ctx, e.store, &safe{store: e.store, vault: e.vault}, nil, kept)
}

// CheckArchives proves the books as Check does, and with them the sessions that
// are in archive files: that each file is the one that was written, and each of
// its sessions obeys the rules together with what stays of it in the database.
// fault.Invalid if one is no archive of this installation.
func (e *Engine) CheckArchives(ctx context.Context, paths []string) (*Report, error) {
	files := &archiveFiles{read: e.store.ReadRecord}
	defer files.close()
	for _, path := range paths {
		if err := files.open(path); err != nil {
			return nil, err
		}
	}
	return check(ctx, e.store, &safe{store: e.store, vault: e.vault}, files, nil)
}

func check(ctx context.Context, s store.Store, opens *safe, files *archiveFiles, kept []Head) (r *Report, err error) {
	err = s.Snapshot(ctx, func(snapshot store.Snapshot) error {
		r, err = checkSnapshot(ctx, snapshot, opens, files, kept)
		return err
	})
	return r, err
}

// CheckSnapshot proves the books: each entry and balance sums to zero, the hash
// chain is whole, each hold belongs to one live payout, each paid payout has
// one accepted attempt and one settlement, each promised event and task exists
// once. It takes memory for one session at a time.
func CheckSnapshot(ctx context.Context, snapshot store.Snapshot) (*Report, error) {
	return checkSnapshot(ctx, snapshot, nil, nil, nil)
}

func checkSnapshot(ctx context.Context, snapshot store.Snapshot, opens *safe, files *archiveFiles, kept []Head) (*Report, error) {
	r := &Report{Heads: []Head{}, Problems: []string{}}
	kept = slices.Clone(kept)
	books, err := snapshot.Books(ctx)
	if err != nil {
		return r, err
	}
	counted := 0
	for i := range books {
		r.Projects++
		c := checker{Report: r, ctx: ctx, snapshot: snapshot, book: &books[i], safe: opens, files: files, kept: kept, held: map[string]int64{}}
		if err := c.chain(); err != nil {
			return r, err
		}
		if err := c.sessions(); err != nil {
			return r, err
		}
		counted += c.reserved
		kept = c.kept
	}
	for _, h := range kept {
		r.problem("project %s: no entry %d, which the head that was kept is of", h.Project, h.Entries)
	}
	if err := r.incomes(ctx, snapshot, counted); err != nil {
		return r, err
	}
	return r, r.statements(ctx, snapshot, books)
}

// statements sees that each statement that was taken in has the lines and the
// differences that it says.
func (r *Report) statements(ctx context.Context, snapshot store.Snapshot, books []ledger.Book) error {
	lines, differences := map[id.Statement]int{}, map[id.Statement]int{}
	projects := []id.Project{""}
	for i := range books {
		projects = append(projects, books[i].Project)
	}
	for _, p := range projects {
		for l, err := range snapshot.StatementLines(ctx, p) {
			if err != nil {
				return err
			}
			lines[l.Statement]++
		}
	}
	for d, err := range snapshot.AllDifferences(ctx) {
		if err != nil {
			return err
		}
		r.Differences++
		if differences[d.Statement]++; d.No != differences[d.Statement] {
			r.problem("statement %s: difference %d stands where %d should", d.Statement, d.No, differences[d.Statement])
		}
	}
	for s, err := range snapshot.AllStatements(ctx) {
		if err != nil {
			return err
		}
		r.Statements++
		if s.State == store.StatementDone && (lines[s.Number] < s.Summary.Lines || differences[s.Number] != s.Summary.Differences) {
			r.problem("statement %s of %s has %d lines and %d differences, it says %d and %d", s.Number, s.Rail,
				lines[s.Number], differences[s.Number], s.Summary.Lines, s.Summary.Differences)
		}
		if s.State != store.StatementDone && differences[s.Number] > 0 {
			r.problem("statement %s of %s has differences before its end", s.Number, s.Rail)
		}
		delete(lines, s.Number)
		delete(differences, s.Number)
	}
	for n := range lines {
		r.problem("there are lines of the statement %s, and no such statement", n)
	}
	for n := range differences {
		r.problem("there are differences of the statement %s, and no such statement", n)
	}
	return nil
}

// checker checks one project.
type checker struct {
	*Report
	ctx      context.Context
	snapshot store.Snapshot
	book     *ledger.Book
	own      []store.Account
	safe     *safe            // nil to open nothing
	files    *archiveFiles    // nil for none
	kept     []Head           // that were not met yet
	held     map[string]int64 // what the live payouts should hold, by own account, "" for the balance
	events   int64
	seqs     int64 // sum of the events' sequence numbers
	reserved int   // reservations of its payouts
}

// chain walks the entries in order: their numbers, sums, hashes and balances.
func (c *checker) chain() error {
	project := c.book.Project
	accounts, err := c.snapshot.Accounts(c.ctx, project)
	if err != nil {
		return err
	}
	type tally struct {
		of       string // the own account; "" for the balance
		says     ledger.Accounts
		balance  ledger.Accounts
		deposits int64
	}
	tallies := []tally{{says: c.book.Balance}}
	for i := range accounts {
		tallies = append(tallies, tally{of: accounts[i].Number, says: accounts[i].Balance})
	}
	var hash [sha256.Size]byte
	var no int64
	for e, err := range c.snapshot.Entries(c.ctx, project) {
		if err != nil {
			return err
		}
		c.Entries++
		no++
		if e.No != no {
			c.problem("project %s: entry %d stands where %d should", project, e.No, no)
			no = e.No
		}
		if sum, ok := e.Change.Sum(); !ok || sum != 0 {
			c.problem("project %s: entry %d sums to %d", project, e.No, sum)
		}
		if hash = e.Link(hash); hash != e.Hash {
			c.problem("project %s: entry %d was changed, or one before it is missing", project, e.No)
			hash = e.Hash
		}
		c.kept = slices.DeleteFunc(c.kept, func(h Head) bool {
			met := h.Project == project && h.Entries == no
			if met && h.Hash != hex.EncodeToString(hash[:]) {
				c.problem("project %s: entry %d is not the one of the head that was kept", project, no)
			}
			return met
		})
		at := slices.IndexFunc(tallies, func(t tally) bool { return t.of == e.Account })
		if at < 0 {
			c.problem("project %s: entry %d is of the account %s, which the project does not have", project, e.No, e.Account)
			continue
		}
		t := &tallies[at]
		after, ok := t.balance.Add(e.Change)
		if !ok {
			c.problem("project %s: balances overflow at entry %d", project, e.No)
		}
		t.balance = after
		if e.Kind == ledger.KindDeposit {
			t.deposits += e.Change.Available
		}
	}
	c.Heads = append(c.Heads, Head{project, no, hex.EncodeToString(hash[:])})
	if no != c.book.Entries || hash != c.book.Hash {
		c.problem("project %s: the chain ends at entry %d, the book says %d", project, no, c.book.Entries)
	}
	for i := range tallies {
		t, where := &tallies[i], fmt.Sprintf("project %s", project)
		if t.of != "" {
			where += ", account " + t.of
		}
		if t.balance != t.says {
			c.problem("%s: the entries make %+v, the balances say %+v", where, t.balance, t.says)
		}
		if b := t.says; b.Available != t.deposits-b.Held-b.Clearing-b.Fees-b.Suspense {
			c.problem("%s: available is %d, not deposits %d less held %d, clearing %d, fees %d and suspense %d",
				where, b.Available, t.deposits, b.Held, b.Clearing, b.Fees, b.Suspense)
		}
	}
	for i := range accounts {
		moved, err := c.snapshot.Moved(c.ctx, accounts[i].Key())
		if err != nil {
			return err
		}
		if booked := accounts[i].Booked(); moved != booked {
			c.problem("project %s, account %s: its statements make %d, the balance says %d", project, accounts[i].Number, moved, booked)
		}
	}
	c.own = accounts
	return nil
}

// sessions walks the sessions beside their entries, attempts, events and tasks.
func (c *checker) sessions() error {
	p := c.book.Project
	entries := newCursor(c.snapshot.EntriesBySession(c.ctx, p), func(e ledger.Entry) id.Session { return e.Session })
	defer entries.stop()
	attempts := newCursor(c.snapshot.Attempts(c.ctx, p), func(a store.Attempt) id.Session { return a.Session })
	defer attempts.stop()
	events := newCursor(c.snapshot.Events(c.ctx, p), func(e webhook.Event) id.Session { return e.Session })
	defer events.stop()
	tasks := newCursor(c.snapshot.Tasks(c.ctx, p), func(t store.Task) id.Session { return t.Session })
	defer tasks.stop()
	archived := newCursor(c.snapshot.Archived(c.ctx, p), func(a store.Archived) id.Session { return a.Session })
	defer archived.stop()
	if err := c.begin(); err != nil {
		return err
	}
	// gone goes through the archived sessions up to one.
	gone := func(to id.Session) error {
		for archived.have && archived.row.Session <= to {
			a := archived.row
			if orphans := entries.skip(a.Session) + attempts.skip(a.Session) + events.skip(a.Session+1) + tasks.skip(a.Session+1); orphans > 0 {
				c.problem("project %s: %d rows before the archived session %s belong to no session", p, orphans, a.Session)
			}
			if err := c.archived(&a, entries.take(a.Session), attempts.take(a.Session)); err != nil {
				return err
			}
			archived.step()
		}
		return archived.err
	}
	for s, err := range c.snapshot.Sessions(c.ctx, p) {
		if err != nil {
			return err
		}
		c.Sessions++
		if err := gone(s.ID - 1); err != nil {
			return err
		}
		if archived.have && archived.row.Session == s.ID {
			c.problem("session %s is archived and still there", s.ID)
			archived.step()
		}
		orphans := entries.skip(s.ID) + attempts.skip(s.ID) + events.skip(s.ID) + tasks.skip(s.ID)
		if orphans > 0 {
			c.problem("project %s: %d rows before session %s belong to no session", p, orphans, s.ID)
		}
		if err := c.session(s, entries.take(s.ID), attempts.take(s.ID), events.take(s.ID), tasks.take(s.ID)); err != nil {
			return err
		}
	}
	const last = id.Session(1<<63 - 1)
	if err := gone(last - 1); err != nil {
		return err
	}
	c.end()
	if orphans := entries.skip(last) + attempts.skip(last) + events.skip(last) + tasks.skip(last); orphans > 0 {
		c.problem("project %s: %d rows at the end belong to no session", p, orphans)
	}
	for _, err := range []error{entries.err, attempts.err, events.err, tasks.err, archived.err} {
		if err != nil {
			return err
		}
	}
	if held := c.held[""]; held != c.book.Balance.Held {
		c.problem("project %s: live payouts hold %d, the balance says %d", p, held, c.book.Balance.Held)
	}
	for i := range c.own {
		if a := &c.own[i]; c.held[a.Number] != a.Balance.Held {
			c.problem("project %s, account %s: live payouts hold %d, the balance says %d", p, a.Number, c.held[a.Number], a.Balance.Held)
		}
	}
	if n := c.book.Events; c.events != n || c.seqs != n*(n+1)/2 {
		c.problem("project %s: %d events, the book counts %d", p, c.events, n)
	}
	return nil
}

func (c *checker) session(s *session.Session, entries []ledger.Entry, attempts []store.Attempt, events []webhook.Event, tasks []store.Task) error {
	ended, returned := len(s.Payouts) > 0, 0
	checking, checked := 0, 0
	for i := range s.Payouts {
		p := &s.Payouts[i]
		c.Payouts++
		if p.Receipt != nil && p.Receipt.Withheld {
			ended = false
		}
		if !p.State.Final() {
			c.Live++
			ended = false
			if c.safe != nil {
				if err := c.opens(p); err != nil {
					return err
				}
			}
		}
		switch p.State {
		case session.Returned:
			returned++
		case session.Checking:
			checking++
		case session.Checked:
			checked++
		}
		c.quote(p)
		if err := c.receipt(s, p); err != nil {
			return err
		}
		if want := p.Details.Source != "" && p.State.Holds(); want && p.Transfer == nil || p.Transfer != nil && p.Details.Source == "" {
			c.problem("payout %s from the account %q is %s and has what to confirm: %t", p.ID, p.Details.Account, p.State, p.Transfer != nil)
		}
		c.money(s, p, entries)
		c.proof(s, p, attempts)
		c.work(s, p, tasks)
	}
	if checked > 0 && checking == 0 {
		c.problem("session %s: %d payouts are checked, none is being checked, and no money is held", s.ID, checked)
	}
	if len(s.Payouts) == 0 && len(entries)+len(attempts)+len(tasks) > 0 {
		c.problem("session %s has no payout but entries, attempts or tasks", s.ID)
	}
	hooks := map[string]int{}
	for i := range events {
		e := &events[i]
		c.Events++
		c.events++
		c.seqs += e.Seq
		hooks[e.Type]++
		if e.N != i+1 {
			c.problem("session %s: event %d stands where %d should", s.ID, e.N, i+1)
		}
		switch e.Status {
		case webhook.Pending:
			c.Pending++
		case webhook.GivenUp:
			c.GivenUp++
		}
	}
	if len(events) != s.Events {
		c.problem("session %s: %d events, %d were promised", s.ID, len(events), s.Events)
	}
	finished := hooks[string(session.PaymentFinished)]
	if want := map[bool]int{true: 1}[ended]; finished != want {
		c.problem("session %s: %d payment_finished, want %d", s.ID, finished, want)
	}
	if n := hooks[string(session.PaymentRefunded)]; n != returned {
		c.problem("session %s: %d payment_refunded for %d returned payouts", s.ID, n, returned)
	}
	ready := hooks[string(session.ReadyToConfirm)]
	if ready > 1 || ready == 0 && s.Show().NextAction == "confirm" {
		c.problem("session %s: %d ready_to_confirm", s.ID, ready)
	}
	return nil
}

// safe opens what payouts are to be paid to.
type safe struct {
	store store.Store
	vault *vault.Vault
}

// opens sees that the vault has what a live payout is to be paid to. A row that
// does not open as the snapshot has it was perhaps sealed anew since: then it
// opens as it is now.
func (c *checker) opens(p *session.Payout) error {
	i := p.Details.Instrument
	if i == nil {
		return nil
	}
	var found, opened bool
	var err error
	if key := token(i); key.Token != 0 {
		found, opened, err = readable(
			func() (vault.Item, error) { return c.snapshot.Item(c.ctx, key) },
			func() (vault.Item, error) { return c.safe.store.Item(c.ctx, key) },
			func(item vault.Item) ([]byte, error) {
				if len(item.Ciphertext) == 0 {
					return nil, nil // wiped after it was deleted, or had expired
				}
				return c.safe.vault.OpenItem(item)
			})
	} else if i.Card != nil {
		project := c.book.Project
		found, opened, err = readable(
			func() (vault.Sealed, error) { return c.snapshot.Card(c.ctx, project, i.Card.Sealed) },
			func() (vault.Sealed, error) { return c.safe.store.Card(c.ctx, project, i.Card.Sealed) },
			c.safe.vault.Open)
	} else {
		return nil
	}
	switch {
	case err != nil:
		return err
	case !found:
		c.problem("payout %s is %s and what it is paid to is missing in the vault", p.ID, p.State)
	case !opened:
		c.problem("payout %s is %s and what it is paid to does not open", p.ID, p.State)
	default:
		c.Opened++
	}
	return nil
}

// readable reports whether a row is there, and opens as it was or as it is.
func readable[T any](then, now func() (T, error), open func(T) ([]byte, error)) (found, opened bool, err error) {
	for _, read := range []func() (T, error){then, now} {
		row, err := read()
		switch {
		case err == nil:
		case fault.CodeOf(err) == fault.NotFound:
			return found, false, nil
		default:
			return found, false, err
		}
		found = true
		if content, err := open(row); err == nil {
			clear(content)
			return true, true, nil
		}
	}
	return found, false, nil
}

// booked is which entries a payout has, in the order of its life.
type booked struct{ hold, settle, release, returned, suspend, stray int }

// money compares the entries of a payout with its state.
func (c *checker) money(s *session.Session, p *session.Payout, entries []ledger.Entry) {
	var has booked
	var held, stray int64
	for i := range entries {
		e := &entries[i]
		if e.Payout != p.ID {
			continue
		}
		held += e.Change.Held
		if e.Account != p.Details.Account {
			c.problem("payout %s is paid from %q and has an entry of %q", p.ID, p.Details.Account, e.Account)
		}
		switch e.Kind {
		case ledger.KindHold:
			has.hold++
			c.same(e, ledger.Hold(p.Minor(), p.Fee))
		case ledger.KindSettle:
			has.settle++
			c.same(e, ledger.Settle(p.Minor(), p.Fee, p.Rail))
		case ledger.KindRelease:
			has.release++
			c.same(e, ledger.Release(p.Minor(), p.Fee))
		case ledger.KindReturn:
			has.returned++
			if r := p.Refund(); r != nil {
				c.same(e, ledger.Return(p.Minor(), r.Fee, p.Rail))
			}
		case ledger.KindSuspend:
			has.suspend++
			c.same(e, ledger.Suspend(p.Minor(), p.Rail))
		case ledger.KindStray:
			has.stray++
			stray += e.Change.Suspense
			c.same(e, ledger.Stray(e.Change.Suspense, p.Rail))
		default:
			c.problem("payout %s has an entry %q", p.ID, e.Kind)
		}
	}
	var want booked
	switch {
	case !p.Moves():
	case p.State.Holds():
		want = booked{hold: 1}
		c.held[p.Details.Account] += p.Minor() + p.Fee
	case p.State == session.Paid, p.State == session.Disputed && p.Failure == nil:
		want = booked{hold: 1, settle: 1}
	case p.State == session.Cancelled, p.State == session.Failed && has.hold > 0:
		want = booked{hold: 1, release: 1}
	case p.State == session.Returned:
		want = booked{hold: 1, settle: 1, returned: 1}
	case p.State == session.Disputed:
		want = booked{hold: 1, release: 1, suspend: 1}
	}
	for i := range p.Refunds {
		if r := &p.Refunds[i]; r.Status == session.RefundSuspended {
			want.stray++
			stray -= r.Amount.Minor
		}
	}
	if stray != 0 {
		c.problem("payout %s has %d more in suspense than its returns say", p.ID, stray)
	}
	if p.Refund() != nil && p.State != session.Returned { // that it was lost is seen by its entry
		c.problem("payout %s is %s and its returns do not say so", p.ID, p.State)
	}
	if has != want {
		c.problem("payout %s of session %s is %s and has the entries %+v, want %+v", p.ID, s.ID, p.State, has, want)
	}
	if !p.State.Holds() && held != 0 {
		c.problem("payout %s is %s and holds %d", p.ID, p.State, held)
	}
}

// quote sees that a payout in foreign currency has what it costs before its
// money is held, by the rate that was kept with it, and that no other has one.
func (c *checker) quote(p *session.Payout) {
	q := p.Quote
	switch {
	case q == nil && !p.Foreign():
	case q == nil && (p.State == session.Created || p.State == session.Checking || p.State == session.Failed):
		// It was refused, or is still to be quoted.
	case q == nil:
		c.problem("payout %s in %s is %s without a quote", p.ID, p.Details.Amount.Currency, p.State)
	case !p.Foreign():
		c.problem("payout %s is not in foreign currency and has a quote", p.ID)
	default:
		roubles, err := q.Rate.Price.Roubles(*p.Details.Amount)
		if err != nil || roubles != q.Amount {
			c.problem("payout %s of %s at %s is quoted as %s", p.ID, p.Details.Amount, q.Rate.Price, q.Amount)
		}
	}
}

func (c *checker) same(has *ledger.Entry, want ledger.Entry) {
	if has.Change != want.Change || has.Rail != want.Rail {
		c.problem("payout %s: %s of %+v over %q, want %+v over %q", has.Payout, has.Kind, has.Change, has.Rail, want.Change, want.Rail)
	}
}

// proof compares the attempts of a payout with its state.
func (c *checker) proof(s *session.Session, p *session.Payout, attempts []store.Attempt) {
	has := map[store.AttemptOutcome]int{}
	for i := range attempts {
		if attempts[i].Payout == p.ID {
			has[attempts[i].Outcome]++
		}
	}
	accepted, open := 0, 0
	switch p.State {
	case session.Paid, session.Returned, session.Disputed:
		if p.Moves() {
			accepted = 1
		}
	case session.Sent, session.Unclear:
		open = 1
	}
	if has[store.AttemptAccepted] != accepted || has[store.AttemptOpen] != open {
		c.problem("payout %s of session %s is %s with %d accepted and %d open attempts", p.ID, s.ID, p.State,
			has[store.AttemptAccepted], has[store.AttemptOpen])
	}
}

// work sees that a live payout has the one task that takes it further.
func (c *checker) work(s *session.Session, p *session.Payout, tasks []store.Task) {
	has, want := "", string(workOf(p))
	if p.Receipt != nil && p.Receipt.State.Open() {
		want += string(store.TaskReceipt)
	}
	for i := range tasks {
		if tasks[i].Payout == p.ID {
			has += string(tasks[i].Kind)
			if tasks[i].Kind == store.TaskExpire && p.Quote != nil && tasks[i].Due.After(p.Quote.Until) {
				c.problem("payout %s may be confirmed until %s, its rate is locked until %s", p.ID, tasks[i].Due, p.Quote.Until)
			}
		}
	}
	if has != want {
		c.problem("payout %s of session %s is %s and has the task %q, want %q", p.ID, s.ID, p.State, has, want)
	}
}

// stream walks rows one by one.
type stream[T any] struct {
	next func() (T, error, bool)
	stop func()
	row  T
	have bool
	err  error
}

func newStream[T any](rows iter.Seq2[T, error]) *stream[T] {
	c := &stream[T]{}
	c.next, c.stop = iter.Pull2(rows)
	c.step()
	return c
}

// cursor walks a stream that is ordered by session.
type cursor[T any] struct {
	*stream[T]
	session func(T) id.Session
}

func newCursor[T any](rows iter.Seq2[T, error], of func(T) id.Session) *cursor[T] {
	return &cursor[T]{newStream(rows), of}
}

func (c *stream[T]) step() {
	row, err, ok := c.next()
	if err != nil {
		c.err, ok = err, false
	}
	c.row, c.have = row, ok
}

// skip passes the rows before a session and counts them.
func (c *cursor[T]) skip(to id.Session) int {
	n := 0
	for ; c.have && c.session(c.row) < to; c.step() {
		n++
	}
	return n
}

// take returns the rows of a session.
func (c *cursor[T]) take(of id.Session) []T {
	var rows []T
	for ; c.have && c.session(c.row) == of; c.step() {
		rows = append(rows, c.row)
	}
	return rows
}
