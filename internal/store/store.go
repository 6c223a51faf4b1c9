// Package store is the database as the rest of the program sees it. Each engine
// writes its own SQL behind this contract; package storetest holds them to it.
package store

import (
	"context"
	"iter"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/internal/webhook"
)

// Store is safe for concurrent use. A missing row is fault.NotFound; an engine
// that can't be reached, or is full, is fault.Busy; times are UTC, cut to
// microseconds.
type Store interface {
	// Commit loads and locks the rows that reads names, in one order for all
	// callers, lets decide turn them into changes, and writes those in one
	// transaction: all of them or, on an error, none. Where the changes are
	// empty nothing is written. decide may run more than once, and all but the
	// last time from rows that turn out to be out of date, so it touches nothing
	// outside its arguments; its last error is returned as it is. Rows given to
	// decide are the caller's to keep and change, but for what is written once:
	// what a session's draft and the details of its payouts point to.
	//
	// A write that would break a guard (a revision that moved, a key or number
	// that exists) fails the whole call with fault.Internal and writes nothing.
	// When the answer to the COMMIT itself is lost, the error is ErrUnknown and
	// Committed tells what became of it.
	Commit(ctx context.Context, reads Reads, decide func(*Rows) (*Changes, error)) error
	// Committed reports whether the batch was written. It is known for
	// BatchesKept at least.
	Committed(ctx context.Context, batch id.Batch) (bool, error)
	// LastBatch is the highest number of a batch that was written; 0 if there is
	// none.
	LastBatch(ctx context.Context) (id.Batch, error)

	// ClaimTasks takes up to limit tasks that are due and that nobody holds a
	// lease of, oldest due first, gives node the lease of them for the given
	// time, and raises the fence of their sessions, of each once, and with it
	// the revision. due is compared with the product's clock, which a sandbox
	// may move; now is the real time, which leases go by: a lease that ends at
	// now has ended. kinds limits what is taken; none means all kinds.
	ClaimTasks(ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int, kinds ...TaskKind) ([]Task, error)
	// ClaimEvents does the same for undelivered webhook events; there is no fence,
	// but the revision may be raised.
	ClaimEvents(ctx context.Context, node string, due, now time.Time, lease time.Duration, limit int) ([]webhook.Event, error)
	// Renew prolongs the leases that node still holds of these.
	Renew(ctx context.Context, node string, until time.Time, tasks []TaskKey, events []EventKey) error
	// Release gives back the leases that node still holds of these, so that
	// others need not wait for their end. What somebody is just changing keeps
	// its lease.
	Release(ctx context.Context, node string, tasks []TaskKey, events []EventKey) error
	// Nudge hints to other nodes that something is due of which nobody has the
	// lease, so that they look at once and not only when it is time to. It may
	// be lost.
	Nudge(ctx context.Context) error
	// Listen calls nudged when another node may have said so, until ctx or the
	// store ends. Where the data has one owner there is nothing to hear.
	Listen(ctx context.Context, nudged func())
	// Recover is called once at start, before any claim. An engine whose data
	// has one owner voids all leases, those of node numbers as well, makes every
	// query task due at once and returns true: whatever was under way is asked
	// about first.
	Recover(ctx context.Context, now time.Time) (bool, error)

	// TakeNode gives owner, a run of the program, a node number until the lease
	// ends: of those that nobody has at now the one that has been free for the
	// longest, so that no clock that is set back between two runs makes ids
	// anew. fault.Busy if all Nodes are taken. Times here are real.
	TakeNode(ctx context.Context, owner string, now time.Time, lease time.Duration) (int, error)
	// KeepNode prolongs the lease of a number; fault.Stale if owner has it no more.
	KeepNode(ctx context.Context, owner string, number int, until time.Time) error
	// FreeNode gives a number back at now, if owner still has it.
	FreeNode(ctx context.Context, owner string, number int, now time.Time) error

	// Session reads one session without waiting for any Commit.
	Session(ctx context.Context, k SessionKey) (*session.Session, error)
	// Sessions reads sessions of one project, the newest first, and tells before
	// which the next page begins; 0 if there is none.
	Sessions(ctx context.Context, q SessionQuery) (page []*session.Session, before id.Session, err error)
	// SessionsByID reads those of a project's sessions that there are, by ID and
	// without waiting for any Commit.
	SessionsByID(ctx context.Context, p id.Project, sessions []id.Session) ([]*session.Session, error)
	// Book reads a project's book without waiting for any Commit.
	Book(ctx context.Context, p id.Project) (*ledger.Book, error)
	// Entries reads a project's entries by No, those behind after, up to limit,
	// without waiting for any Commit. Entries never change, so pages of them that
	// are read one after another are one state.
	Entries(ctx context.Context, p id.Project, after int64, limit int) ([]ledger.Entry, error)
	// Card reads a sealed card number.
	Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error)
	// Events reads webhook events by session and N, without bodies and without
	// waiting for any Commit.
	Events(ctx context.Context, q EventQuery) ([]webhook.Event, error)
	// FindAttempt finds what a rail knows by our reference, in whichever project;
	// fault.NotFound if it was never promised to the rail.
	FindAttempt(ctx context.Context, rail, reference string) (Attempt, error)
	// Deliveries reads the delivery log of a session, oldest first.
	Deliveries(ctx context.Context, k SessionKey) ([]webhook.Attempt, error)
	// Account reads an own account of a project, and Accounts all of them by
	// number, without waiting for any Commit.
	Account(ctx context.Context, k AccountKey) (*Account, error)
	Accounts(ctx context.Context, p id.Project) ([]Account, error)
	// AccountHistory reads what went into an own account and out of it, and what was on
	// it before, without waiting for any Commit.
	AccountHistory(ctx context.Context, k AccountKey, from, to time.Time) (AccountHistory, error)
	// Alarms reads the newest alarms, newest first.
	Alarms(ctx context.Context, limit int) ([]Alarm, error)

	Tokens
	Archives
	Statements
	NPD
	Incomes
	Operators

	// Projects reads all projects by ID.
	Projects(ctx context.Context) ([]partner.Project, error)
	// ProjectsRevision changes whenever any project does.
	ProjectsRevision(ctx context.Context) (int64, error)
	// CreateProject adds a project and its empty book; fault.Invalid if it exists.
	CreateProject(ctx context.Context, p partner.Project) error
	// UpdateProject replaces a project whose stored revision is p.Revision and
	// raises it; fault.Busy if another change came first. A change of Credit
	// takes effect in the book in the same transaction.
	UpdateProject(ctx context.Context, p partner.Project) error

	// Setting reads a setting of the installation; fault.NotFound without one.
	Setting(ctx context.Context, name string) ([]byte, error)
	// PutSetting writes one.
	PutSetting(ctx context.Context, name string, value []byte) error
	// AddSetting writes one that is not there yet, and returns what is there
	// then: of several who add at once, all get the value of the first.
	AddSetting(ctx context.Context, name string, value []byte) ([]byte, error)
	// SwapSetting writes one whose value is old; fault.Busy if another change came
	// first. One that has the new value already stays as it is.
	SwapSetting(ctx context.Context, name string, old, value []byte) error

	// Snapshot lets read see one state of the whole database, while commits go on.
	Snapshot(ctx context.Context, read func(Snapshot) error) error
	Close() error
}

// ErrUnknown says that a COMMIT was sent and its answer never came.
var ErrUnknown error = unknownError{}

type unknownError struct{}

func (unknownError) Error() string { return "the outcome of the commit is unknown" }

// BatchesKept is how long a batch can be looked up, counted back from the last
// one.
const BatchesKept = 24 * time.Hour

// ErrWentBack says that the database lacks what was known to be committed: it
// is an earlier state of itself.
var ErrWentBack error = wentBackError{}

type wentBackError struct{}

func (wentBackError) Error() string {
	return "the database went back to an earlier state: it lacks what it had confirmed"
}

// Lacks reports whether a batch that was known to be committed is not there.
// One that may have been forgotten since counts as there.
func Lacks(ctx context.Context, s Store, batch id.Batch) (bool, error) {
	there, err := s.Committed(ctx, batch)
	if err != nil || there {
		return false, err
	}
	last, err := s.LastBatch(ctx)
	return err == nil && last.At().Sub(batch.At()) < BatchesKept, err
}

// Nodes is how many node numbers there are: 0 to Nodes-1, as many as package id
// has room for.
const Nodes = 1 << 10

// SessionKey names a session.
type SessionKey struct {
	Project id.Project
	Session id.Session
}

// AccountKey names an own account of a project.
type AccountKey struct {
	Project id.Project
	Number  string
}

// Account is an own account of a project, with whose it is.
type Account struct {
	ledger.OwnAccount
	Owner     partner.Owner
	CreatedAt time.Time
}

// Key names the account.
func (a *Account) Key() AccountKey { return AccountKey{a.Project, a.Number} }

// AccountHistory is a time of an own account.
type AccountHistory struct {
	Opening   int64 // kopecks, what was booked on it before
	Movements []AccountMovement
}

// AccountMovement is an entry that changed what is booked on an own account, by No.
type AccountMovement struct {
	Entry    ledger.Entry
	Transfer *session.Transfer // of its payout; nil for a deposit
}

// EventKey names a webhook event.
type EventKey struct {
	SessionKey
	N int
}

// SessionQuery selects sessions of one project.
type SessionQuery struct {
	Project       id.Project
	State         session.State // "" for all
	After, Before id.Session    // between these, both excluded; 0 is no bound
	Limit         int           // at most so many
	// Scan is how many sessions are looked at for those in the state, at most: a
	// rare state in a long history would take all of it.
	Scan int
}

// EventQuery selects events of one project.
type EventQuery struct {
	Project id.Project
	Session id.Session // 0 for all
	// Status limits what is read; none means all.
	Status []webhook.Status
	// From and To bound when the event was made: not before From, and before To;
	// the zero time is no bound.
	From, To time.Time
	After    EventKey // what comes after it; the zero key begins at the beginning
	Limit    int      // at most so many
}

// KeyRef names an idempotency key. Partners' keys, the references of deposits
// and those of what rails tell have scopes of their own, so that none takes
// another's.
type KeyRef struct {
	Project id.Project
	Scope   string
	Key     string
}

// The scopes of idempotency keys.
const (
	ScopeAPI     = "api"
	ScopeDeposit = "deposit"
	ScopeReturn  = "return" // a rail's name of a return; without a project where its payout is not known
	ScopeAnswer  = "answer" // what people were told that a rail says of an archived payout
	// A rail's name of a statement, and the end of taking it in; without a project.
	ScopeStatement     = "statement"
	ScopeStatementDone = "statement_done"
	ScopeAccount       = "account" // the number of an own account, of whichever project; without a project
	ScopePerson        = "person"  // the INN of a self-employed person with whom the project has to do
	ScopeReceipt       = "receipt" // what a comparison of receipts has found, and the days that were compared; without a project
)

// KeyRecord is a burnt idempotency key. It never expires.
type KeyRecord struct {
	KeyRef
	// Print is a hash of what was asked, keyed where that may hold a card
	// number: the same key with another print is another request.
	Print [32]byte
	// Answer is the body of the answer, to be replayed.
	Answer []byte
	At     time.Time
}

// TaskKind is what a task does.
type TaskKind string

// The kinds of tasks.
const (
	TaskCheck  TaskKind = "check"  // ask the rail about the recipient, then hold
	TaskExpire TaskKind = "expire" // end what nobody confirmed
	TaskSend   TaskKind = "send"   // commit the intent and call the rail
	TaskQuery  TaskKind = "query"  // ask the rail what became of it

	TaskClear   TaskKind = "clear"   // ask the tax service about the person, before anything else
	TaskReceipt TaskKind = "receipt" // register income, cancel its receipt, give back what was reserved
)

// TaskKey names a task: one of each kind per payout.
type TaskKey struct {
	SessionKey
	Payout id.Payout
	Kind   TaskKind
}

// Task is what to do next with a payout, and when.
type Task struct {
	TaskKey
	Due     time.Time
	Attempt int // 0 for the first
	// Owner runs it until Lease; "" and zero where nobody has claimed it.
	Owner string
	Lease time.Time
	// Fence is the session's when the task was claimed or handed out; it is not
	// stored with the task.
	Fence int64
}

// Attempt is one promise to a rail: the proof of what was asked of it.
type Attempt struct {
	Project   id.Project
	Session   id.Session
	Payout    id.Payout
	No        int // 1, 2 …: another rail or another reference is another attempt
	Rail      string
	Reference string
	Outcome   AttemptOutcome
	SentAt    time.Time
	EndedAt   time.Time // zero while open
}

// AttemptOutcome is what is known of an attempt.
type AttemptOutcome string

// The outcomes. At most one attempt of a payout is ever accepted: a unique
// index of the engine holds that too.
const (
	AttemptOpen     AttemptOutcome = "open"
	AttemptAccepted AttemptOutcome = "accepted"
	AttemptDeclined AttemptOutcome = "declined"
)

// Alarm is something that people must look at.
type Alarm struct {
	ID      int64
	Project id.Project
	Session id.Session
	Payout  id.Payout // 0 if it is of the whole session
	Kind    string    // snake_case, stable
	Text    string
	At      time.Time
}

// Reads names the rows of a batch. Duplicates are allowed.
type Reads struct {
	Sessions []SessionKey // with payouts and undelivered events
	Outbox   []SessionKey // undelivered events alone; it locks the session all the same
	Events   []SessionKey // all events, the undelivered ones in Outbox as well; it locks the session too
	Books    []id.Project
	Keys     []KeyRef
	Items    []ItemKey
	Public   []PublicKey
	NPD      []NPDKey
	Incomes  []IncomeKey
	// Reservations are read without a lock: who changes one has named its income.
	Reservations []ReservationKey
	// Accounts are own accounts, beside those that the sessions of Sessions name,
	// which are loaded with them. Who changes one names the project's book as
	// well, which is their lock.
	Accounts []AccountKey
}

// Rows is what was found; what is not in a map does not exist.
type Rows struct {
	Sessions map[SessionKey]*session.Session
	// Outbox has the undelivered events of those sessions, by N, without bodies.
	Outbox map[SessionKey][]webhook.Event
	// Events has all events of the sessions of Reads.Events, without bodies.
	Events map[EventKey]webhook.Event
	Books  map[id.Project]*ledger.Book
	Keys   map[KeyRef]KeyRecord
	Items  map[ItemKey]vault.Item
	Public map[PublicKey]*vault.Public
	NPD    map[NPDKey]NPDRequest

	Incomes      map[IncomeKey]Income
	Reservations map[ReservationKey]Reservation
	// Accounts has the own accounts that were named, and those that the drafts and
	// payouts of Sessions name.
	Accounts map[AccountKey]*Account
}

// AccountsOf are the own accounts that a session names.
func AccountsOf(s *session.Session) []AccountKey {
	var keys []AccountKey
	add := func(d *session.Details) {
		if d.Account != "" {
			keys = append(keys, AccountKey{s.Project, d.Account})
		}
	}
	add(&s.Draft)
	for i := range s.Payouts {
		add(&s.Payouts[i].Details)
	}
	return keys
}

// Changes is the sum of what the commands of a batch change.
type Changes struct {
	Batch id.Batch
	Keys  []KeyRecord // new
	// Sessions are new or changed, with all their payouts in the same order;
	// Revision is the one that was loaded, 0 for a new one, and is raised by the
	// engine. Version, CreatedAt and the Details of a payout are written once.
	Sessions []*session.Session
	// Books changed, with the Revision that was loaded.
	Books []*ledger.Book
	// Accounts are new, with Revision 0, or changed, with the Revision that was
	// loaded; only the balance changes.
	Accounts   []*Account
	Entries    []ledger.Entry    // new
	Attempts   []Attempt         // new or changed
	Cards      []vault.Sealed    // new
	CardsDone  []CardKey         // to be removed after Cards are written; one that is not there is no error
	Events     []webhook.Event   // new or changed; only the state of a delivery changes
	Deliveries []webhook.Attempt // new
	Tasks      []Task            // new or changed, by key
	TasksDone  []TaskKey         // to be removed before Tasks are written; one that is not there is no error
	Alarms     []Alarm           // new
	// Items, Public and NPD are new, with Revision 0, or changed, with the
	// Revision that was loaded. Of an item only DeletedAt and WipeAt change, of a
	// public token Widgets and Attempts, of a request Message and Answer.
	Items  []vault.Item
	Public []*vault.Public
	NPD    []NPDRequest
	Acts   []Act // new
	// Statements are new or changed, by rail and ID: State and Summary change.
	// A line that is there already stays as it is.
	Statements  []Statement
	Lines       []StatementLine
	Differences []Difference // new
	// Incomes are new, with Revision 0, or changed, with the Revision that was
	// loaded. Reservations are new or changed, by key; of one only State, Receipt
	// and EarnedAt change.
	Incomes      []Income
	Reservations []Reservation
}

// Empty reports whether there is nothing to write.
func (c *Changes) Empty() bool {
	return len(c.Keys)+len(c.Sessions)+len(c.Books)+len(c.Accounts)+len(c.Entries)+len(c.Attempts)+len(c.Cards)+len(c.CardsDone)+
		len(c.Events)+len(c.Deliveries)+len(c.Tasks)+len(c.TasksDone)+len(c.Alarms)+len(c.Items)+len(c.Public)+len(c.NPD)+len(c.Acts)+
		len(c.Statements)+len(c.Lines)+len(c.Differences)+len(c.Incomes)+len(c.Reservations) == 0
}

// Snapshot reads one state of the database as streams. Each is ordered by the
// project and then as stated, so that streams can be walked side by side with
// little memory. An error ends the stream as its last pair.
type Snapshot interface {
	Projects(ctx context.Context) ([]partner.Project, error)
	Books(ctx context.Context) ([]ledger.Book, error)
	Accounts(ctx context.Context, p id.Project) ([]Account, error) // by Number
	// Moved is the sum of all movements of an own account.
	Moved(ctx context.Context, k AccountKey) (int64, error)
	Entries(ctx context.Context, p id.Project) iter.Seq2[ledger.Entry, error]          // by No
	EntriesBySession(ctx context.Context, p id.Project) iter.Seq2[ledger.Entry, error] // by Session, Payout, No; no deposits
	Sessions(ctx context.Context, p id.Project) iter.Seq2[*session.Session, error]     // by ID
	Attempts(ctx context.Context, p id.Project) iter.Seq2[Attempt, error]              // by Session, Payout, No
	Events(ctx context.Context, p id.Project) iter.Seq2[webhook.Event, error]          // by Session, N; without Body
	Tasks(ctx context.Context, p id.Project) iter.Seq2[Task, error]                    // by Session, Payout, Kind

	StatementsOfSnapshot
	ArchivesOfSnapshot

	// Incomes and Reservations are of all projects, by INN, Year and, of
	// reservations, Payout.
	Incomes(ctx context.Context) iter.Seq2[Income, error]
	Reservations(ctx context.Context) iter.Seq2[Reservation, error]

	// Card, Item and Reservation read one row; of the first two as the methods of Store do.
	Card(ctx context.Context, p id.Project, c id.Card) (vault.Sealed, error)
	Item(ctx context.Context, k ItemKey) (vault.Item, error)
	Reservation(ctx context.Context, k ReservationKey) (Reservation, error)
}
