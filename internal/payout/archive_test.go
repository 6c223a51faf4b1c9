package payout

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/store/postgres"
	"github.com/payoutd/payoutd/internal/store/postgres/pgtest"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// archive archives what ended longer ago than an hour, to a folder of the lab.
func (l *lab) archive() Archiving {
	l.Helper()
	done, err := l.engine.Archive(l.Context(), ArchiveOptions{Folder: l.folder(), OlderThan: time.Hour, Trial: true})
	if err != nil {
		l.Fatalf("archive: %v", err)
	}
	return done
}

// folder is where the lab's archives are.
func (l *lab) folder() string {
	l.Helper()
	folder := filepath.Join(l.dir, "archive")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		l.Fatal(err)
	}
	return folder
}

// archives are the lab's files.
func (l *lab) archives() []string {
	l.Helper()
	files, err := filepath.Glob(filepath.Join(l.folder(), "*.gz"))
	if err != nil {
		l.Fatal(err)
	}
	return files
}

// proved says that the books must be in order together with all archives, and
// that so many sessions are in them.
func (l *lab) proved(want int) {
	l.Helper()
	l.clean()
	r, err := l.engine.CheckArchives(l.Context(), l.archives())
	if err != nil {
		l.Fatal(err)
	}
	if !r.Clean() || r.Archived != want || r.Proved != want {
		l.Fatalf("%d archived, %d proved, want %d; problems %q", r.Archived, r.Proved, want, r.Problems)
	}
}

// archiveLab has payouts in each of their ends, the oldest first, and two that
// have not ended: one created and one that awaits confirmation.
func archiveLab(t *testing.T) (l *lab, ended []id.Session) {
	l = newLab(t, func(p *partner.Project) {
		p.Fees = map[instrument.Kind]partner.Fee{instrument.KindAccount: {Fixed: 300}, instrument.KindCard: {Fixed: 300}}
	})
	l.start()
	run := func(body string) id.Session {
		s := l.init(body)
		l.receive(session.ReadyToConfirm, s)
		if err := l.confirm(s); err != nil {
			t.Fatal(err)
		}
		l.receive(session.PaymentFinished, s)
		return s
	}
	card, account := run(cardBody(100)), run(accountBody(accountNumber, 100_00))
	returned := run(accountBody(accountNumber, 50_00))
	p := &l.session(returned).Payouts[0]
	l.take(p.Rail, back(p, "R-1", 50_00))
	l.receive(session.PaymentRefunded, returned)
	l.rails[instrument.KindCard].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Failed, Code: rail.IssuerDeclined}, nil
	})
	failed := run(cardBody(200))
	cancelled := l.init(cardBody(300))
	l.receive(session.ReadyToConfirm, cancelled)
	if err := l.cancel(cancelled); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, cancelled)
	ended = []id.Session{card, account, returned, failed, cancelled}
	for _, s := range ended {
		l.eventually("webhooks are written down", func() bool {
			events, err := l.engine.Events(t.Context(), store.EventQuery{Project: l.project, Session: s, Limit: 10})
			return err == nil && !slices.ContainsFunc(events, func(e webhook.Event) bool { return e.Status == "pending" })
		})
	}
	return l, ended
}

func TestArchive(t *testing.T) {
	l, ended := archiveLab(t)
	before, book := l.clean(), l.balance()
	if done := l.archive(); done.Sessions != 0 || len(done.Files) != 0 || len(l.archives()) != 0 {
		t.Fatalf("archived what has just ended: %+v", done)
	}
	l.advance(2 * time.Hour)
	live := l.init(cardBody(400))
	l.receive(session.ReadyToConfirm, live)
	dry, err := l.engine.Archive(t.Context(), ArchiveOptions{OlderThan: time.Hour, Trial: true, DryRun: true})
	if err != nil || dry.Sessions != len(ended) || len(l.archives()) != 0 {
		t.Fatalf("dry run: %+v, error %v", dry, err)
	}
	done := l.archive()
	if done.Sessions != len(ended) || done.Payouts != len(ended) || done.Events != before.Events || len(done.Files) != 1 || done.Held != 0 || done.Changed != 0 {
		t.Errorf("archived %+v", done)
	}
	if done := l.archive(); done.Sessions != 0 || len(done.Files) != 0 {
		t.Errorf("archived again: %+v", done)
	}
	for _, s := range ended {
		if _, err := l.store.Session(t.Context(), l.key(s)); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("session %s: %v", s, err)
		}
		_, err := l.engine.Events(t.Context(), store.EventQuery{Project: l.project, Session: s, Limit: 10})
		if fault.CodeOf(err) != fault.WrongState || !strings.Contains(err.Error(), "its webhooks are in "+done.Files[0].Name) {
			t.Errorf("webhooks of %s: %v", s, err)
		}
	}
	if none, err := l.engine.Events(t.Context(), store.EventQuery{Project: l.project, Session: live + 1, Limit: 10}); err != nil || len(none) > 0 {
		t.Errorf("webhooks of a session that there never was: %v, error %v", none, err)
	}
	r := l.clean()
	if r.Sessions != 1 || r.Archived != len(ended) || r.Entries != before.Entries+1 {
		t.Errorf("checked %+v", r)
	}
	if r, err := l.engine.Check(t.Context(), before.Heads...); err != nil || !r.Clean() {
		t.Errorf("the head that an archived payout has left: %+v, %v", r, err)
	}
	wrong := before.Heads[0]
	wrong.Hash = r.Heads[0].Hash
	if r, err := l.engine.Check(t.Context(), wrong); err != nil || len(r.Problems) != 1 {
		t.Errorf("a head that no archived payout has left: %+v, %v; want one problem", r, err)
	}
	if err := l.cancel(live); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, live)
	if got := l.balance(); got != book {
		t.Errorf("balance %+v, want %+v", got, book)
	}
	l.proved(len(ended))
	l.close() // and an engine that starts on it
	l.open()
	l.proved(len(ended))
	cards, err := l.store.Cards(t.Context(), store.CardKey{}, 100)
	if err != nil || len(cards) != 0 {
		t.Errorf("%d sealed numbers are left, error %v", len(cards), err)
	}
	text := unzip(t, l.archives()[0])
	if bytes.Contains(text, []byte(cardNumber)) || !bytes.Contains(text, []byte(cardNumber[len(cardNumber)-4:])) || bytes.Contains(text, []byte("ciphertext")) {
		t.Error("the archive has a card number that is not masked, or none")
	}
}

func unzip(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What a partner asks about an archived session is answered clearly, and pays
// nothing a second time.
func TestPartnerOfAnArchivedSession(t *testing.T) {
	l, ended := archiveLab(t)
	call := l.call()
	call.Key, call.Replay, call.Print = "key-1", true, [32]byte{1}
	first, err := l.engine.Init(t.Context(), call, l.parse(wire.OpInit, accountBody(accountNumber, 10_00)))
	if err != nil {
		t.Fatal(err)
	}
	s := l.sessionOf(first)
	l.receive(session.ReadyToConfirm, s)
	if err := l.cancel(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	l.deliveries(s, 2)
	l.advance(2 * time.Hour)
	if done := l.archive(); done.Sessions != len(ended)+1 {
		t.Fatalf("archived %+v", done)
	}
	paid := ended[0]
	refused := func(what string, err error) {
		t.Helper()
		if fault.CodeOf(err) != fault.WrongState || !strings.Contains(err.Error(), paid.String()+" ended on ") || !strings.Contains(err.Error(), "as accepted and is archived") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = l.engine.Status(t.Context(), l.call(), wire.Request{Session: paid})
	refused("status", err)
	refused("confirm", l.confirm(paid))
	refused("cancel", l.cancel(paid))
	_, err = l.engine.Start(t.Context(), l.call(), withSession(l.parse(wire.OpInit, cardBody(1)), paid))
	refused("start", err)
	refused("replay of a webhook", l.engine.Replay(t.Context(), store.EventKey{SessionKey: l.key(paid), N: 1}))
	if _, err = l.engine.Status(t.Context(), l.call(), wire.Request{Session: ended[4]}); err == nil || !strings.Contains(err.Error(), "as cancelled and is archived") {
		t.Errorf("status of a cancelled one: %v", err)
	}
	if _, err = l.engine.Status(t.Context(), l.call(), wire.Request{Session: 1}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("status of none: %v", err)
	}
	other := l.call()
	foreign := *other.Project
	foreign.ID = "other"
	other.Project = &foreign
	if _, err = l.engine.Status(t.Context(), other, wire.Request{Session: paid}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("status for another project: %v", err)
	}
	again, err := l.engine.Init(t.Context(), call, l.parse(wire.OpInit, accountBody(accountNumber, 10_00)))
	if err != nil || !again.Replayed || !bytes.Equal(again.Body, first.Body) {
		t.Errorf("replayed: %t %s, error %v", again.Replayed, again.Body, err)
	}
	call.Replay = false
	if _, err = l.engine.Init(t.Context(), call, l.parse(wire.OpInit, accountBody(accountNumber, 10_00))); fault.CodeOf(err) != fault.KeyExists {
		t.Errorf("repeated: %v", err)
	}
	l.proved(len(ended) + 1)
}

func withSession(r wire.Request, s id.Session) wire.Request {
	r.Session = s
	return r
}

// Money that comes back of an archived payout is in suspense, once, and people
// are told.
func TestReturnOfAnArchivedPayout(t *testing.T) {
	l, ended := archiveLab(t)
	paid, returned := l.session(ended[1]).Payouts[0], l.session(ended[2]).Payouts[0]
	was := l.balance()
	l.advance(2 * time.Hour)
	l.archive()
	late := back(&paid, "R-9", 100_00)
	if got := l.take(paid.Rail, late); got != (Returned{Status: session.RefundSuspended, Alarm: "return_of_archived"}) {
		t.Errorf("the return became %+v", got)
	}
	if got := l.take(paid.Rail, late); !got.Repeated {
		t.Errorf("the same again became %+v", got)
	}
	l.take(paid.Rail, rail.Return{Reference: "R-10", Payment: paid.Reference, Amount: money.Amount{Minor: 5, Currency: money.USD}, At: late.At})
	if got := l.take(returned.Rail, back(&returned, "R-11", 50_00)); got.Status != session.RefundRefused {
		t.Errorf("a second return became %+v", got)
	}
	if got := l.take(returned.Rail, back(&returned, "R-1", 50_00)); !got.Repeated {
		t.Errorf("the first return again became %+v", got)
	}
	want := was
	want.Clearing -= 100_00
	want.Suspense += 100_00
	if got := l.balance(); got != want {
		t.Errorf("balance %+v, want %+v", got, want)
	}
	if got := l.alarms(); !slices.Equal(got, []string{"return_of_archived", "return_of_archived", "return_of_archived"}) {
		t.Errorf("alarms %q", got)
	}
	if err := l.engine.Notice(t.Context(), "card", l.key(ended[3]), 1, rail.Outcome{Status: rail.Succeeded}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("a second answer of the rail: %v", err)
	}
	l.proved(len(ended))
}

// What a rail says of an archived payout is told to people where it contradicts
// how that ended, once, and what it has paid is in suspense.
func TestAnswerAboutAnArchivedPayout(t *testing.T) {
	l, ended := archiveLab(t)
	card, account, returned, failed, cancelled := l.payout(ended[0]), l.payout(ended[1]), l.payout(ended[2]), l.payout(ended[3]), l.payout(ended[4])
	was := l.balance()
	l.advance(2 * time.Hour)
	l.archive()
	says := func(name string, s id.Session, p session.Payout, status rail.Status) {
		t.Helper()
		for range 2 {
			if err := l.engine.Notice(t.Context(), name, l.key(s), p.ID, rail.Outcome{Status: status}); err != nil {
				t.Errorf("%s: %v", status, err)
			}
		}
	}
	says(card.Rail, ended[0], card, rail.Succeeded)
	says(account.Rail, ended[1], account, rail.NeverSeen)
	says(returned.Rail, ended[2], returned, rail.Failed)
	says(failed.Rail, ended[3], failed, rail.Failed)
	if got := l.alarms(); len(got) != 0 {
		t.Errorf("alarms %q", got)
	}
	says(failed.Rail, ended[3], failed, rail.Succeeded)
	says(account.Rail, ended[1], account, rail.Failed)
	says(cancelled.Rail, ended[4], cancelled, rail.Succeeded)
	says(account.Rail, ended[0], card, rail.Failed) // which was sent by another rail
	if got := l.alarms(); !slices.Equal(got, []string{"paid_after_failed", "declined_after_paid", "answer_never_asked", "answer_never_asked"}) {
		t.Errorf("alarms %q", got)
	}
	want := was
	want.Clearing += 200
	want.Suspense -= 200
	if got := l.balance(); got != want {
		t.Errorf("balance %+v, want %+v", got, want)
	}
	l.proved(len(ended))
}

// meanwhile does something behind the next look at what is archived, or at the
// lines of earlier statements.
type meanwhile struct {
	store.Store
	do func()
}

func (m *meanwhile) then() {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
}

func (m *meanwhile) Archived(ctx context.Context, k store.SessionKey) (store.Archived, error) {
	a, err := m.Store.Archived(ctx, k)
	m.then()
	return a, err
}

func (m *meanwhile) LinesAbout(ctx context.Context, rail string, payments []store.PaymentKey) ([]store.StatementLine, error) {
	lines, err := m.Store.LinesAbout(ctx, rail, payments)
	m.then()
	return lines, err
}

// A return finds its session where it is, though that is archived between two
// looks.
func TestReturnOfAPayoutThatIsJustArchived(t *testing.T) {
	l, ended := archiveLab(t)
	p := l.session(ended[1]).Payouts[0]
	between := &meanwhile{}
	l.close()
	l.wrap = func(s store.Store) store.Store { between.Store = s; return between }
	l.open()
	l.clock.advance(2 * time.Hour)
	between.do = func() { l.archive() }
	if got := l.take(p.Rail, back(&p, "R-9", 100_00)); got.Status != session.RefundSuspended || between.do != nil {
		t.Errorf("the return became %+v", got)
	}
	l.proved(len(ended))
}

// A statement of old lines knows archived payouts, and finds what is wrong all
// the same.
func TestStatementOfArchivedPayouts(t *testing.T) {
	l := statementLab(t)
	paid := l.pay(2)
	l.rails[instrument.KindAccount].set(func(context.Context, rail.Order, rail.Opener) (rail.Outcome, error) {
		return rail.Outcome{Status: rail.Failed, Code: rail.AccountNotFound}, nil
	})
	s := l.init(accountBody(accountNumber, 100_00))
	l.receive(session.PaymentFinished, s)
	failed := l.session(s).Payouts[0]
	for _, p := range append(slices.Clone(paid), failed) {
		l.deliveries(l.sessionOfPayout(p), 1)
	}
	st := l.upToNow("S-1", paid[0], paid[0])
	st.Lines[1].Reference = failed.Reference
	st.Lines[1].Amount = *failed.Amount()
	st.Lines = append(st.Lines, backLine(&paid[1], "R-1"))
	l.advance(2 * time.Hour)
	if done := l.archive(); done.Sessions != 3 {
		t.Fatalf("archived %+v", done)
	}
	r := l.import_(st)
	l.wantDifferences(r, mismatch{store.Extra, 2, failed.Reference}, mismatch{store.Extra, 3, paid[1].Reference}, mismatch{store.Missing, 0, paid[1].Reference})
	if got := l.alarms(); !slices.Contains(got, "paid_after_failed") || l.balance().Suspense != 10_01-100_00 { // what came back, and what has left
		t.Errorf("alarms %q, balance %+v", got, l.balance())
	}
	l.proved(3)
}

// A payment that fails and is archived while a statement with it is taken in is
// found as one that had failed before.
func TestStatementOfAPayoutThatIsJustArchived(t *testing.T) {
	l := statementLab(t)
	l.import_(l.upToNow("S-1"))
	s, p := l.unclear()
	between := &meanwhile{}
	l.close()
	l.wrap = func(s store.Store) store.Store { between.Store = s; return between }
	l.open()
	l.start()
	between.do = func() {
		if err := l.engine.Notice(t.Context(), p.Rail, l.key(s), p.ID, rail.Outcome{Status: rail.Failed, Code: rail.AccountNotFound}); err != nil {
			t.Error(err)
		}
		l.deliveries(s, 1)
		l.clock.advance(2 * time.Hour)
		if done := l.archive(); done.Sessions != 1 {
			t.Errorf("archived %+v", done)
		}
	}
	r := l.import_(l.upToNow("S-2", p))
	l.wantDifferences(r, mismatch{store.Extra, 1, p.Reference})
	if got := l.alarms(); !slices.Contains(got, "paid_after_failed") || l.balance().Suspense != -100_00 {
		t.Errorf("alarms %q, balance %+v", got, l.balance())
	}
	l.proved(1)
}

// What something is open about stays.
func TestArchiveLeavesWhatIsOpen(t *testing.T) {
	l := statementLab(t)
	paid := l.pay(2)
	for _, p := range paid {
		l.deliveries(l.sessionOfPayout(p), 1)
	}
	st := l.upToNow("S-1", paid[0], paid[1])
	st.Lines[1].Amount.Minor--
	l.import_(st) // differs about the second
	l.answer = func(hook) int { return 500 }
	undelivered := l.init(accountBody(accountNumber, 10_00))
	l.until(undelivered, session.Paid)
	_, unclear := l.unclear()
	l.advance(2 * time.Hour)
	done := l.archive()
	if done.Sessions != 1 || done.Held != 2 {
		t.Errorf("archived %+v", done)
	}
	if _, err := l.store.Session(t.Context(), l.key(l.sessionOfPayout(paid[1]))); err != nil {
		t.Errorf("the session that a statement differs about: %v", err)
	}
	if _, err := l.store.Session(t.Context(), l.key(undelivered)); err != nil {
		t.Errorf("the session with an undelivered webhook: %v", err)
	}
	if _, err := l.store.Session(t.Context(), l.key(l.sessionOfPayout(unclear))); err != nil {
		t.Errorf("the unclear one: %v", err)
	}
	l.proved(1)
}

// What a person has earned stays counted when its payout is archived.
func TestArchiveOfAPayoutWithReceipt(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.SingleRequest = true })
	l.start()
	s := l.initFiscal(innLinked, 10_000)
	l.receive(session.PaymentFinished, s)
	l.untilReceipt(s, session.Registered)
	l.deliveries(s, 1)
	l.advance(2 * time.Hour)
	if done := l.archive(); done.Sessions != 1 {
		t.Fatalf("archived %+v", done)
	}
	if i := l.income(innLinked); i.Registered != 10_000 {
		t.Errorf("counted: %+v", i)
	}
	if _, err := l.engine.CancelReceipt(t.Context(), l.call(), wire.Request{Session: s}); fault.CodeOf(err) != fault.WrongState || !strings.Contains(err.Error(), "is archived") {
		t.Errorf("cancel of its receipt: %v", err)
	}
	l.proved(1)
}

// A statement of an own account is right or refused.
func TestStatementOfAnArchivedDay(t *testing.T) {
	l := newLab(t)
	l.addAccounts()
	l.start()
	day := l.clock.Now().In(wire.Moscow)
	s := l.initOwn(wire.OpInitRKO, settlement, 1_000)
	l.receive(session.ReadyToConfirm, s)
	if err := l.confirmWith(s, informed(l.session(s))); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	l.deliveries(s, 2)
	l.advance(48 * time.Hour)
	if done := l.archive(); done.Sessions != 1 {
		t.Fatalf("archived %+v", done)
	}
	statement := func(day time.Time) error {
		_, err := l.engine.AccountStatement(t.Context(), l.call(), l.parse(wire.OpStatement,
			fmt.Sprintf(`{"account_number":%q,"date_from":%[2]q,"date_to":%[2]q}`, settlement, day.Format(time.DateOnly))))
		return err
	}
	refused := 0
	for _, day := range []time.Time{day, day.AddDate(0, 0, 1)} { // it may have been midnight
		if err := statement(day); fault.CodeOf(err) == fault.WrongState && strings.Contains(err.Error(), "archived") {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused != 1 {
		t.Errorf("%d days are refused, want 1", refused)
	}
	if err := statement(day.AddDate(0, 0, -1)); err != nil {
		t.Errorf("another day: %v", err)
	}
	back := rail.Return{Reference: "R-1", Payment: l.archivedReference(s), Amount: money.Amount{Minor: 1_000, Currency: money.RUB}, At: l.clock.Now()}
	if got := l.take(string(instrument.KindAccount), back); got.Status != session.RefundSuspended {
		t.Errorf("a return became %+v", got)
	}
	l.proved(1)
}

// archivedReference is our reference of the only payout of an archived session.
func (l *lab) archivedReference(s id.Session) string {
	l.Helper()
	a, err := l.store.Archived(l.Context(), l.key(s))
	if err != nil {
		l.Fatal(err)
	}
	return a.Payouts[0].ID.String()
}

func TestMayArchive(t *testing.T) {
	l := newLab(t)
	window := partner.Duration(365 * 24 * time.Hour)
	for _, c := range []struct {
		name   string
		o      ArchiveOptions
		window partner.Duration
		want   fault.Code
	}{
		{"usual", ArchiveOptions{OlderThan: ArchiveAge}, 0, ""},
		{"least", ArchiveOptions{OlderThan: archiveAgeMin}, 0, ""},
		{"too short", ArchiveOptions{OlderThan: archiveAgeMin - 1}, 0, fault.Invalid},
		{"short for a trial", ArchiveOptions{OlderThan: time.Minute, Trial: true}, 0, ""},
		{"none", ArchiveOptions{Trial: true}, 0, fault.Invalid},
		{"shorter than a window of returns", ArchiveOptions{OlderThan: 380 * 24 * time.Hour}, window, fault.Invalid},
		{"longer than it", ArchiveOptions{OlderThan: ArchiveAge}, window, ""},
		{"longest rest", ArchiveOptions{OlderThan: ArchiveAge, Rest: archiveRestMax}, 0, ""},
		{"too long a rest", ArchiveOptions{OlderThan: ArchiveAge, Rest: archiveRestMax + 1}, 0, fault.Invalid},
		{"a rest below none", ArchiveOptions{OlderThan: ArchiveAge, Rest: -1}, 0, fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := l.engine.Caller(l.project)
			change := *p.Project
			change.ReturnWindow = c.window
			err := l.engine.mayArchive(c.o, []partner.Project{change})
			if c.want == "" && err != nil || c.want != "" && fault.CodeOf(err) != c.want {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// paced is a store in which each piece of the archive's work takes its time.
type paced struct {
	store.Store
	left   int  // sessions that it has, all cancelled
	taxed  bool // each has a payout with a receipt
	pieces []piece
}

// piece is a piece of work: how many sessions it was about, and when.
type piece struct {
	sessions   int
	began, end time.Time
}

func (p *paced) work(sessions int, takes time.Duration) {
	began := time.Now()
	time.Sleep(takes)
	p.pieces = append(p.pieces, piece{sessions, began, time.Now()})
}

func (p *paced) Projects(context.Context) ([]partner.Project, error) {
	return []partner.Project{{ID: "acme"}}, nil
}

func (p *paced) Snapshot(_ context.Context, read func(store.Snapshot) error) error {
	s := &pacedSnapshot{}
	err := read(s)
	if s.asked > 0 {
		p.work(s.asked, 15*time.Millisecond)
	}
	return err
}

// pacedSnapshot counts what it is asked for.
type pacedSnapshot struct {
	store.Snapshot
	asked int
}

func (s *pacedSnapshot) AllDifferences(context.Context) iter.Seq2[store.Difference, error] {
	return func(func(store.Difference, error) bool) {}
}

func (s *pacedSnapshot) Reservation(context.Context, store.ReservationKey) (store.Reservation, error) {
	s.asked++
	return store.Reservation{}, fault.New(fault.NotFound, "none")
}

func (p *paced) Aged(_ context.Context, of id.Project, after id.Session, _ time.Time, limit int) (aged []store.Dossier, last id.Session, err error) {
	for n := min(limit, p.left); n > 0; n-- {
		after++
		s := &session.Session{Project: of, ID: after, State: session.Cancelled}
		if p.taxed {
			s.Payouts = []session.Payout{{ID: id.Payout(after), State: session.Cancelled, Details: session.Details{Fiscal: &session.Fiscal{}}, Receipt: &session.Receipt{State: session.Released, Reserved: 2026}}}
		}
		aged, last = append(aged, store.Dossier{Session: s, Record: fmt.Appendf(nil, `{"sessions":[{"id":%d}]}`, after)}), after
	}
	p.left -= len(aged)
	p.work(len(aged), 20*time.Millisecond)
	return aged, last, nil
}

func (p *paced) AddArchive(context.Context, store.Archive) error {
	p.work(0, 10*time.Millisecond)
	return nil
}

func (p *paced) TakeOut(_ context.Context, _ id.Project, sessions []store.Leaving) ([]id.Session, error) {
	p.work(len(sessions), 30*time.Millisecond)
	return nil, nil
}

// It rests behind each piece of work, of which none is long.
func TestArchiveRests(t *testing.T) {
	for _, c := range []struct {
		rest   int
		taxed  bool
		pieces int
	}{{0, false, 11}, {1, false, 11}, {3, false, 11}, {3, true, 14}} {
		rest := c.rest
		synctest.Test(t, func(t *testing.T) {
			p := &paced{left: 120, taxed: c.taxed}
			e := &Engine{store: p, now: time.Now, real: time.Now, ids: id.NewGenerator(time.Now), log: slog.New(slog.DiscardHandler)}
			began := time.Now()
			done, err := e.Archive(t.Context(), ArchiveOptions{Folder: t.TempDir(), OlderThan: ArchiveAge, Rest: rest})
			if err != nil || done.Sessions != 120 {
				t.Fatalf("%+v, error %v", done, err)
			}
			var worked, since time.Duration
			for i, of := range p.pieces {
				if of.sessions > archiveLooks {
					t.Errorf("a piece of %d sessions", of.sessions)
				}
				if i > 0 && of.began.Sub(p.pieces[i-1].end) != since {
					t.Errorf("%s between pieces %d and %d, want %s", of.began.Sub(p.pieces[i-1].end), i, i+1, since)
				}
				took := of.end.Sub(of.began)
				worked += took
				since = took * time.Duration(rest)
			}
			if took := time.Since(began); len(p.pieces) != c.pieces || took != worked*time.Duration(1+rest) {
				t.Errorf("%d pieces of %s in %s", len(p.pieces), worked, took)
			}
		})
	}
}

// lying is a store that has something happen to a file once it is complete.
type lying struct {
	store.Store
	spoil func() error
}

func (s *lying) AddArchive(ctx context.Context, a store.Archive) error {
	return errors.Join(s.Store.AddArchive(ctx, a), s.spoil())
}

// What a folder has not kept as it was written stays in the database.
func TestArchiveIsReadBack(t *testing.T) {
	l, ended := archiveLab(t)
	lies := &lying{}
	l.close()
	l.wrap = func(s store.Store) store.Store { lies.Store = s; return lies }
	l.open()
	l.advance(2 * time.Hour)
	change := func(do func(b []byte) []byte) func(string) error {
		return func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, do(b), 0o600)
		}
	}
	for name, spoil := range map[string]func(path string) error{
		"gone":          os.Remove,
		"empty":         change(func([]byte) []byte { return nil }),
		"cut off":       change(func(b []byte) []byte { return b[:len(b)-1] }),
		"another bit":   change(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }),
		"a byte behind": change(func(b []byte) []byte { return append(b, 0) }),
		"another file": change(func([]byte) []byte {
			var b bytes.Buffer
			zip := gzip.NewWriter(&b)
			fmt.Fprintf(zip, `{"payoutd_archive":1,"project":"acme","number":"ar_1","ended_before":"2026-03-01T00:00:00Z"}`+"\n"+`{"sessions_in_all":0}`+"\n")
			_ = zip.Close()
			return b.Bytes()
		}),
	} {
		t.Run(name, func(t *testing.T) {
			lies.spoil = func() error { return spoil(l.archives()[0]) }
			done, err := l.engine.Archive(t.Context(), ArchiveOptions{Folder: l.folder(), OlderThan: time.Hour, Trial: true})
			if err == nil || !strings.Contains(err.Error(), "nothing was taken out into it") || done.Sessions != 0 {
				t.Errorf("%+v, error %v", done, err)
			}
			if r := l.clean(); r.Archived != 0 || r.Sessions != len(ended) {
				t.Errorf("%d sessions are archived and %d are there, want all %d there", r.Archived, r.Sessions, len(ended))
			}
			for _, path := range l.archives() {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	lies.spoil = func() error { return nil }
	if done := l.archive(); done.Sessions != len(ended) {
		t.Errorf("an honest folder took %+v", done)
	}
	l.proved(len(ended))

	path := l.archives()[0]
	print, err := printOfFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := openArchive(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	var in []store.Leaving
	for r.record != nil {
		in = append(in, store.Leaving{Archived: store.Archived{SessionKey: l.key(r.session), Print: sha256.Sum256(r.record)}})
		if err := r.next(); err != nil {
			t.Fatal(err)
		}
	}
	other := slices.Clone(in)
	other[1].Print[0]++
	for name, row := range map[string]struct {
		leaving []store.Leaving
		ok      bool
	}{
		"all":            {in, true},
		"one less":       {in[:len(in)-1], false},
		"one more":       {append(slices.Clone(in), in[0]), false},
		"one twice":      {append(slices.Clone(in[:len(in)-1]), in[0]), false},
		"another record": {other, false},
	} {
		if err := (&archiver{Engine: l.engine}).readBack(t.Context(), path, print, row.leaving); (err == nil) != row.ok {
			t.Errorf("read back to take out %s: %v", name, err)
		}
	}
}

// failing fails at a call of the archive's, of which each is a moment at which a
// process may end.
type failing struct {
	store.Store
	left atomic.Int64 // calls until then
}

var errCrash = errors.New("the process has ended")

func (f *failing) step() error {
	if f.left.Add(-1) < 0 {
		return errCrash
	}
	return nil
}

func (f *failing) Aged(ctx context.Context, p id.Project, after id.Session, before time.Time, _ int) ([]store.Dossier, id.Session, error) {
	if err := f.step(); err != nil {
		return nil, 0, err
	}
	return f.Store.Aged(ctx, p, after, before, 2)
}

func (f *failing) AddArchive(ctx context.Context, a store.Archive) error {
	if err := f.step(); err != nil {
		return err
	}
	if err := f.Store.AddArchive(ctx, a); err != nil {
		return err
	}
	return f.step()
}

// TakeOut takes two sessions at a time, and may end between.
func (f *failing) TakeOut(ctx context.Context, p id.Project, sessions []store.Leaving) (left []id.Session, err error) {
	for some := range slices.Chunk(sessions, 2) {
		if err := f.step(); err != nil {
			return nil, err
		}
		stays, err := f.Store.TakeOut(ctx, p, some)
		if err != nil {
			return nil, err
		}
		left = append(left, stays...)
	}
	return left, f.step()
}

// At whatever step it ends, every session is in the database or in a file that is
// whole, and the next run goes on.
func TestArchiveGoesOnAfterACrash(t *testing.T) {
	l, ended := archiveLab(t)
	broken := &failing{}
	l.close()
	l.wrap = func(s store.Store) store.Store { broken.Store = s; return broken }
	broken.left.Store(1 << 40)
	l.open()
	l.clock.advance(2 * time.Hour)
	crashes := 0
	for at := int64(0); ; at++ {
		broken.left.Store(at)
		done, err := l.engine.Archive(t.Context(), ArchiveOptions{Folder: l.folder(), OlderThan: time.Hour, Trial: true})
		broken.left.Store(1 << 40)
		if err == nil {
			t.Logf("%d crashes, then %+v", crashes, done)
			break
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		crashes++
		r, err := l.engine.CheckArchives(t.Context(), l.known())
		if err != nil || !r.Clean() || r.Proved != r.Archived || r.Archived+r.Sessions != len(ended) {
			t.Fatalf("after a crash at step %d: %+v, error %v", at, r, err)
		}
	}
	if crashes < 6 {
		t.Errorf("%d crashes, want one at each step", crashes)
	}
	r, err := l.engine.CheckArchives(t.Context(), l.known())
	if err != nil || !r.Clean() || r.Proved != len(ended) {
		t.Fatalf("at the end: %+v, error %v", r, err)
	}
	if parts, _ := filepath.Glob(filepath.Join(l.folder(), "*.part")); len(parts) > 0 {
		t.Errorf("left behind: %q", parts)
	}
}

// Beside payouts, returns and checks, on one node and from another one, archiving
// loses nothing and stops nobody.
func TestArchiveBesidePayouts(t *testing.T) {
	for _, name := range []string{"sqlite", "postgres"} {
		t.Run(name, func(t *testing.T) {
			var open func() (store.Store, error)
			if name == "postgres" {
				url := pgtest.URL(t)
				if err := postgres.Migrate(t.Context(), url, nil); err != nil {
					t.Fatal(err)
				}
				open = func() (store.Store, error) { return postgres.Open(t.Context(), url, nil) }
			}
			l := newLabOn(t, open, func(p *partner.Project) { p.SingleRequest = true })
			l.start()
			archivist := l
			if name == "postgres" { // which is another node
				other := *l
				archivist = &other
				archivist.open()
				archivist.start()
				t.Cleanup(archivist.close)
			}
			const clients, each = 4, 8
			var partners sync.WaitGroup
			for range clients {
				partners.Go(func() {
					for range each {
						l.payAndReturn()
					}
				})
			}
			done := make(chan struct{})
			go func() { partners.Wait(); close(done) }()
			taken := 0
			for over := false; !over || taken < clients*each; {
				select {
				case <-done:
					over = true
				case <-t.Context().Done():
					t.Fatalf("%d sessions are archived", taken)
				default:
				}
				a, err := archivist.engine.Archive(t.Context(), ArchiveOptions{Folder: l.folder(), OlderThan: 1, Trial: true})
				if err != nil {
					t.Fatal(err)
				}
				taken += a.Sessions
				archivist.clean()
			}
			if b := l.balance(); b.Held != 0 || b.Clearing != 0 || b.Available+b.Suspense != 1000_00 {
				t.Errorf("balance %+v, though all came back", b)
			}
			l.proved(clients * each)
		})
	}
}

// payAndReturn pays, and tells of the return of the money as soon as it has left.
func (l *lab) payAndReturn() {
	a, err := l.engine.Init(l.Context(), l.call(), l.parse(wire.OpInit, accountBody(accountNumber, 1_00)))
	if err != nil {
		l.Error(err)
		return
	}
	k := l.key(l.sessionOf(a))
	var p session.Payout
	for p.State != session.Paid {
		s, err := l.store.Session(l.Context(), k)
		if fault.CodeOf(err) == fault.NotFound { // archived already
			was, err := l.store.Archived(l.Context(), k)
			if err != nil {
				l.Error(err)
				return
			}
			p = session.Payout{ID: was.Payouts[0].ID, State: session.Paid, Rail: string(instrument.KindAccount), Reference: was.Payouts[0].ID.String()}
			break
		}
		if err != nil {
			l.Error(err)
			return
		}
		p = s.Payouts[0]
	}
	told := rail.Return{Reference: "R-" + p.Reference, Payment: p.Reference, Amount: money.Amount{Minor: 1_00, Currency: money.RUB}, At: l.clock.Now()}
	for again := range 2 {
		got, err := l.engine.TakeReturn(l.Context(), p.Rail, told)
		if err != nil || got.Repeated != (again == 1) {
			l.Errorf("the return %s became %+v, error %v", told.Reference, got, err)
		}
	}
}

// known are the files that the database knows.
func (l *lab) known() (paths []string) {
	l.Helper()
	err := l.store.Snapshot(l.Context(), func(s store.Snapshot) error {
		for a, err := range s.Archives(l.Context(), l.project) {
			if err != nil {
				return err
			}
			paths = append(paths, filepath.Join(l.folder(), a.File))
		}
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	return paths
}

// An archive in which anything was changed is found out, and so is a database.
func TestCheckFindsWhatWasChangedInAnArchive(t *testing.T) {
	l, ended := archiveLab(t)
	l.advance(2 * time.Hour)
	l.archive()
	path := l.archives()[0]
	text := string(unzip(t, path))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(text, "\n")
	for _, c := range []struct{ name, text, says string }{
		{"an amount", strings.Replace(text, `\"minor\":10000`, `\"minor\":10001`, 1), "was changed"},
		{"a state", strings.Replace(text, `"state":"paid"`, `"state":"failed"`, 2), "is another in its record"},
		{"an event", strings.Replace(text, `"type":"payment_finished"`, `"type":"payment_refunded"`, 1), "0 payment_finished"},
		{"a session taken away", strings.Join(slices.Delete(slices.Clone(lines), 2, 3), ""), "it has 4 records, and says 5"},
		{"cut off", strings.Join(lines[:4], ""), "no whole archive"},
		{"another order", lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""), "stands behind"},
		{"lines behind the end", text + lines[1], "no whole archive"},
		{"another number", strings.Replace(text, `"number":`, `"number":1`, 1), "nothing was archived in it"},
		{"another form", strings.Replace(text, `"payoutd_archive":1`, `"payoutd_archive":2`, 1), "of the form 2"},
		{"a line without end", lines[0] + strings.Repeat(" ", lineBytesMax+1), "a line has more than"},
		{"packed anew", text, "is not the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text == text && c.name != "packed anew" {
				t.Fatal("nothing was changed")
			}
			var b bytes.Buffer
			z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
			if _, err := io.WriteString(z, c.text); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := l.engine.CheckArchives(t.Context(), []string{path})
			says := ""
			if err != nil {
				says = err.Error()
			} else {
				says = strings.Join(r.Problems, "\n")
			}
			if !strings.Contains(says, c.says) {
				t.Errorf("found %q, want %q", says, c.says)
			}
		})
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l.proved(len(ended))
	if _, err := l.engine.CheckArchives(t.Context(), []string{path, path}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("the same file twice: %v", err)
	}
	if _, err := l.engine.CheckArchives(t.Context(), []string{path + ".none"}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("no file: %v", err)
	}
}

// FuzzArchive reads any lines as an archive: to their end, or to an error.
func FuzzArchive(f *testing.F) {
	head := `{"payoutd_archive":1,"project":"acme","number":7,"ended_before":"2026-03-02T09:15:04Z"}` + "\n"
	f.Add([]byte(head + `{"sessions_in_all":0}` + "\n"))
	f.Add([]byte(head + `{"sessions":[{"id":7}]}` + "\n" + `{"sessions":[{"id":9}]}` + "\n" + `{"sessions_in_all":2}` + "\n"))
	f.Add([]byte(head + `{"sessions":[{"id":"7"}]}`))
	path := filepath.Join(f.TempDir(), "archive.jsonl.gz")
	f.Fuzz(func(t *testing.T, text []byte) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(text)
		if err = errors.Join(err, z.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
		r, err := openArchive(path)
		if err != nil {
			return
		}
		defer r.close()
		for last := r.session; r.record != nil && err == nil; last = r.session {
			if err = r.next(); err == nil && r.record != nil && r.session <= last {
				t.Fatalf("%s stands behind %s", r.session, last)
			}
		}
		if err == nil && r.n != bytes.Count(text, []byte("\n"))-2 {
			t.Errorf("%d records of %q", r.n, text)
		}
	})
}

func TestCheckFindsWhatWasChangedOfArchivedSessions(t *testing.T) {
	for _, c := range []struct{ name, do, says string }{
		{"what stays is lost", `DELETE FROM archived WHERE session = (SELECT min(session) FROM archived)`, "belong to no session"},
		{"a state", `UPDATE archived SET payouts = replace(payouts, '"paid"', '"failed"')`, "has sent"},
		{"an amount", `UPDATE archived SET payouts = replace(payouts, '"minor":10000', '"minor":10001')`, "want 10001"},
		{"events", `UPDATE archived SET events = events + 1`, "the book counts"},
		{"sequence numbers", `UPDATE archived SET seqs = seqs + 1`, "the book counts"},
		{"a reservation", `UPDATE archived SET reserved = 1`, "of which payouts have"},
		{"a proof of a payment", `DELETE FROM attempts WHERE outcome = 'accepted'`, "0 accepted"},
		{"an entry that came later", `UPDATE archived SET entry = 1`, "has the later entry"},
		{"another payout", `UPDATE archived SET payouts = replace(payouts, '"id":', '"id":1')`, "does not have"},
		{"both", `INSERT INTO sessions SELECT project, session, 1, 'cancelled', '', 0, 0, 1, 1, 1 FROM archived`, "archived and still there"},
		{"an event of it", `INSERT INTO events SELECT project, session, 1, 1, 1, 'payment_finished', '', '', 'muted', 0, 1, 1, '', 0 FROM archived`, "belong to no session"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, _ := archiveLab(t)
			l.advance(2 * time.Hour)
			l.archive()
			l.clean()
			l.wantFound(c.do, c.says)
		})
	}
}
