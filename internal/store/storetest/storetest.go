// Package storetest holds every engine of the store to the contract of package
// store. An engine passes all of it unchanged; a fault that is found in one
// engine becomes a case here first.
package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
)

// Run checks one engine; open returns an empty store that t.Cleanup closes.
func Run(t *testing.T, open func(*testing.T) store.Store) {
	for _, c := range []struct {
		name string
		run  func(*bed)
	}{
		{"CommitWritesEverything", commitWritesEverything},
		{"CommitGivesCompleteRows", commitGivesCompleteRows},
		{"RowsAreTheCallers", rowsAreTheCallers},
		{"GuardsWriteNothing", guardsWriteNothing},
		{"DecideErrorPassesThrough", decideErrorPassesThrough},
		{"EmptyChangesWriteNothing", emptyChangesWriteNothing},
		{"PanicInDecideWritesNothing", panicInDecideWritesNothing},
		{"CancelledContextWritesNothing", cancelledContextWritesNothing},
		{"BatchesAreRemembered", batchesAreRemembered},
		{"BatchOf256", batchOf256},
		{"ConcurrentCommitsLoseNothing", concurrentCommitsLoseNothing},
		{"CrossingCommitsEnd", crossingCommitsEnd},
		{"OneOfTwoRacersWins", oneOfTwoRacersWins},

		{"SessionRoundTrip", sessionRoundTrip},
		{"SessionChanges", sessionChanges},
		{"BytesStay", bytesStay},
		{"TimesAreCut", timesAreCut},
		{"OutboxHasTheUndelivered", outboxHasTheUndelivered},
		{"EventsKeepTheirPromise", eventsKeepTheirPromise},
		{"EventsOfSession", eventsOfSession},
		{"EventsByQuery", eventsByQuery},
		{"TasksGoByKey", tasksGoByKey},
		{"ReadsDoNotWait", readsDoNotWait},
		{"OtherProjectsAreInvisible", otherProjectsAreInvisible},
		{"MissingRowsAreNotFound", missingRowsAreNotFound},
		{"AttemptsAreFoundByReference", attemptsAreFoundByReference},
		{"Operators", operators},
		{"Logins", logins},
		{"SessionsNewestFirst", sessionsNewestFirst},
		{"SessionsInAState", sessionsInAState},
		{"SessionsByID", sessionsByID},
		{"EntriesByPage", entriesByPage},
		{"DeliveriesOldestFirst", deliveriesOldestFirst},
		{"AlarmsNewestFirst", alarmsNewestFirst},

		{"ClaimTakesWhatIsDue", claimTakesWhatIsDue},
		{"ClaimTakesKinds", claimTakesKinds},
		{"LeaseKeepsOthersOut", leaseKeepsOthersOut},
		{"LeaseGoesByTheRealTime", leaseGoesByTheRealTime},
		{"HandedOutTaskIsLeased", handedOutTaskIsLeased},
		{"ClaimRaisesTheFence", claimRaisesTheFence},
		{"ConcurrentClaimsShareNothing", concurrentClaimsShareNothing},
		{"RenewIsTheOwners", renewIsTheOwners},
		{"ReleaseIsTheOwners", releaseIsTheOwners},
		{"ListenEnds", listenEnds},
		{"ClaimEvents", claimEvents},
		{"Recover", recoverFromAnEarlierRun},

		{"NodeNumbersAreTakenOnce", nodeNumbersAreTakenOnce},
		{"NodeNumbersRest", nodeNumbersRest},
		{"NodeNumberIsKept", nodeNumberIsKept},

		{"AccountRoundTrip", accountRoundTrip},
		{"AccountsComeWithSessions", accountsComeWithSessions},
		{"AccountsAreGuarded", accountsAreGuarded},
		{"StatementsAreOfTheirTime", statementsAreOfTheirTime},
		{"OtherProjectsAccounts", otherProjectsAccounts},

		{"Projects", projects},
		{"ProjectRefusals", projectRefusals},
		{"CreditMovesTheLine", creditMovesTheLine},
		{"Settings", settings},
		{"AddedSettingStays", addedSettingStays},
		{"OneOfSwapsWins", oneOfSwapsWins},

		{"ItemRoundTrip", itemRoundTrip},
		{"ItemChanges", itemChanges},
		{"PublicTokens", publicTokens},
		{"OneUseOfAPublicToken", oneUseOfAPublicToken},
		{"Resealing", resealing},
		{"CardsGo", cardsGo},
		{"Wiping", wiping},
		{"NPDRequests", npdRequests},
		{"NPDRequestsEnd", npdRequestsEnd},
		{"ActsNewestFirst", actsNewestFirst},

		{"StatementRoundTrip", statementRoundTrip},
		{"StatementChanges", statementChanges},
		{"StatementsInOrder", statementsInOrder},
		{"LinesAboutPayments", linesAboutPayments},
		{"MovementsOfAPeriod", movementsOfAPeriod},
		{"IncomeRoundTrip", incomeRoundTrip},
		{"ReservationsGoByKey", reservationsGoByKey},
		{"ReservationsByDay", reservationsByDay},
		{"OneLimitForMany", oneLimitForMany},

		{"TakenOutWhole", takenOutWhole},
		{"TakenOutAsRead", takenOutAsRead},
		{"NotTakenOutWithoutABook", notTakenOutWithoutABook},
		{"AgedByPage", agedByPage},

		{"SnapshotIsOneState", snapshotIsOneState},
		{"SnapshotOrder", snapshotOrder},
		{"SnapshotSideBySide", snapshotSideBySide},
		{"SnapshotErrorPassesThrough", snapshotErrorPassesThrough},

		{"AgreesWithTheModel", agreesWithTheModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(newBed(t, open(t))) })
	}
}

// RunModel does random things to one engine and to maps in memory, and wants both
// to tell the same: the part of Run that is worth repeating for an engine in
// another shape.
func RunModel(t *testing.T, open func(*testing.T) store.Store) {
	agreesWithTheModel(newBed(t, open(t)))
}

// noon is when everything happens; its digits show where a time was cut.
var noon = time.Date(2026, 7, 1, 12, 0, 0, 123_456_000, time.UTC)

// patience bounds what must not block: an engine that waits fails, not hangs.
const patience = time.Minute

// bed is what a case runs on.
type bed struct {
	*testing.T
	store.Store
	ctx context.Context
	ids *id.Generator
}

func newBed(t *testing.T, s store.Store) *bed {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &bed{T: t, Store: s, ctx: ctx, ids: id.NewGenerator(time.Now)}
}

// try commits the changes that decide makes, as a batch of its own if it names none.
func (b *bed) try(reads store.Reads, decide func(*store.Rows, *store.Changes) error) error {
	return b.Commit(b.ctx, reads, func(rows *store.Rows) (*store.Changes, error) {
		c := &store.Changes{Batch: id.Batch(b.ids.Next())}
		err := decide(rows, c)
		return c, err
	})
}

// commit is try that must succeed.
func (b *bed) commit(reads store.Reads, decide func(*store.Rows, *store.Changes)) {
	b.Helper()
	if err := b.try(reads, func(rows *store.Rows, c *store.Changes) error { decide(rows, c); return nil }); err != nil {
		b.Fatalf("commit: %v", err)
	}
}

// write commits changes that depend on nothing.
func (b *bed) write(change func(*store.Changes)) {
	b.Helper()
	b.commit(store.Reads{}, func(_ *store.Rows, c *store.Changes) { change(c) })
}

// load is the rows as a commit sees them; nothing is written.
func (b *bed) load(reads store.Reads) *store.Rows {
	b.Helper()
	var got *store.Rows
	b.commit(reads, func(rows *store.Rows, _ *store.Changes) { got = rows })
	return got
}

// project makes one with its empty book.
func (b *bed) project(p id.Project, credit int64) {
	b.Helper()
	b.must(b.CreateProject(b.ctx, partner.Project{ID: p, Wallet: "1", Credit: credit, CreatedAt: noon}))
}

// start makes a session with one payout that awaits confirmation; it is not written.
func (b *bed) start(p id.Project) *session.Session {
	return &session.Session{
		Project: p, ID: id.Session(b.ids.Next()), Version: 2, State: session.Awaiting,
		Payouts:   []session.Payout{{ID: id.Payout(b.ids.Next()), State: session.Awaiting, Rail: "cards", Reference: "r1", CreatedAt: noon}},
		CreatedAt: noon, UpdatedAt: noon,
	}
}

// stored makes a session and writes it.
func (b *bed) stored(p id.Project) *session.Session {
	b.Helper()
	s := b.start(p)
	b.write(func(c *store.Changes) { c.Sessions = append(c.Sessions, s) })
	return s
}

// task makes one for the first payout of s; it is not written.
func task(s *session.Session, kind store.TaskKind, due time.Time) store.Task {
	return store.Task{TaskKey: store.TaskKey{SessionKey: keyOf(s), Payout: s.Payouts[0].ID, Kind: kind}, Due: due}
}

func keyOf(s *session.Session) store.SessionKey {
	return store.SessionKey{Project: s.Project, Session: s.ID}
}

// post books an entry into a loaded book and adds both to the changes.
func post(c *store.Changes, book *ledger.Book, e ledger.Entry) error {
	e, err := book.Post(e, noon)
	if err != nil {
		return err
	}
	c.Entries = append(c.Entries, e)
	for _, b := range c.Books {
		if b == book {
			return nil
		}
	}
	c.Books = append(c.Books, book)
	return nil
}

// deposit books money into a project.
func (b *bed) deposit(p id.Project, minor int64) {
	b.Helper()
	b.commit(store.Reads{Books: []id.Project{p}}, func(rows *store.Rows, c *store.Changes) {
		b.must(post(c, rows.Books[p], ledger.Deposit(minor, fmt.Sprint(b.ids.Next()))))
	})
}

// session reads one that must be there.
func (b *bed) session(k store.SessionKey) *session.Session {
	b.Helper()
	s, err := b.Session(b.ctx, k)
	b.must(err)
	return s
}

// book reads one that must be there.
func (b *bed) book(p id.Project) *ledger.Book {
	b.Helper()
	book, err := b.Book(b.ctx, p)
	b.must(err)
	return book
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// refused wants an error with a code.
func (b *bed) refused(err error, want fault.Code, doing string) {
	b.Helper()
	if err == nil || fault.CodeOf(err) != want {
		b.Errorf("%s: got error %v, want code %s", doing, err, want)
	}
}

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// same wants two values to be deeply equal.
func same[T any](t reporter, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %s\nwant %s", what, show(got), show(want))
	}
}

// show prints what pointers point to.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // a map with keys that JSON has no form for
		return fmt.Sprintf("%+v", v)
	}
	return string(b)
}
