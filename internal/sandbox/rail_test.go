package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
	"github.com/payoutd/payoutd/rail/railtest"
)

// failer is what testing.T and rapid.T share.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func open(t failer, dir string) *World {
	t.Helper()
	w, err := Open(dir, &Clock{})
	if err != nil {
		t.Fatalf("open the world: %v", err)
	}
	return w
}

func shut(t failer, w *World) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Errorf("close the world: %v", err)
	}
}

func newWorld(t *testing.T) *World {
	t.Helper()
	w := open(t, t.TempDir())
	t.Cleanup(func() { shut(t, w) })
	return w
}

// payTo is an order of 125.50 roubles to a destination of a kind, and its opener.
func payTo(kind instrument.Kind, value string) (rail.Order, rail.Opener) {
	o := rail.Order{Reference: "po_1", Amount: money.Amount{Minor: 12550, Currency: money.RUB}}
	switch kind {
	case instrument.KindCard:
		o.Destination.Card = &instrument.Card{BIN: value[:6], Last4: value[12:]}
		return o, func(context.Context) ([]byte, error) { return []byte(value), nil }
	case instrument.KindAccount:
		o.Destination.Account = &instrument.Account{BIK: bankBIK, Number: value}
	case instrument.KindFPS:
		o.Destination.FPS = &instrument.FPS{Phone: value, BankID: "100000000131"}
	case instrument.KindWallet:
		o.Destination.Wallet = &instrument.Wallet{Account: value}
	}
	return o, nil
}

// ordinary are destinations without magic.
var ordinary = map[instrument.Kind]string{
	instrument.KindCard:    "4111111111111111",
	instrument.KindAccount: "40802810600000009999",
	instrument.KindFPS:     "79161234567",
	instrument.KindWallet:  "410011234567890",
}

// executions counts the executions by rail and reference.
func executions(t failer, w *World) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for e, err := range w.Executions(context.Background()) {
		if err != nil {
			t.Fatalf("executions: %v", err)
		}
		counts[e.Rail+" "+e.Reference]++
	}
	return counts
}

func TestRailsPassTheSuite(t *testing.T) {
	for _, kind := range instrument.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			railtest.Run(t, func(t *testing.T) railtest.Harness { return harness(t, kind) })
		})
	}
}

func harness(t *testing.T, kind instrument.Kind) railtest.Harness {
	dir := t.TempDir()
	clock := &Clock{}
	open := func(t *testing.T, dir string) *World {
		w, err := Open(dir, clock)
		if err != nil {
			t.Fatalf("open the world: %v", err)
		}
		return w
	}
	w := open(t, dir)
	t.Cleanup(func() { shut(t, w) })
	payout := func(value string) railtest.Payout {
		o, opener := payTo(kind, value)
		return railtest.Payout{Order: o, Open: opener}
	}
	fails, refused := payout(valueOf(string(kind), 20)), payout(valueOf(string(kind), 12))
	h := railtest.Harness{
		Rail: w.Rails()[kind],
		Restart: func(t *testing.T) rail.Rail {
			shut(t, w)
			w = open(t, dir)
			return w.Rails()[kind]
		},
		Pays: payout(ordinary[kind]), Fails: &fails, Refused: &refused,
		Executions: func(t *testing.T, reference string) int {
			return executions(t, w)[w.Rails()[kind].Name()+" "+reference]
		},
	}
	if kind == instrument.KindAccount {
		h.Pays = payout(valueOf(string(kind), 33))
		h.Returned = func(t *testing.T, _ string) {
			if err := clock.Advance(returnDelay); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kind == instrument.KindCard {
		h.Numbers = []string{ordinary[kind], valueOf(string(kind), 20), valueOf(string(kind), 12)}
	}
	return h
}

// life is what can be seen of one payment from outside.
type life struct {
	send    string        // the answer of Send
	took    time.Duration // by Send
	queries []string      // the answers of Query, one a second
	moved   int           // executions in the end
}

// seen prints an answer: its status and code, or "error".
func seen(out rail.Outcome, err error) string {
	if err != nil {
		return "error"
	}
	return strings.TrimSpace(string(out.Status) + " " + string(out.Code))
}

// live sends one payment as payoutd would, and asks once a second five times.
func live(t *testing.T, w *World, kind instrument.Kind, o rail.Order, opener rail.Opener) life {
	t.Helper()
	r := w.Rails()[kind]
	var l life
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), r.Terms().SendDeadline)
	defer cancel()
	l.send, l.took = seen(r.Send(ctx, o, opener)), time.Since(start)
	for range 5 {
		l.queries = append(l.queries, seen(r.Query(t.Context(), o.Reference)))
		<-time.After(time.Second)
	}
	l.moved = executions(t, w)[r.Name()+" "+o.Reference]
	return l
}

// lives is how each outcome looks from outside; CODE stands for the value's.
// Declines at the check fail in Send too, for whoever did not check.
var lives = map[Outcome]life{
	Succeeded:             {"succeeded", 0, []string{"succeeded", "succeeded", "succeeded", "succeeded", "succeeded"}, 1},
	Declined:              {"failed CODE", 0, []string{"failed CODE", "failed CODE", "failed CODE", "failed CODE", "failed CODE"}, 0},
	CheckFailed:           {"failed CODE", 0, []string{"failed CODE", "failed CODE", "failed CODE", "failed CODE", "failed CODE"}, 0},
	CheckSlow:             {"succeeded", 0, []string{"succeeded", "succeeded", "succeeded", "succeeded", "succeeded"}, 1},
	AcceptedThenSucceeded: {"accepted", 0, []string{"accepted", "succeeded", "succeeded", "succeeded", "succeeded"}, 1},
	AcceptedThenDeclined:  {"accepted", 0, []string{"accepted", "failed CODE", "failed CODE", "failed CODE", "failed CODE"}, 0},
	UnclearThenSucceeded:  {"error", 0, []string{"unknown", "unknown", "succeeded", "succeeded", "succeeded"}, 1},
	UnclearThenFailed:     {"error", 0, []string{"unknown", "unknown", "failed CODE", "failed CODE", "failed CODE"}, 0},
	LostBeforeSent:        {"error", 0, []string{"never_seen", "never_seen", "never_seen", "never_seen", "never_seen"}, 0},
	Doubled:               {"succeeded", 0, []string{"succeeded", "succeeded", "succeeded", "succeeded", "succeeded"}, 1},
	Late:                  {"error", 2 * time.Second, []string{"never_seen", "never_seen", "succeeded", "succeeded", "succeeded"}, 1},
	Returned:              {"succeeded", 0, []string{"succeeded", "succeeded", "succeeded", "succeeded", "succeeded"}, 1},
	Broken:                {"unknown", 0, []string{"succeeded", "succeeded", "succeeded", "succeeded", "succeeded"}, 1},
	Slow:                  {"error", 2 * time.Second, []string{"accepted", "succeeded", "succeeded", "succeeded", "succeeded"}, 1},
}

// verdicts is what Check says of each outcome; of all others it says yes.
var verdicts = map[Outcome]string{CheckFailed: "CODE", CheckSlow: "error"}

func TestEveryValueBehavesAsListed(t *testing.T) {
	for _, v := range Values() {
		kinds := []instrument.Kind{instrument.Kind(v.Kind)}
		if v.Kind == kindAmount {
			kinds = instrument.Kinds // an amount acts beside every method
		}
		for _, kind := range kinds {
			t.Run(fmt.Sprintf("%s/%s/%s", v.Kind, kind, v.Value), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { valueBehaves(t, v, kind) })
			})
		}
	}
}

func valueBehaves(t *testing.T, v Value, kind instrument.Kind) {
	w := newWorld(t)
	destination := v.Value
	if v.Kind == kindAmount {
		destination = ordinary[kind]
	}
	o, opener := payTo(kind, destination)
	if v.Kind == kindAmount {
		minor, err := strconv.ParseInt(v.Value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		o.Amount.Minor = minor
	}
	code := string(v.ErrorCode)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a payout's time in checking
	defer cancel()
	verdict, err := w.Rails()[kind].Check(ctx, o, opener)
	said := string(verdict.Refused)
	if err != nil {
		said = "error"
	}
	if want := strings.ReplaceAll(verdicts[v.Outcome], "CODE", code); said != want {
		t.Errorf("Check says %q, want %q", said, want)
	}
	if fault.CodeOf(err) != fault.ProviderTimeout && v.Outcome == CheckSlow {
		t.Errorf("Check: %v, want %s", err, fault.ProviderTimeout)
	}
	want := lives[v.Outcome]
	want.queries = slices.Clone(want.queries)
	want.send = strings.ReplaceAll(want.send, "CODE", code)
	for i := range want.queries {
		want.queries[i] = strings.ReplaceAll(want.queries[i], "CODE", code)
	}
	if got := live(t, w, kind, o, opener); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s\n got %+v\nwant %+v", v.Outcome, got, want)
	}
}

func TestLostIsPaidWhenSentAgain(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	o, opener := payTo(instrument.KindCard, valueOf("card", 6))
	if out, err := w.Rails()[instrument.KindCard].Send(t.Context(), o, opener); err == nil {
		t.Fatalf("the first request got %+v, want an error", out)
	}
	shut(t, w)
	w = open(t, dir) // it is the world that remembers, not the process
	defer func() { shut(t, w) }()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got := seen(w.Rails()[instrument.KindCard].Send(t.Context(), o, opener)); got != "succeeded" {
				t.Errorf("sent again it says %s, want succeeded", got)
			}
		})
	}
	wg.Wait()
	if n := executions(t, w)["card po_1"]; n != 1 {
		t.Errorf("%d executions, want 1", n)
	}
}

func TestAnotherPaymentIsNotTheLostOne(t *testing.T) {
	r := newWorld(t).Rails()[instrument.KindCard].(*simulated)
	lost, opener := payTo(instrument.KindCard, valueOf("card", 6))
	_, _ = r.Send(t.Context(), lost, opener)
	otherAmount := lost
	otherAmount.Amount.Minor++
	_, otherCard := payTo(instrument.KindCard, ordinary[instrument.KindCard])
	tests := []struct {
		name  string
		order rail.Order
		open  rail.Opener
	}{{"another amount", otherAmount, opener}, {"another card", lost, otherCard}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if out, err := r.Send(t.Context(), tt.order, tt.open); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("Send: %+v, error %v; want %s", out, err, fault.Invalid)
			}
			if got := seen(r.Query(t.Context(), lost.Reference)); got != "never_seen" || len(executions(t, r.world)) != 0 {
				t.Errorf("Query says %s, executions %v; want never_seen and none", got, executions(t, r.world))
			}
		})
	}
}

func TestDoubledReachesTheRailTwice(t *testing.T) {
	w := newWorld(t)
	o, opener := payTo(instrument.KindCard, valueOf("card", 7))
	if got := seen(w.Rails()[instrument.KindCard].Send(t.Context(), o, opener)); got != "succeeded" {
		t.Fatalf("Send says %s", got)
	}
	got, err := w.books.ask(t.Context(), "card", o.Reference)
	if err != nil || got.payment.requests != 2 {
		t.Errorf("%d requests, error %v; want 2", got.payment.requests, err)
	}
}

func TestMovedClockEndsWhatIsUnderWay(t *testing.T) {
	clock := &Clock{}
	w, err := Open(t.TempDir(), clock)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, w)
	r := w.Rails()[instrument.KindFPS]
	o, _ := payTo(instrument.KindFPS, valueOf("fps", 2))
	if got := seen(r.Send(t.Context(), o, nil)); got != "accepted" {
		t.Fatalf("Send says %s, want accepted", got)
	}
	if err := clock.Advance(time.Second); err != nil {
		t.Fatal(err)
	}
	if got := seen(r.Query(t.Context(), o.Reference)); got != "succeeded" {
		t.Errorf("a second later Query says %s, want succeeded", got)
	}
}

func TestDestinationDecidesBeforeTheAmount(t *testing.T) {
	tests := []struct {
		name        string
		destination int
		amount      int64
		want        string
	}{
		{"both fail", 25, 131020, "failed declined_by_issuer_bank"},
		{"the destination fails", 25, 131001, "failed declined_by_issuer_bank"},
		{"the amount fails", 1, 131020, "failed operation_rejected"},
		{"neither is magic in the other's field", 1, 20, "succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			o, opener := payTo(instrument.KindCard, valueOf("card", tt.destination))
			o.Amount.Minor = tt.amount
			if got := seen(w.Rails()[instrument.KindCard].Send(t.Context(), o, opener)); got != tt.want {
				t.Errorf("Send says %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAccountOfAnotherKindIsRefused(t *testing.T) {
	r := newWorld(t).Rails()[instrument.KindAccount]
	for _, number := range []string{"40701810500000012345", "30101810400000000225", "40817840500000012345", "40817810", ""} {
		o, _ := payTo(instrument.KindAccount, number)
		v, err := r.Check(t.Context(), o, nil)
		if err != nil || v.Refused != rail.AccountNotFound {
			t.Errorf("account %q: %+v, error %v; want %s", number, v, err, rail.AccountNotFound)
		}
		o.Reference = "po_" + number
		if got := seen(r.Send(t.Context(), o, nil)); got != "failed account_not_found" {
			t.Errorf("account %q is sent: %s", number, got)
		}
	}
}

func TestVerificationOfAPhone(t *testing.T) {
	r := newWorld(t).Rails()[instrument.KindFPS]
	tests := []struct {
		name, phone string
		want        rail.Code
	}{
		{"registered", "0070009210197", ""},
		{"not registered", valueOf("fps", 12), rail.AccountNotFound},
		{"registered and declined when paid", valueOf("fps", 20), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, _ := payTo(instrument.KindFPS, tt.phone)
			o.Destination.FPS.Verify, o.Amount = true, money.Amount{}
			v, err := r.Check(t.Context(), o, nil)
			if err != nil || v.Refused != tt.want {
				t.Errorf("Check: %+v, error %v; want %q", v, err, tt.want)
			}
			if out, err := r.Send(t.Context(), o, nil); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("Send: %+v, error %v; want %s", out, err, fault.Invalid)
			}
			if got := seen(r.Query(t.Context(), o.Reference)); got != "never_seen" {
				t.Errorf("Query says %s, want never_seen", got)
			}
		})
	}
}

func TestOrdersThatNoRailTakes(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name   string
		change func(*rail.Order)
		locked bool
		want   fault.Code
	}{
		{"no reference", func(o *rail.Order) { o.Reference = "" }, false, fault.Invalid},
		{"36 characters of reference", func(o *rail.Order) { o.Reference = strings.Repeat("r", 36) }, false, fault.Invalid},
		{"no amount", func(o *rail.Order) { o.Amount.Minor = 0 }, false, fault.Invalid},
		{"less than nothing", func(o *rail.Order) { o.Amount.Minor = -1 }, false, fault.Invalid},
		{"another method", func(o *rail.Order) {
			o.Destination = instrument.Instrument{Wallet: &instrument.Wallet{Account: "410012411727100"}}
		}, false, fault.Invalid},
		{"no destination", func(o *rail.Order) { o.Destination = instrument.Instrument{} }, false, fault.Invalid},
		{"no opener", func(*rail.Order) {}, true, fault.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, opener := payTo(instrument.KindCard, ordinary[instrument.KindCard])
			tt.change(&o)
			if tt.locked {
				opener = nil
			}
			if out, err := w.Rails()[instrument.KindCard].Send(t.Context(), o, opener); err == nil || fault.CodeOf(err) != tt.want {
				t.Errorf("Send: %+v, error %v; want %s", out, err, tt.want)
			}
		})
	}
	if n := len(executions(t, w)); n != 0 {
		t.Errorf("%d executions, want none", n)
	}
}

// TestRailsKeepTheirReferencesApart matters to the witness: a payment by two
// rails is two payments.
func TestRailsKeepTheirReferencesApart(t *testing.T) {
	w := newWorld(t)
	for _, kind := range instrument.Kinds {
		r := w.Rails()[kind]
		if got := seen(r.Query(t.Context(), "po_1")); got != "never_seen" {
			t.Errorf("%s has seen another rail's reference: %s", r.Name(), got)
		}
		o, opener := payTo(kind, ordinary[kind])
		for range 2 {
			if got := seen(r.Send(t.Context(), o, opener)); got != "succeeded" {
				t.Errorf("%s says %s", r.Name(), got)
			}
		}
	}
	totals, err := w.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := "[{account 1 125.50 RUB} {card 1 125.50 RUB} {fps 1 125.50 RUB} {wallet 1 125.50 RUB}]"
	if got := fmt.Sprint(totals); got != want {
		t.Errorf("totals\n got %s\nwant %s", got, want)
	}
}

func TestSeedDecidesTheNumbers(t *testing.T) {
	pay := func(kind instrument.Kind, opts ...Option) rail.Info {
		w, err := Open(t.TempDir(), &Clock{}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, w)
		o, opener := payTo(kind, ordinary[kind])
		out, err := w.Rails()[kind].Send(t.Context(), o, opener)
		if err != nil {
			t.Fatal(err)
		}
		return out.Info
	}
	card := pay(instrument.KindCard, WithSeed("one"))
	if len(card.RRN) != 12 || len(card.ARN) != 23 || len(card.AuthCode) != 6 || card.FPMessageID != "" {
		t.Errorf("a card payment has %+v", card)
	}
	if again := pay(instrument.KindCard, WithSeed("one")); again != card {
		t.Errorf("the same seed gives %+v and %+v", card, again)
	}
	if other := pay(instrument.KindCard, WithSeed("two")); other == card {
		t.Error("another seed gives the same numbers")
	}
	if none := pay(instrument.KindCard); none == pay(instrument.KindCard) {
		t.Error("two folders without a seed give the same numbers")
	}
	if fps := pay(instrument.KindFPS); len(fps.FPMessageID) != 32 || fps.RRN != "" {
		t.Errorf("an FPS payment has %+v", fps)
	}
	if account := pay(instrument.KindAccount); account != (rail.Info{}) {
		t.Errorf("an account payment has %+v", account)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := Open(t.TempDir(), &Clock{}, WithLatency(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, w)
		r := w.Rails()[instrument.KindWallet]
		o, _ := payTo(instrument.KindWallet, ordinary[instrument.KindWallet])
		start := time.Now()
		if _, err := r.Check(t.Context(), o, nil); err != nil {
			t.Error(err)
		}
		if _, err := r.Send(t.Context(), o, nil); err != nil {
			t.Error(err)
		}
		if _, err := r.Query(t.Context(), o.Reference); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("three calls took %s, want 3s", took)
		}
	})
}

// TestKilledWorldTellsTheTruth opens a copy of the files of a world that is
// still running, which is what a killed process leaves behind.
func TestKilledWorldTellsTheTruth(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer shut(t, w)
	sent := map[string]string{}
	for _, v := range Values() {
		if v.Kind != string(instrument.KindCard) || v.Outcome == Slow || v.Outcome == Late {
			continue
		}
		o, opener := payTo(instrument.KindCard, v.Value)
		o.Reference = "po_" + v.Value[12:]
		sent[o.Reference] = seen(w.Rails()[instrument.KindCard].Send(t.Context(), o, opener))
	}
	before := executions(t, w)

	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	after := open(t, left)
	defer shut(t, after)
	if got := executions(t, after); !maps.Equal(got, before) {
		t.Errorf("executions after the kill\n got %v\nwant %v", got, before)
	}
	for reference, said := range sent {
		got := seen(after.Rails()[instrument.KindCard].Query(t.Context(), reference))
		if strings.HasPrefix(said, "succeeded") || strings.HasPrefix(said, "failed") {
			if got != said {
				t.Errorf("%s: Send said %s, after the kill Query says %s", reference, said, got)
			}
		} else if got == "error" {
			t.Errorf("%s: after the kill Query ends in an error", reference)
		}
	}
}

func TestWorldThatLostItsKeyIsNotOpened(t *testing.T) {
	tests := []struct {
		name   string
		damage func(path string) error
	}{
		{"no key", os.Remove},
		{"half a key", func(path string) error { return os.Truncate(path, 16) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			shut(t, open(t, dir))
			if err := tt.damage(filepath.Join(dir, "world.key")); err != nil {
				t.Fatal(err)
			}
			if w, err := Open(dir, &Clock{}); err == nil {
				t.Error("it was opened")
				shut(t, w)
			}
		})
	}
}

func TestClosedWorldRefuses(t *testing.T) {
	w := open(t, t.TempDir())
	shut(t, w)
	shut(t, w) // closing twice does no harm
	o, _ := payTo(instrument.KindWallet, ordinary[instrument.KindWallet])
	if out, err := w.Rails()[instrument.KindWallet].Send(t.Context(), o, nil); fault.CodeOf(err) != fault.Busy {
		t.Errorf("Send: %+v, error %v; want %s", out, err, fault.Busy)
	}
}

// TestTwoProcessesShareOneWorld opens one folder twice at once.
func TestTwoProcessesShareOneWorld(t *testing.T) {
	dir := t.TempDir()
	worlds := []*World{open(t, dir), open(t, dir)}
	o, opener := payTo(instrument.KindCard, ordinary[instrument.KindCard])
	var wg sync.WaitGroup
	for n := range 32 {
		wg.Go(func() {
			if got := seen(worlds[n%2].Rails()[instrument.KindCard].Send(t.Context(), o, opener)); got != "succeeded" {
				t.Errorf("Send says %s, want succeeded", got)
			}
		})
	}
	wg.Wait()
	for _, w := range worlds {
		if n := executions(t, w)["card po_1"]; n != 1 {
			t.Errorf("%d executions, want 1", n)
		}
		shut(t, w)
	}
}

func TestNoCardNumberInTheFiles(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	numbers := []string{ordinary[instrument.KindCard]}
	for _, v := range Values() {
		if v.Kind == string(instrument.KindCard) && v.Outcome != Slow && v.Outcome != Late {
			numbers = append(numbers, v.Value)
		}
	}
	for n, number := range numbers {
		o, opener := payTo(instrument.KindCard, number)
		o.Reference = fmt.Sprintf("po_%d", n)
		for range 2 {
			_, _ = w.Rails()[instrument.KindCard].Send(t.Context(), o, opener)
		}
	}
	scan := func(when string) {
		for _, number := range numbers {
			plain := sha256.Sum256([]byte(number)) // anybody can try all numbers on an unkeyed hash
			for _, needle := range [][]byte{[]byte(number), []byte(number[4:]), plain[:]} {
				if file, found := find(t, dir, needle); found {
					t.Errorf("%s: %s holds the number that ends in %s", when, file, number[12:])
				}
			}
		}
	}
	scan("open")
	shut(t, w)
	scan("closed")
	if _, found := find(t, dir, []byte("declined_by_issuer_bank")); !found {
		t.Error("the scan does not find what stands in the files")
	}
}

// find looks for bytes in the files of a folder.
func find(t *testing.T, dir string, needle []byte) (file string, found bool) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(data, needle) {
			return f.Name(), true
		}
		if info, err := f.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %s", f.Name(), info.Mode())
		}
	}
	return "", false
}

// TestEachReferencePaysAtMostOnce does what a payoutd under bad luck does:
// sends, asks, leaves early, restarts, moves the clock, in any order.
func TestEachReferencePaysAtMostOnce(t *testing.T) {
	values := slices.DeleteFunc(Values(), func(v Value) bool { return v.Outcome == Slow || v.Outcome == Late })
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "sandbox")
		if err != nil {
			t.Fatalf("folder: %v", err)
		}
		defer os.RemoveAll(dir)
		clock := &Clock{}
		start := func() *World {
			w, err := Open(dir, clock)
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return w
		}
		w := start()
		defer func() { shut(t, w) }()
		final := map[string]string{} // what the rail has said for good
		learn := func(call, key string, out rail.Outcome, err error) {
			if err != nil || out.Status != rail.Succeeded && out.Status != rail.Failed {
				if said, ok := final[key]; ok && err == nil && call == "Query" {
					t.Errorf("%s: %s, then %s", key, said, out.Status)
				}
				return
			}
			if said, ok := final[key]; ok && said != seen(out, nil) {
				t.Errorf("%s: %s, then %s", key, said, seen(out, nil))
			}
			final[key] = seen(out, nil)
		}
		pick := func() (instrument.Kind, rail.Order, rail.Opener) {
			v := rapid.SampledFrom(values).Draw(t, "value")
			kind, destination := instrument.Kind(v.Kind), v.Value
			if v.Kind == kindAmount {
				kind = rapid.SampledFrom(instrument.Kinds).Draw(t, "kind")
				destination = ordinary[kind]
			}
			o, opener := payTo(kind, destination)
			if v.Kind == kindAmount {
				o.Amount.Minor, _ = strconv.ParseInt(v.Value, 10, 64)
			}
			o.Reference = fmt.Sprintf("po_%d", rapid.IntRange(1, 3).Draw(t, "reference"))
			return kind, o, opener
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(*rapid.T) {
				kind, o, opener := pick()
				out, err := w.Rails()[kind].Send(context.Background(), o, opener)
				learn("Send", w.Rails()[kind].Name()+" "+o.Reference, out, err)
			},
			"leave": func(*rapid.T) {
				kind, o, opener := pick()
				ctx, leave := context.WithCancel(context.Background())
				go leave()
				out, err := w.Rails()[kind].Send(ctx, o, opener)
				learn("Send", w.Rails()[kind].Name()+" "+o.Reference, out, err)
			},
			"query": func(*rapid.T) {
				kind, o, _ := pick()
				out, err := w.Rails()[kind].Query(context.Background(), o.Reference)
				learn("Query", w.Rails()[kind].Name()+" "+o.Reference, out, err)
			},
			"advance": func(t *rapid.T) {
				if err := clock.Advance(time.Second); err != nil {
					t.Fatal(err)
				}
			},
			"restart": func(*rapid.T) { shut(t, w); w = start() },
			"": func(t *rapid.T) {
				moved := executions(t, w)
				for key, n := range moved {
					if n > 1 {
						t.Errorf("%s was executed %d times", key, n)
					}
				}
				for key, said := range final {
					if paid := moved[key] == 1; paid != (said == "succeeded") {
						t.Errorf("%s is %s and was executed %d times", key, said, moved[key])
					}
				}
			},
		})
	})
}
