package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/webhook"
)

// node is one server process of an installation, with what it logs.
type node struct {
	*Store
	*testing.T
	ids    *id.Generator
	logged *lines
}

// lines is a log that can be asked what it says.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newDatabase makes one with the schema and the projects "p" and "q".
func newDatabase(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	if err := Migrate(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	n := join(t, url, 0)
	for _, p := range []id.Project{"p", "q"} {
		n.must(n.CreateProject(t.Context(), partner.Project{ID: p}))
	}
	n.must(n.Close())
	return url
}

// join adds a node to an installation.
func join(t *testing.T, url string, number int64) *node {
	t.Helper()
	logged := new(lines)
	s, err := Open(t.Context(), url, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &node{Store: s, T: t, ids: id.NewNodeGenerator(time.Now, number), logged: logged}
}

func (n *node) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

// deposit books one kopeck in each of the projects, as a batch of the number.
func (n *node) deposit(batch id.Batch, projects ...id.Project) error {
	return n.Commit(context.Background(), store.Reads{Books: projects}, func(rows *store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: batch}
		for _, p := range projects {
			e, err := rows.Books[p].Post(ledger.Deposit(1, "d"), time.Now())
			if err != nil {
				return nil, err
			}
			c.Books, c.Entries = append(c.Books, rows.Books[p]), append(c.Entries, e)
		}
		return c, nil
	})
}

func (n *node) next() id.Batch { return id.Batch(n.ids.Next()) }

func (n *node) wantAvailable(p id.Project, want int64) {
	n.Helper()
	book, err := n.Book(context.Background(), p)
	if err != nil || book.Balance.Available != want || book.Entries != want {
		n.Errorf("the book of %s is %+v, error %v; want %d available in as many entries", p, book, err, want)
	}
}

func (n *node) wantBatch(batch id.Batch, want bool) {
	n.Helper()
	if got, err := n.Committed(context.Background(), batch); err != nil || got != want {
		n.Errorf("Committed is %v, error %v; want %v", got, err, want)
	}
}

// shell runs statements as an operator does beside the program.
func shell(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn := connect(t, url)
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// awaitLock returns when somebody waits for a lock in the database.
func awaitLock(t *testing.T, url string) {
	t.Helper()
	await(t, url, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
}

// await asks until the answer is true.
func await(t *testing.T, url, question string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Errorf("await: %v", err)
		return
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for yes := false; !yes; {
		if err := conn.QueryRow(ctx, question).Scan(&yes); err != nil {
			t.Errorf("in vain: %s: %v", question, err)
			return
		}
	}
}

func wantCode(t *testing.T, err error, want fault.Code) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != want {
		t.Errorf("error %v, want code %s", err, want)
	}
}

// TestNodesShareBooks lets two nodes write two books from many goroutines, and
// name them in either order. Nobody may be chosen to break a deadlock: the
// log would tell.
func TestNodesShareBooks(t *testing.T) {
	const writers, times = 4, 25
	url := newDatabase(t)
	nodes := []*node{join(t, url, 1), join(t, url, 2)}
	var all sync.WaitGroup
	for i := range writers {
		order := []id.Project{"p", "q"}
		if i%2 == 1 {
			order = []id.Project{"q", "p"}
		}
		for _, n := range nodes {
			all.Go(func() {
				for range times {
					if err := n.deposit(n.next(), order...); err != nil {
						t.Errorf("commit: %v", err)
					}
				}
			})
		}
	}
	all.Wait()
	for _, n := range nodes {
		n.wantAvailable("p", 2*writers*times)
		n.wantAvailable("q", 2*writers*times)
		if said := n.logged.String(); strings.Contains(said, "again") {
			t.Errorf("the log says %s", said)
		}
	}
}

// TestNodesShareKeys has two nodes find the same idempotency key missing: the
// one that comes second decides again, by the answer of the first.
func TestNodesShareKeys(t *testing.T) {
	url := newDatabase(t)
	nodes := []*node{join(t, url, 1), join(t, url, 2)}
	key := store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: "k"}
	replayed := errors.New("replayed")
	var (
		all      sync.WaitGroup
		both     sync.WaitGroup // have found the key missing
		outcomes [2]error
		decided  [2]int
	)
	both.Add(2)
	for i, n := range nodes {
		all.Go(func() {
			batch := n.next()
			outcomes[i] = n.Commit(t.Context(), store.Reads{Keys: []store.KeyRef{key}}, func(rows *store.Rows) (*store.Changes, error) {
				if decided[i]++; decided[i] == 1 {
					both.Done()
					both.Wait()
				}
				if _, burnt := rows.Keys[key]; burnt {
					return nil, replayed
				}
				s := &session.Session{Project: "p", ID: id.Session(n.ids.Next()), State: session.Created}
				return &store.Changes{
					Batch: batch, Keys: []store.KeyRecord{{KeyRef: key, At: time.Now()}}, Sessions: []*session.Session{s},
				}, nil
			})
		})
	}
	all.Wait()
	first, second := 0, 1
	if outcomes[0] != nil {
		first, second = 1, 0
	}
	if outcomes[first] != nil || !errors.Is(outcomes[second], replayed) || decided[first] != 1 || decided[second] != 2 {
		t.Errorf("outcomes %v after %v decisions, want one that writes at once and one that replays at the second try", outcomes, decided)
	}
	var sessions int
	nodes[0].must(connect(t, url).QueryRow(t.Context(), `SELECT count(*) FROM sessions`).Scan(&sessions))
	if sessions != 1 {
		t.Errorf("%d sessions, want one", sessions)
	}
}

// TestOvertakenWriteDecidesAgain changes a session that the batch has not
// locked, between decision and write.
func TestOvertakenWriteDecidesAgain(t *testing.T) {
	url := newDatabase(t)
	slow, fast := join(t, url, 1), join(t, url, 2)
	k := store.SessionKey{Project: "p", Session: 7}
	put := func(n *node, state session.State, meanwhile func()) error {
		return n.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
			s, err := n.Session(t.Context(), k)
			if fault.CodeOf(err) == fault.NotFound && err != nil {
				s, err = &session.Session{Project: k.Project, ID: k.Session}, nil
			}
			if err != nil {
				return nil, err
			}
			s.State = state
			meanwhile()
			return &store.Changes{Batch: n.next(), Sessions: []*session.Session{s}}, nil
		})
	}
	slow.must(put(slow, session.Created, func() {}))
	tries := 0
	slow.must(put(slow, session.Cancelled, func() {
		if tries++; tries == 1 {
			fast.must(put(fast, session.Checking, func() {}))
		}
	}))
	s, err := fast.Session(t.Context(), k)
	if err != nil || tries != 2 || s.Revision != 3 || s.State != session.Cancelled {
		t.Errorf("%+v after %d tries, error %v; want the third revision at the second try", s, tries, err)
	}
}

// TestLeaseTakeover lets a node fall silent: another takes its task when the
// lease has ended, and what the first still writes is refused.
func TestLeaseTakeover(t *testing.T) {
	url := newDatabase(t)
	first, second := join(t, url, 1), join(t, url, 2)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	k := store.SessionKey{Project: "p", Session: 7}
	task := store.Task{TaskKey: store.TaskKey{SessionKey: k, Payout: 8, Kind: store.TaskSend}, Due: now}
	first.must(first.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		s := &session.Session{Project: "p", ID: 7, State: session.Confirmed, Payouts: []session.Payout{{ID: 8, State: session.Confirmed}}}
		return &store.Changes{Batch: first.next(), Sessions: []*session.Session{s}, Tasks: []store.Task{task}}, nil
	}))
	claim := func(n *node, name string, at time.Time) []store.Task {
		tasks, err := n.ClaimTasks(t.Context(), name, at, at, time.Minute, 10)
		n.must(err)
		return tasks
	}
	mine := claim(first, "first", now)
	loaded, err := first.Session(t.Context(), k)
	first.must(err)
	if len(mine) != 1 || mine[0].Fence != 1 || loaded.Fence != 1 {
		t.Fatalf("claimed %+v of a session with fence %d, want one with fence 1", mine, loaded.Fence)
	}
	if early := claim(second, "second", now.Add(59*time.Second)); len(early) != 0 {
		t.Errorf("claimed within the lease: %+v", early)
	}
	theirs := claim(second, "second", now.Add(time.Minute))
	if len(theirs) != 1 || theirs[0].Fence != 2 {
		t.Fatalf("claimed %+v, want one with fence 2", theirs)
	}

	first.must(first.Renew(t.Context(), "first", now.Add(time.Hour), []store.TaskKey{task.TaskKey}, nil))
	if late := claim(first, "first", now.Add(2*time.Minute)); len(late) != 1 || late[0].Fence != 3 {
		t.Errorf("claimed %+v once the second lease had ended, want one: the stale renewal counts for nothing", late)
	}
	err = first.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		return &store.Changes{Batch: first.next(), Sessions: []*session.Session{loaded}}, nil
	})
	wantCode(t, err, fault.Internal)
	if alone, err := second.Recover(t.Context(), now); alone || err != nil {
		t.Errorf("Recover is %v, error %v; other nodes may be at work", alone, err)
	}
}

// TestClaimsDoNotWait holds a session locked: claims and renewals leave it out
// and take the others.
func TestClaimsDoNotWait(t *testing.T) {
	url := newDatabase(t)
	n := join(t, url, 1)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var tasks []store.Task
	n.must(n.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: n.next()}
		for number := range id.Session(2) {
			c.Sessions = append(c.Sessions, &session.Session{Project: "p", ID: number + 1, State: session.Confirmed})
			c.Tasks = append(c.Tasks, store.Task{
				TaskKey: store.TaskKey{SessionKey: store.SessionKey{Project: "p", Session: number + 1}, Payout: 8, Kind: store.TaskSend},
				Due:     now.Add(time.Duration(number) * time.Second), Owner: "node", Lease: now,
			})
		}
		tasks = c.Tasks
		return c, nil
	}))
	later := now.Add(time.Minute)
	n.recent = newRecent() // so that it takes the lock before it decides
	err := n.Commit(t.Context(), store.Reads{Sessions: []store.SessionKey{tasks[0].SessionKey}}, func(*store.Rows) (*store.Changes, error) {
		got, err := n.ClaimTasks(t.Context(), "other", later, later, time.Minute, 10)
		if err != nil || len(got) != 1 || got[0].Session != 2 {
			t.Errorf("claimed %+v, error %v; want the task of the session that is free", got, err)
		}
		return nil, nil
	})
	n.must(err)

	tx, err := connect(t, url).Begin(t.Context())
	n.must(err)
	_, err = tx.Exec(t.Context(), `SELECT FROM tasks WHERE session = 1 FOR UPDATE`)
	n.must(err)
	n.must(n.Renew(t.Context(), "node", later, []store.TaskKey{tasks[0].TaskKey}, nil))
	n.must(tx.Rollback(t.Context()))
	if got, err := n.ClaimTasks(t.Context(), "other", later, now, time.Minute, 10); err != nil || len(got) != 1 || got[0].Session != 1 {
		t.Errorf("claimed %+v, error %v; want the task whose renewal was left out", got, err)
	}
}

// TestKilledConnections has the server end a connection in the midst of its
// work with every other commit, while two nodes write the same book. What was
// answered is there, once; what was refused is not.
func TestKilledConnections(t *testing.T) {
	const times, timesMax, killsMin, writers = 40, 4000, 5, 2
	url := newDatabase(t)
	nodes := []*node{join(t, url, 1), join(t, url, 2)}
	killer := connect(t, url)
	var kills, commits atomic.Int64
	outcomes := make(chan struct{}, 2*writers)
	var killing, writing sync.WaitGroup
	killing.Go(func() {
		for range outcomes {
			tag, err := killer.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'payoutd' AND state <> 'idle'
				ORDER BY random() LIMIT 1`)
			if err != nil {
				t.Errorf("kill: %v", err)
			}
			kills.Add(tag.RowsAffected())
			<-outcomes
		}
	})
	var (
		mu      sync.Mutex
		written int64
	)
	for _, n := range nodes {
		for range writers {
			writing.Go(func() {
				// A commit may be over before its connection is found.
				for i := 0; i < times || kills.Load() < killsMin && i < timesMax; i++ {
					batch := n.next()
					err := n.deposit(batch, "p")
					commits.Add(1)
					outcomes <- struct{}{}
					for errors.Is(err, store.ErrUnknown) {
						var there bool
						switch there, err = n.Committed(context.Background(), batch); {
						case err != nil:
							err = store.ErrUnknown
						case !there:
							err = fault.New(fault.Busy, "not written")
						}
					}
					switch {
					case err == nil:
						mu.Lock()
						written++
						mu.Unlock()
					case fault.CodeOf(err) != fault.Busy:
						t.Errorf("commit: %v", err)
					}
				}
			})
		}
	}
	writing.Wait()
	close(outcomes)
	killing.Wait()
	t.Logf("%d of %d commits written, %d connections killed", written, commits.Load(), kills.Load())
	if kills.Load() < killsMin {
		t.Error("no connection was killed: the test shows nothing")
	}
	join(t, url, 3).wantAvailable("p", written)
}

// TestServerErrors injects an error a number of times into the write.
func TestServerErrors(t *testing.T) {
	const always = 1 << 30
	url := newDatabase(t)
	n := join(t, url, 1)
	shell(t, url, `CREATE SEQUENCE raised`, `CREATE TABLE injected (state text, times int)`,
		`CREATE FUNCTION inject() RETURNS trigger LANGUAGE plpgsql AS $$
			DECLARE i record;
			BEGIN
				SELECT * INTO i FROM injected;
				IF nextval('raised') <= i.times THEN
					RAISE EXCEPTION 'injected' USING ERRCODE = i.state;
				END IF;
				RETURN NEW;
			END $$`,
		`CREATE TRIGGER inject BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION inject()`)
	available := int64(0)
	for _, c := range []struct {
		name, state string
		times       int
		want        fault.Code // "" for success
		decided     int
	}{
		{"serialization failure", unserializable, 1, "", 2},
		{"deadlock, twice", deadlock, 2, "", 3},
		{"another node's key", uniqueViolation, 1, "", 2},
		{"a guard that another node moved", divisionByZero, 1, "", 2},
		{"serialization failure for ever", unserializable, always, fault.Busy, triesMax},
		{"unique violation for ever", uniqueViolation, always, fault.Internal, triesMax},
		{"standby in place of the primary", readOnly, 1, "", 2},
		{"standby for ever", readOnly, always, fault.Busy, triesMax},
		{"disk full", "53100", always, fault.Busy, 1},
		{"out of memory", "53200", always, fault.Busy, 1},
		{"lock time-out", lockNotAvailable, always, fault.Busy, 1},
		{"statement cancelled by an operator", queryCanceled, always, fault.Busy, 1},
		{"disk fails", ioError, always, fault.Busy, 1},
		{"constraint", checkViolation, always, fault.Internal, 1},
		{"text that does not fit", badEncoding, always, fault.Invalid, 1},
		{"fault of the server", "XX000", always, fault.Internal, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			shell(t, url, `ALTER SEQUENCE raised RESTART`, `DELETE FROM injected`,
				fmt.Sprintf(`INSERT INTO injected VALUES ('%s', %d)`, c.state, c.times))
			batch, decided := n.next(), 0
			err := n.Commit(t.Context(), store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows) (*store.Changes, error) {
				decided++
				e, err := rows.Books["p"].Post(ledger.Deposit(1, "d"), time.Now())
				return &store.Changes{Batch: batch, Books: []*ledger.Book{rows.Books["p"]}, Entries: []ledger.Entry{e}}, err
			})
			if c.want == "" {
				available++
				n.must(err)
			} else {
				wantCode(t, err, c.want)
			}
			if decided != c.decided {
				t.Errorf("decided %d times, want %d", decided, c.decided)
			}
			n.wantBatch(batch, c.want == "")
			n.wantAvailable("p", available)
		})
	}
}

// TestBrokenDeadlock makes a real one with an operator's transaction, and the
// server choose the commit to break it.
func TestBrokenDeadlock(t *testing.T) {
	url := newDatabase(t)
	shell(t, url, `ALTER DATABASE `+connect(t, url).Config().Database+` SET deadlock_timeout = '2s'`) // looked for once, when the cycle is there
	n := join(t, url, 1)
	shellConn := connect(t, url)
	_, err := shellConn.Exec(t.Context(), `SET deadlock_timeout = '1min'`) // it is not the victim
	n.must(err)
	tx, err := shellConn.Begin(t.Context())
	n.must(err)
	_, err = tx.Exec(t.Context(), `SELECT FROM books WHERE project = 'q' FOR UPDATE`)
	n.must(err)
	done := make(chan error, 1)
	go func() { done <- n.deposit(n.next(), "p", "q") }()
	awaitLock(t, url) // until the commit has p and waits for q
	_, err = tx.Exec(t.Context(), `SELECT FROM books WHERE project = 'p' FOR UPDATE`)
	n.must(err)
	n.must(tx.Rollback(t.Context()))
	n.must(<-done)
	n.wantAvailable("q", 1)
	if said := n.logged.String(); !strings.Contains(said, deadlock) {
		t.Errorf("the log says %q, want the deadlock", said)
	}
}

// TestReadOnlyDatabase is that of an operator who wants quiet.
func TestReadOnlyDatabase(t *testing.T) {
	url := newDatabase(t)
	database := connect(t, url).Config().Database
	n := join(t, url, 1)
	n.must(n.deposit(n.next(), "p"))
	shell(t, url, `ALTER DATABASE `+database+` SET default_transaction_read_only = on`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'payoutd'`)
	await(t, url, `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'payoutd')`)
	wantCode(t, n.deposit(n.next(), "p"), fault.Busy)
	wantCode(t, n.PutSetting(t.Context(), "name", nil), fault.Busy)
	_, err := n.ClaimTasks(t.Context(), "node", time.Now(), time.Now(), time.Minute, 1)
	wantCode(t, err, fault.Busy)
	n.wantAvailable("p", 1)
	_, err = Open(t.Context(), url+"&target_session_attrs=read-write", nil)
	wantCode(t, err, fault.Busy)

	shell(t, url, `SET default_transaction_read_only = off`, `ALTER DATABASE `+database+` RESET default_transaction_read_only`)
	if err := n.deposit(n.next(), "p"); err != nil {
		t.Errorf("after the quiet: %v", err)
	}
	n.wantAvailable("p", 2)
}

// TestOutboxWaitsForItsSession has one node add an event to a session while
// another writes down that the event before it was delivered: it must see the
// new one, which it has to let go.
func TestOutboxWaitsForItsSession(t *testing.T) {
	url := newDatabase(t)
	adds, reads := join(t, url, 1), join(t, url, 2)
	k := store.SessionKey{Project: "p", Session: 7}
	event := func(n int) webhook.Event {
		return webhook.Event{Project: k.Project, Session: k.Session, N: n, ID: id.Event(n), Status: webhook.Pending}
	}
	batch := adds.next()
	adds.must(adds.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
		s := &session.Session{Project: k.Project, ID: k.Session, State: session.Checking, Events: 1}
		return &store.Changes{Batch: batch, Sessions: []*session.Session{s}, Events: []webhook.Event{event(1)}}, nil
	}))

	var (
		seen []webhook.Event
		done = make(chan error, 1)
	)
	batch = adds.next()
	adds.recent = newRecent() // so that it takes the lock before it decides
	adds.must(adds.Commit(t.Context(), store.Reads{Sessions: []store.SessionKey{k}}, func(rows *store.Rows) (*store.Changes, error) {
		go func() {
			done <- reads.Commit(t.Context(), store.Reads{Outbox: []store.SessionKey{k}}, func(rows *store.Rows) (*store.Changes, error) {
				seen = rows.Outbox[k]
				return nil, nil
			})
		}()
		awaitLock(t, url)
		s := rows.Sessions[k]
		s.Events++
		return &store.Changes{Batch: batch, Sessions: []*session.Session{s}, Events: []webhook.Event{event(2)}}, nil
	}))
	if err := <-done; err != nil || len(seen) != 2 {
		t.Errorf("%d events of the outbox, error %v; want both", len(seen), err)
	}
}
