package postgres

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/webhook"
)

// TestMemoryIsProved has another node change each row that this one remembers,
// and goes by: whether it writes that row or another, it decides again, from
// what is there.
func TestMemoryIsProved(t *testing.T) {
	k := store.SessionKey{Project: "p", Session: 7}
	key := store.KeyRef{Project: "p", Scope: store.ScopeAPI, Key: "k"}
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	event := webhook.Event{
		Project: "p", Session: k.Session, N: 1, ID: 1, Seq: 1, Status: webhook.Pending, CreatedAt: at, Due: at, Owner: "mine", Lease: at,
	}
	task := store.Task{TaskKey: store.TaskKey{SessionKey: k, Payout: 8, Kind: store.TaskExpire}, Due: at}
	all := store.Reads{Sessions: []store.SessionKey{k}, Books: []id.Project{"p"}, Keys: []store.KeyRef{key}}
	delivered := func(n *node) {
		n.must(n.Commit(n.Context(), store.Reads{Outbox: []store.SessionKey{k}}, func(rows *store.Rows) (*store.Changes, error) {
			e := rows.Outbox[k][0]
			e.Status = webhook.Delivered
			return &store.Changes{Batch: n.next(), Events: []webhook.Event{e}}, nil
		}))
	}
	for _, c := range []struct {
		name      string
		meanwhile func(*node)
		decided   int
	}{
		{"nothing", func(*node) {}, 1},
		{"the session changes", func(n *node) {
			n.must(n.Commit(n.Context(), all, func(rows *store.Rows) (*store.Changes, error) {
				s := rows.Sessions[k]
				s.State = session.Cancelled
				return &store.Changes{Batch: n.next(), Sessions: []*session.Session{s}}, nil
			}))
		}, 2},
		{"the book changes", func(n *node) { n.must(n.deposit(n.next(), "p")) }, 2},
		{"the credit changes", func(n *node) {
			projects, err := n.Projects(n.Context())
			n.must(err)
			projects[0].Credit = 5_00
			n.must(n.UpdateProject(n.Context(), projects[0]))
		}, 2},
		{"the key is burnt", func(n *node) {
			n.must(n.Commit(n.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
				return &store.Changes{Batch: n.next(), Keys: []store.KeyRecord{{KeyRef: key, At: at}}}, nil
			}))
		}, 2},
		{"the task is claimed", func(n *node) {
			tasks, err := n.ClaimTasks(n.Context(), "other", at, at, time.Minute, 1)
			if err != nil || len(tasks) != 1 {
				n.Errorf("claimed %v, error %v", tasks, err)
			}
		}, 2},
		{"the event is claimed", func(n *node) {
			events, err := n.ClaimEvents(n.Context(), "other", at, at, time.Minute, 1)
			if err != nil || len(events) != 1 {
				n.Errorf("claimed %v, error %v", events, err)
			}
		}, 2},
		{"the event is delivered", delivered, 2},
		{"the event is delivered and sent again", func(n *node) {
			delivered(n)
			n.must(n.Commit(n.Context(), store.Reads{Events: []store.SessionKey{k}}, func(rows *store.Rows) (*store.Changes, error) {
				e := rows.Events[store.EventKey{SessionKey: k, N: 1}]
				e.Status, e.Attempts = webhook.Pending, 2
				return &store.Changes{Batch: n.next(), Events: []webhook.Event{e}}, nil
			}))
		}, 2},
	} {
		for _, writes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, writes it: %v", c.name, writes), func(t *testing.T) {
				url := newDatabase(t)
				mine, other := join(t, url, 1), join(t, url, 2)
				mine.must(mine.deposit(mine.next(), "p"))
				mine.must(mine.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) {
					s := &session.Session{
						Project: "p", ID: k.Session, State: session.Awaiting, Events: 1, CreatedAt: at, UpdatedAt: at,
						Payouts: []session.Payout{{ID: 8, State: session.Awaiting, CreatedAt: at}},
					}
					return &store.Changes{
						Batch: mine.next(), Sessions: []*session.Session{s}, Events: []webhook.Event{event}, Tasks: []store.Task{task},
					}, nil
				}))
				c.meanwhile(other)

				var last store.Rows
				decided := 0
				mine.must(mine.Commit(t.Context(), all, func(rows *store.Rows) (*store.Changes, error) {
					decided++
					last = *copyOf(rows)
					changes := &store.Changes{Batch: mine.next(), Alarms: []store.Alarm{{ID: 1, Project: "p", At: at}}}
					if writes {
						changes.Sessions = []*session.Session{rows.Sessions[k]}
						changes.Books = []*ledger.Book{rows.Books["p"]}
					}
					return changes, nil
				}))
				if decided != c.decided {
					t.Errorf("decided %d times, want %d", decided, c.decided)
				}
				there := join(t, url, 3)
				there.must(there.Commit(t.Context(), all, func(rows *store.Rows) (*store.Changes, error) {
					if writes { // it has raised them
						rows.Sessions[k].Revision--
						rows.Books["p"].Revision--
					}
					if !reflect.DeepEqual(*rows, last) {
						t.Errorf("decided by\n%+v\nbut there is\n%+v", last, *rows)
					}
					return nil, nil
				}))
			})
		}
	}
}

// copyOf are rows that stay as they are.
func copyOf(rows *store.Rows) *store.Rows {
	own := *rows
	own.Sessions = map[store.SessionKey]*session.Session{}
	for k, s := range rows.Sessions {
		own.Sessions[k] = s.Clone()
	}
	own.Books = map[id.Project]*ledger.Book{}
	for p, b := range rows.Books {
		book := *b
		own.Books[p] = &book
	}
	return &own
}

// TestRefusalIsProved refuses a command by a session that another node has
// changed meanwhile: the partner must not hear of what is no more.
func TestRefusalIsProved(t *testing.T) {
	url := newDatabase(t)
	mine, other := join(t, url, 1), join(t, url, 2)
	k := store.SessionKey{Project: "p", Session: 7}
	reads := store.Reads{Sessions: []store.SessionKey{k}}
	put := func(n *node, s *session.Session) {
		n.must(n.Commit(t.Context(), reads, func(rows *store.Rows) (*store.Changes, error) {
			if rows.Sessions[k] != nil {
				s.Revision = rows.Sessions[k].Revision
			}
			return &store.Changes{Batch: n.next(), Sessions: []*session.Session{s}}, nil
		}))
	}
	put(mine, &session.Session{Project: "p", ID: 7, State: session.Checking})
	put(other, &session.Session{Project: "p", ID: 7, State: session.Awaiting})
	var seen []session.State
	mine.must(mine.Commit(t.Context(), reads, func(rows *store.Rows) (*store.Changes, error) {
		seen = append(seen, rows.Sessions[k].State)
		return nil, nil // as a batch in which all is refused
	}))
	if want := []session.State{session.Checking, session.Awaiting}; !reflect.DeepEqual(seen, want) {
		t.Errorf("decided by the states %q, want %q", seen, want)
	}
}

// TestMemoryThatIsWrongIsNotAsked lets two nodes take turns with a book: after
// the first surprises they load it at once.
func TestMemoryThatIsWrongIsNotAsked(t *testing.T) {
	url := newDatabase(t)
	nodes := []*node{join(t, url, 1), join(t, url, 2)}
	const turns = 50
	decided := 0
	for i := range turns {
		n := nodes[i%2]
		n.must(n.Commit(t.Context(), store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows) (*store.Changes, error) {
			decided++
			e, err := rows.Books["p"].Post(ledger.Deposit(1, "d"), time.Now())
			return &store.Changes{Batch: n.next(), Books: []*ledger.Book{rows.Books["p"]}, Entries: []ledger.Entry{e}}, err
		}))
	}
	nodes[0].wantAvailable("p", turns)
	if decided > turns+turns/2 {
		t.Errorf("%d turns were decided %d times", turns, decided)
	}
	for _, n := range nodes {
		if n.recent.distrust == 0 {
			t.Error("a node trusts its memory that was wrong")
		}
	}
}

// TestMemoryIsBounded puts in more sessions than it may keep.
func TestMemoryIsBounded(t *testing.T) {
	r := newRecent()
	keys := make([]store.SessionKey, 3*recentMax)
	for i := range keys {
		keys[i] = store.SessionKey{Project: "p", Session: id.Session(i + 1)}
		m := newMemory(1, 0)
		m.sessions[keys[i]] = remembered{session: &session.Session{Project: "p", ID: keys[i].Session}}
		r.put(m)
	}
	if n := len(r.young) + len(r.old); n > recentMax {
		t.Errorf("%d sessions are remembered, want at most %d", n, recentMax)
	}
	if _, enough := r.take(&wanted{outbox: keys[len(keys)-recentMax/2:]}); !enough {
		t.Error("the newest are forgotten")
	}
	over := newMemory(1, 0)
	over.sessions[keys[0]] = remembered{session: &session.Session{Payouts: []session.Payout{{State: session.Paid}}}}
	over.sessions[keys[1]] = remembered{session: &session.Session{Project: "p", Draft: session.Details{Account: "a"}}}
	r.put(over)
	for _, k := range keys[:2] {
		if _, enough := r.take(&wanted{outbox: []store.SessionKey{k}}); enough {
			t.Errorf("%s is remembered, which is over, or names an account that is loaded with it", k.Session)
		}
	}
}

// TestOnlyKeysNeedNoMemory names one row of each kind that Reads has: a kind
// that is new, and that nobody has thought of here, must be loaded.
func TestOnlyKeysNeedNoMemory(t *testing.T) {
	kinds := reflect.TypeFor[store.Reads]()
	for i := range kinds.NumField() {
		var reads store.Reads
		field := reflect.ValueOf(&reads).Elem().Field(i)
		field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		w := want(reads)
		if _, enough := newRecent().take(&w); enough != (kinds.Field(i).Name == "Keys") {
			t.Errorf("%s: nothing is remembered, and that is enough: %v", kinds.Field(i).Name, enough)
		}
	}
}
