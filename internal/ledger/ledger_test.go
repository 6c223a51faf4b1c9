package ledger

import (
	"crypto/sha256"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/internal/id"
)

var at = time.Date(2026, 3, 2, 9, 15, 4, 120_031_999, time.FixedZone("MSK", 3*60*60))

func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		name  string
		entry Entry
		want  Accounts
	}{
		{"deposit", Deposit(100, "r"), Accounts{Available: 100, Deposits: -100}},
		{"hold", Hold(100, 7), Accounts{Available: -107, Held: 107}},
		{"settle", Settle(100, 7, "card"), Accounts{Held: -107, Clearing: 100, Fees: 7}},
		{"release", Release(100, 7), Accounts{Held: -107, Available: 107}},
		{"return without the fee", Return(100, 0, "account"), Accounts{Clearing: -100, Available: 100}},
		{"return with the fee", Return(100, 7, "account"), Accounts{Clearing: -100, Fees: -7, Available: 107}},
		{"suspend", Suspend(100, "card"), Accounts{Clearing: 100, Suspense: -100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.entry.Change != c.want {
				t.Errorf("%+v, want %+v", c.entry.Change, c.want)
			}
			if sum, ok := c.entry.Change.Sum(); !ok || sum != 0 {
				t.Errorf("sums to %d, %v", sum, ok)
			}
		})
	}
}

func TestPostRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		book  Book
		entry Entry
		want  error
	}{
		{"hold of more than there is", Book{Balance: Accounts{Available: 106, Deposits: -106}}, Hold(100, 7), ErrShort},
		{"hold beyond the credit line", Book{Credit: 106}, Hold(100, 7), ErrShort},
		{"entry that does not sum to zero", Book{}, Entry{Kind: KindDeposit, Change: Accounts{Available: 1}}, ErrUnsound},
		{"entry whose sum does not fit", Book{}, Entry{Change: Accounts{Available: math.MaxInt64, Held: 1}}, ErrUnsound},
		{"release of more than is held", Book{Balance: Accounts{Held: 106, Deposits: -106}}, Release(100, 7), ErrUnsound},
		{"settle of what is not held", Book{}, Settle(1, 0, "card"), ErrUnsound},
		{"balance that does not fit", Book{Balance: Accounts{Available: math.MaxInt64, Deposits: -math.MaxInt64}}, Deposit(1, "r"), ErrOverflow},
		{"hold whose sum wraps", Book{Balance: Accounts{Available: 5, Deposits: -5}}, Hold(math.MaxInt64, 3), ErrOverflow},
		{"hold whose sum wraps to what is held", Book{Balance: Accounts{Available: 5, Held: 5, Deposits: -10}}, Hold(math.MaxInt64, math.MaxInt64), ErrUnsound},
		{"release whose sum wraps", Book{Balance: Accounts{Available: 5, Deposits: -5}}, Release(math.MaxInt64, math.MaxInt64), ErrUnsound},
		{"settle whose sum wraps", Book{}, Settle(math.MaxInt64, math.MaxInt64, "card"), ErrUnsound},
		{"return whose sum wraps", Book{}, Return(math.MaxInt64, math.MaxInt64, "card"), ErrUnsound},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.book
			if _, err := b.Post(c.entry, at); !errors.Is(err, c.want) {
				t.Errorf("Post: %v, want %v", err, c.want)
			}
			if b != c.book {
				t.Errorf("a refused entry changed the book: %+v", b)
			}
		})
	}
}

func TestPostUpToTheLine(t *testing.T) {
	b := Book{Project: "acme", Credit: 7, Balance: Accounts{Available: 100, Deposits: -100}, Entries: 4}
	e, err := b.Post(Hold(100, 7), at)
	if err != nil {
		t.Fatal(err)
	}
	if b.Balance.Available != -7 || b.Balance.Held != 107 {
		t.Errorf("balance %+v", b.Balance)
	}
	if want := time.Date(2026, 3, 2, 6, 15, 4, 120_031_000, time.UTC); e.No != 5 || e.Project != "acme" || !e.At.Equal(want) || e.At.Location() != time.UTC {
		t.Errorf("entry %+v", e)
	}
	// Money may still come back while available is below zero.
	if _, err := b.Post(Release(100, 7), at); err != nil {
		t.Error(err)
	}
}

// Every member of an entry is under its hash.
func TestLinkCoversEveryMember(t *testing.T) {
	base := Entry{
		Project: "p", No: 1, Kind: KindHold, Session: 2, Payout: 3, Rail: "card", Reference: "r",
		Change: Accounts{1, 2, 3, 4, 5, 6}, At: at,
	}
	before := [sha256.Size]byte{9}
	seen := map[[sha256.Size]byte]string{base.Link(before): "itself"}
	changes := map[string]func(*Entry){
		"project": func(e *Entry) { e.Project = "q" }, "number": func(e *Entry) { e.No++ }, "kind": func(e *Entry) { e.Kind = KindSettle },
		"session": func(e *Entry) { e.Session++ }, "payout": func(e *Entry) { e.Payout++ }, "rail": func(e *Entry) { e.Rail = "fps" },
		"reference": func(e *Entry) { e.Reference = "" }, "time": func(e *Entry) { e.At = e.At.Add(time.Microsecond) },
		"available": func(e *Entry) { e.Change.Available++ }, "held": func(e *Entry) { e.Change.Held++ },
		"clearing": func(e *Entry) { e.Change.Clearing++ }, "fees": func(e *Entry) { e.Change.Fees++ },
		"deposits": func(e *Entry) { e.Change.Deposits++ }, "suspense": func(e *Entry) { e.Change.Suspense++ },
		"a letter moved between members": func(e *Entry) { e.Rail, e.Reference = "cardr", "" },
	}
	for name, change := range changes {
		e := base
		change(&e)
		hash := e.Link(before)
		if other, twice := seen[hash]; twice {
			t.Errorf("%s hashes like %s", name, other)
		}
		seen[hash] = name
	}
	if _, twice := seen[base.Link([sha256.Size]byte{8})]; twice {
		t.Error("the hash before does not count")
	}
}

// Whatever is posted, in whatever order: the book sums to zero, nothing falls
// below its floor, the numbers have no gap, and the chain leads from the first
// entry to the last.
func TestBookBalances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book := Book{Project: "acme", Credit: rapid.Int64Range(0, 500).Draw(t, "credit")}
		var entries []Entry
		minor := rapid.Int64Range(0, 1_000)
		draw := map[string]func() Entry{
			"deposit": func() Entry { return Deposit(minor.Draw(t, "minor"), "r") },
			"hold":    func() Entry { return Hold(minor.Draw(t, "minor"), minor.Draw(t, "fee")) },
			"settle":  func() Entry { return Settle(minor.Draw(t, "minor"), minor.Draw(t, "fee"), "card") },
			"release": func() Entry { return Release(minor.Draw(t, "minor"), minor.Draw(t, "fee")) },
			"return":  func() Entry { return Return(minor.Draw(t, "minor"), minor.Draw(t, "fee"), "card") },
			"suspend": func() Entry { return Suspend(minor.Draw(t, "minor"), "card") },
			"nonsense": func() Entry {
				any := rapid.Int64()
				return Entry{Change: Accounts{any.Draw(t, "available"), any.Draw(t, "held"), any.Draw(t, "clearing"), 0, 0, 0}}
			},
		}
		actions := map[string]func(*rapid.T){"": func(t *rapid.T) {
			if sum, ok := book.Balance.Sum(); !ok || sum != 0 {
				t.Fatalf("the book sums to %d", sum)
			}
			if book.Balance.Available < -book.Credit || book.Balance.Held < 0 {
				t.Fatalf("below the floor: %+v, credit %d", book.Balance, book.Credit)
			}
			var total Accounts
			var hash [sha256.Size]byte
			for i, e := range entries {
				total, _ = total.Add(e.Change)
				if hash = e.Link(hash); e.No != int64(i+1) || e.Hash != hash {
					t.Fatalf("the chain breaks at entry %d", i+1)
				}
			}
			if total != book.Balance || hash != book.Hash || book.Entries != int64(len(entries)) {
				t.Fatalf("the entries make %+v, the book says %+v", total, book)
			}
		}}
		for name, make := range draw {
			actions[name] = func(*rapid.T) {
				e := make()
				e.Session, e.Payout = id.Session(len(entries)+1), 1
				if posted, err := book.Post(e, at); err == nil {
					entries = append(entries, posted)
				}
			}
		}
		t.Repeat(actions)
	})
}

// accounts is a book as one would keep it on paper: whole numbers of any size.
type accounts [6]*big.Int

// takes reports whether an entry may be posted.
func (a accounts) takes(c Accounts, credit int64) bool {
	sum, fits := new(big.Int), true
	for i, minor := range c.values() {
		sum.Add(sum, big.NewInt(minor))
		fits = fits && new(big.Int).Add(a[i], big.NewInt(minor)).IsInt64()
	}
	available, held := new(big.Int).Add(a[0], big.NewInt(c.Available)), new(big.Int).Add(a[1], big.NewInt(c.Held))
	covered := c.Available >= 0 || available.Cmp(big.NewInt(-credit)) >= 0 // what comes in need not cover the line
	return sum.Sign() == 0 && fits && covered && held.Sign() >= 0
}

// Of many operations at random, right and wrong, small and as large as numbers
// go, a book takes just those that it must, and has what they make; OPERATIONS
// says how many.
func TestBookAgreesWithPaper(t *testing.T) {
	operations := 100_000
	if s := os.Getenv("OPERATIONS"); s != "" {
		var err error
		if operations, err = strconv.Atoi(s); err != nil {
			t.Fatalf("OPERATIONS=%q: want a number", s)
		}
	}
	seed := rand.Uint64()
	dice := rand.New(rand.NewPCG(seed, 0))
	minor := func() int64 {
		if dice.IntN(50) == 0 {
			return math.MaxInt64 - dice.Int64N(3)
		}
		return dice.Int64N(10_000)
	}
	var paper accounts
	for i := range paper {
		paper[i] = new(big.Int)
	}
	book := Book{Project: "acme", Credit: 500}
	var hash [sha256.Size]byte
	taken := 0
	for n := range operations {
		e := []func() Entry{
			func() Entry { return Deposit(minor(), "r") },
			func() Entry { return Hold(minor(), dice.Int64N(100)) },
			func() Entry { return Settle(minor(), dice.Int64N(100), "card") },
			func() Entry { return Release(minor(), dice.Int64N(100)) },
			func() Entry { return Return(minor(), dice.Int64N(100), "card") },
			func() Entry { return Suspend(minor(), "card") },
			func() Entry { return Entry{Change: Accounts{Available: minor(), Held: -minor(), Fees: 1}} },
		}[dice.IntN(7)]()
		before, want := book, paper.takes(e.Change, book.Credit)
		posted, err := book.Post(e, at)
		switch {
		case (err == nil) != want:
			t.Fatalf("seed %d, operation %d: %+v to %+v: error %v, want it taken: %t", seed, n, e.Change, before.Balance, err, want)
		case err != nil:
			if book != before {
				t.Fatalf("seed %d, operation %d: refused, and the book has changed: %+v", seed, n, book)
			}
			continue
		}
		taken++
		if hash = posted.Link(hash); posted.Hash != hash || posted.No != int64(taken) || book.Hash != hash || book.Entries != posted.No {
			t.Fatalf("seed %d, operation %d: the chain breaks at entry %d", seed, n, taken)
		}
		for i, change := range e.Change.values() {
			if paper[i].Add(paper[i], big.NewInt(change)); paper[i].Int64() != book.Balance.values()[i] {
				t.Fatalf("seed %d, operation %d: %+v, want %v", seed, n, book.Balance, paper)
			}
		}
	}
	t.Logf("seed %d: of %d operations %d were taken", seed, operations, taken)
	if taken < operations/10 || taken > operations*9/10 {
		t.Errorf("of %d operations %d were taken: the test has grown blind", operations, taken)
	}
}

// Entries of own accounts stand in the one chain, move only their account, and
// are hashed with its number; entries of the balance are hashed as ever.
func TestOwnAccounts(t *testing.T) {
	at := time.Date(2026, 3, 2, 9, 15, 4, 0, time.UTC)
	book := Book{Project: "acme", Credit: 1000}
	a, b := OwnAccount{Project: "acme", Number: "40702810900000000131"}, OwnAccount{Project: "acme", Number: "40702810900000000132"}
	first, err := book.PostTo(&a, Deposit(100, "r"), at)
	if err != nil || first.No != 1 || first.Account != a.Number {
		t.Fatalf("deposit: %+v, %v", first, err)
	}
	if a.Balance.Available != 100 || book.Balance != (Accounts{}) || b.Balance != (Accounts{}) {
		t.Errorf("after a deposit: %+v, the book %+v, the other %+v", a.Balance, book.Balance, b.Balance)
	}
	hash := book.Hash
	for name, e := range map[string]Entry{
		"more than there is":  Hold(101, 0),
		"what is not held":    Release(1, 0),
		"what does not sum":   {Kind: KindDeposit, Change: Accounts{Available: 1}},
		"more than the other": Hold(100, 1),
	} {
		if _, err := book.PostTo(&a, e, at); err == nil || book.Hash != hash || a.Balance.Available != 100 {
			t.Errorf("%s: error %v, balance %+v", name, err, a.Balance)
		}
	}
	if _, err := book.PostTo(&OwnAccount{Project: "birch", Number: a.Number}, Deposit(1, "r"), at); err == nil {
		t.Error("another project's account was booked to")
	}
	if _, err := book.PostTo(&OwnAccount{Project: "acme"}, Deposit(1, "r"), at); err == nil {
		t.Error("an account without a number was booked to")
	}
	second, err := book.PostTo(&a, Hold(100, 0), at)
	if err != nil || second.No != 2 || a.Booked() != 100 || a.Covers(1) || !a.Covers(0) {
		t.Errorf("hold: %+v, %v; booked %d", second, err, a.Booked())
	}
	third, err := book.Post(Entry{Kind: KindDeposit, Account: "x", Change: Accounts{Available: 1, Deposits: -1}}, at)
	if err != nil || third.Account != "" || third.Link(second.Hash) != third.Hash {
		t.Errorf("to the balance: %+v, %v", third, err)
	}
	if moved := second; moved.Link(first.Hash) != second.Hash {
		t.Error("an entry of an account does not link")
	} else if moved.Account = b.Number; moved.Link(first.Hash) == second.Hash {
		t.Error("an entry that was moved to another account still links")
	}
	if !book.Covers(1001) || book.Covers(1002) {
		t.Error("credit is not counted")
	}
	if book.Covers(-1 << 63) {
		t.Error("an overflow is covered")
	}
}
