package store

import (
	"context"
	"iter"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/money"
)

// Statements is the part of the store that keeps what rails have sent as
// statements. They are written by Commit; what is here is read without waiting
// for any.
type Statements interface {
	// Statement reads one by its number.
	Statement(ctx context.Context, n id.Statement) (Statement, error)
	// StatementsOf reads those of a rail, the oldest period first; "" reads the
	// newest of all rails, the newest number first. At most limit.
	StatementsOf(ctx context.Context, rail string, limit int) ([]Statement, error)
	// Differences reads those of a statement in their order.
	Differences(ctx context.Context, n id.Statement) ([]Difference, error)
	// LinesAbout reads the lines of all statements of a rail that are about
	// payments, by key.
	LinesAbout(ctx context.Context, rail string, payments []PaymentKey) ([]StatementLine, error)
}

// StatementsOfSnapshot is what a snapshot shows of them.
type StatementsOfSnapshot interface {
	// Movements are what a project has booked with a rail not before from and
	// before to, in the order of the book.
	Movements(ctx context.Context, p id.Project, rail string, from, to time.Time) iter.Seq2[Movement, error]
	AllStatements(ctx context.Context) iter.Seq2[Statement, error]                    // by Rail, ID
	AllDifferences(ctx context.Context) iter.Seq2[Difference, error]                  // by Statement, No
	StatementLines(ctx context.Context, p id.Project) iter.Seq2[StatementLine, error] // by Rail, Reference, Statement, No
}

// Statement is one statement of a rail, without its lines. It belongs to the
// whole installation: a rail knows no project.
type Statement struct {
	Number   id.Statement
	Rail     string
	ID       string   // the rail's name of it
	Print    [32]byte // a hash of its content
	From, To time.Time
	State    StatementState
	Summary  StatementSummary
	At       time.Time // when it was taken in
}

// StatementState is how far a statement has been taken in.
type StatementState string

// The states.
const (
	StatementOpen StatementState = "open" // begun; the same file goes on with it
	StatementDone StatementState = "done"
)

// StatementSummary is what a statement has in it, and what was found.
type StatementSummary struct {
	Opening *money.Amount `json:"opening,omitempty"`
	Closing *money.Amount `json:"closing,omitempty"`
	Lines   int           `json:"lines"`
	// Matched are lines that agree with what was known, or was learnt by them.
	Matched int `json:"matched"`
	// Proved are payouts that were unclear and are paid by this statement, and
	// Returned those whose money came back by it.
	Proved   int `json:"proved"`
	Returned int `json:"returned"`
	// Due are movements of ours that had to be in it, or in one before it.
	Due         int `json:"due"`
	Differences int `json:"differences"`
}

// StatementLine is a line of a statement as it was taken in.
type StatementLine struct {
	Project   id.Project // whose payment it is about; "" where nobody knows it
	Rail      string
	Reference string // ours of the payment; "" where it has none
	Statement id.Statement
	No        int // 1, 2 … in the file
	Kind      string
	RailID    string // the rail's name of the movement
	Amount    money.Amount
	At        time.Time // when the rail booked it
}

// PaymentKey names a payment with a rail.
type PaymentKey struct {
	Project   id.Project
	Reference string
}

// Difference is one place where a statement and the books do not agree. It is
// written once and never changed.
type Difference struct {
	Statement id.Statement
	No        int // 1, 2 … within the statement
	Kind      DifferenceKind
	Project   id.Project // "" where nobody knows the payment, as the next two
	Session   id.Session
	Payout    id.Payout
	Line      int // in the file; 0 where there is none
	Reference string
	RailID    string
	Theirs    money.Amount // what the statement says; zero where it says nothing
	Ours      money.Amount // what is booked here; zero where nothing is
	Text      string
	At        time.Time // when the line, or else our movement, was booked
}

// DifferenceKind is what does not agree.
type DifferenceKind string

// The kinds.
const (
	Missing     DifferenceKind = "missing"      // we have booked it, and no statement has a line
	Extra       DifferenceKind = "extra"        // a line of which we know nothing, or of a payout that is not paid
	OtherAmount DifferenceKind = "other_amount" // a line with another amount than ours
	DoubledLine DifferenceKind = "doubled"      // a second line about a movement that is there once
	OtherSum    DifferenceKind = "other_sum"    // the lines do not lead from the opening to the closing balance
)

// Movement is an entry of a book that moves the clearing of a rail.
type Movement struct {
	Project   id.Project
	Session   id.Session
	Payout    id.Payout
	Reference string    // ours of the payment
	Minor     int64     // kopecks: above zero they left, below zero they came back
	SentAt    time.Time // when the payment was last promised to the rail
	At        time.Time // when it was booked here
}
