// Package ledger is the double-entry book of one project: its accounts, the
// templates of its movements, and the rules that no movement may break. It is
// pure. The book is append-only: a mistake is corrected by another entry.
//
// All amounts are kopecks. A number above zero in an account is money that the
// account stands for; every movement sums to zero over the accounts.
package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/money"
)

// Accounts is one number per account: a balance, or the change of an entry.
type Accounts struct {
	Available int64 `json:"available"` // the partner may pay it out
	Held      int64 `json:"held"`      // reserved for payouts under way
	Clearing  int64 `json:"clearing"`  // handed to rails; Entry.Rail says to which
	Fees      int64 `json:"fees"`      // ours
	Deposits  int64 `json:"deposits"`  // what partners brought in, as a negative number
	Suspense  int64 `json:"suspense"`  // unexplained, until people have explained it
}

// Sum is zero in every entry and every balance; false if it does not fit.
func (a Accounts) Sum() (int64, bool) {
	sum, ok := int64(0), true
	for _, v := range a.values() {
		s, fits := money.AddMinor(sum, v)
		sum, ok = s, ok && fits
	}
	return sum, ok
}

// Add returns a+b; false if any account does not fit.
func (a Accounts) Add(b Accounts) (Accounts, bool) {
	x, y := a.values(), b.values()
	ok := true
	for i := range x {
		s, fits := money.AddMinor(x[i], y[i])
		x[i], ok = s, ok && fits
	}
	return Accounts{x[0], x[1], x[2], x[3], x[4], x[5]}, ok
}

func (a Accounts) values() [6]int64 {
	return [6]int64{a.Available, a.Held, a.Clearing, a.Fees, a.Deposits, a.Suspense}
}

// Kind names the template of an entry.
type Kind string

// The kinds of entries.
const (
	KindDeposit Kind = "deposit"
	KindHold    Kind = "hold"
	KindSettle  Kind = "settle"
	KindRelease Kind = "release"
	KindReturn  Kind = "return"
	KindSuspend Kind = "suspend"
	KindStray   Kind = "stray"
)

// Entry is one movement of money in a project's book.
type Entry struct {
	Project   id.Project
	No        int64 // 1, 2, 3 … within the project, without gaps
	Kind      Kind
	Session   id.Session // 0 for a deposit
	Payout    id.Payout  // 0 for a deposit
	Rail      string     // whose clearing it moves; "" where it moves none
	Reference string     // of a deposit
	Account   string     // which of the project's own accounts it is of; "" for the balance
	Change    Accounts
	At        time.Time // UTC, microseconds
	// Hash chains the entry to all before it: SHA-256 of the hash before and
	// of every member above. Entries of the balance are hashed as before there
	// were other accounts.
	Hash [sha256.Size]byte
}

// Errors of posting.
var (
	ErrShort    = errors.New("the available balance does not cover it")
	ErrUnsound  = errors.New("the entry breaks a rule of the book")
	ErrOverflow = errors.New("the balance does not fit")
)

// Deposit brings money in.
func Deposit(minor int64, reference string) Entry {
	return Entry{Kind: KindDeposit, Reference: reference, Change: Accounts{Available: minor, Deposits: -minor}}
}

// Hold reserves the amount and our fee.
func Hold(minor, fee int64) Entry {
	return Entry{Kind: KindHold, Change: Accounts{Available: -minor - fee, Held: minor + fee}}
}

// Settle moves a held amount to the rail's clearing and its fee to our fees.
func Settle(minor, fee int64, rail string) Entry {
	return Entry{Kind: KindSettle, Rail: rail, Change: Accounts{Held: -minor - fee, Clearing: minor, Fees: fee}}
}

// Release gives a hold back, the fee included.
func Release(minor, fee int64) Entry {
	return Entry{Kind: KindRelease, Change: Accounts{Held: -minor - fee, Available: minor + fee}}
}

// Return gives a paid amount back, and the fee if refunded says so.
func Return(minor, refunded int64, rail string) Entry {
	return Entry{Kind: KindReturn, Rail: rail, Change: Accounts{Clearing: -minor, Fees: -refunded, Available: minor + refunded}}
}

// Suspend books a payment that the rail made after its hold was given back.
func Suspend(minor int64, rail string) Entry {
	return Entry{Kind: KindSuspend, Rail: rail, Change: Accounts{Clearing: minor, Suspense: -minor}}
}

// Stray books money that the rail gave back for a payout that has none to come
// back: one that was not paid, or another amount.
func Stray(minor int64, rail string) Entry {
	return Entry{Kind: KindStray, Rail: rail, Change: Accounts{Clearing: -minor, Suspense: minor}}
}

// Book is where a project's ledger stands: its balances and the end of its chain.
type Book struct {
	Project id.Project
	Balance Accounts
	Credit  int64 // available may go down to -Credit
	Entries int64 // number of the last entry
	Hash    [sha256.Size]byte
	// Events is the sequence number of the project's last webhook event; it
	// stands here because it is written with the book.
	Events int64
	// Revision rises with each write; the store refuses to write over another's.
	Revision int64
}

// OwnAccount is an account of the project's own at the bank, beside its balance:
// what there is of its money, in an account of each kind. Its entries stand in
// the chain of the project's book.
type OwnAccount struct {
	Project id.Project
	Number  string // 20 digits
	Balance Accounts
	// Revision rises with each write; the store refuses to write over another's.
	Revision int64
}

// Booked is what is on the account, what is held for payouts under way included.
func (a *OwnAccount) Booked() int64 { return a.Balance.Available + a.Balance.Held }

// Covers reports whether so much may be taken from available.
func (b *Book) Covers(minor int64) bool { return covers(b.Balance, minor, b.Credit) }

// Covers reports whether so much may be taken from available.
func (a *OwnAccount) Covers(minor int64) bool { return covers(a.Balance, minor, 0) }

func covers(balance Accounts, minor, credit int64) bool {
	left, ok := money.AddMinor(balance.Available, -minor)
	return ok && left >= -credit
}

// Post checks e against the rules, numbers and chains it, and returns it with
// the book as it stands after. ErrShort if available would fall below the
// credit line, ErrOverflow if a balance does not fit, ErrUnsound if the entry
// does not sum to zero, takes more from held than is there, or is a hold or a
// release the wrong way round, as of an amount and a fee whose sum wraps. On an
// error b is unchanged.
func (b *Book) Post(e Entry, at time.Time) (Entry, error) {
	e.Account = ""
	return b.post(&b.Balance, b.Credit, e, at)
}

// PostTo is Post for an own account of the project, which is changed in place
// with the book. There is no credit on it.
func (b *Book) PostTo(a *OwnAccount, e Entry, at time.Time) (Entry, error) {
	if a.Project != b.Project || a.Number == "" {
		return Entry{}, fmt.Errorf("%s to account %q of project %s in the book of %s: %w", e.Kind, a.Number, a.Project, b.Project, ErrUnsound)
	}
	e.Account = a.Number
	return b.post(&a.Balance, 0, e, at)
}

func (b *Book) post(balance *Accounts, credit int64, e Entry, at time.Time) (Entry, error) {
	if sum, ok := e.Change.Sum(); !ok || sum != 0 {
		return Entry{}, fmt.Errorf("%s of %+v: %w", e.Kind, e.Change, ErrUnsound)
	}
	after, ok := balance.Add(e.Change)
	switch {
	case !ok:
		return Entry{}, fmt.Errorf("%s: %w", e.Kind, ErrOverflow)
	case e.Change.Available < 0 && after.Available < -credit:
		return Entry{}, fmt.Errorf("%s of %d, %d available: %w", e.Kind, -e.Change.Available, balance.Available, ErrShort)
	case after.Held < 0, e.Kind == KindHold && e.Change.Held < 0, e.Kind == KindRelease && e.Change.Held > 0:
		return Entry{}, fmt.Errorf("%s of %d, %d held: %w", e.Kind, -e.Change.Held, balance.Held, ErrUnsound)
	}
	e.Project, e.No, e.At = b.Project, b.Entries+1, at.UTC().Truncate(time.Microsecond)
	e.Hash = e.Link(b.Hash)
	*balance, b.Entries, b.Hash = after, e.No, e.Hash
	return e, nil
}

// Link is the hash of e when the entry before it has the hash before.
func (e *Entry) Link(before [sha256.Size]byte) [sha256.Size]byte {
	buf := make([]byte, 0, 256)
	buf = append(buf, before[:]...)
	for _, s := range []string{string(e.Project), string(e.Kind), e.Rail, e.Reference} {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	for _, n := range []int64{e.No, int64(e.Session), int64(e.Payout), e.At.UnixMicro()} {
		buf = binary.BigEndian.AppendUint64(buf, uint64(n)) // #nosec G115 -- all bits are kept
	}
	for _, n := range e.Change.values() {
		buf = binary.BigEndian.AppendUint64(buf, uint64(n)) // #nosec G115 -- all bits are kept
	}
	if e.Account != "" {
		buf = append(buf, e.Account...) // all before it tells its own length
	}
	return sha256.Sum256(buf)
}
