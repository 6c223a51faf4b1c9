package payout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail"
)

// The own accounts of the lab's project.
const (
	settlement = "40702810900000000131"
	escrow     = "40701810200000000131"
)

// addAccounts gives the project one own account of each kind, with 500 roubles.
func (l *lab) addAccounts() {
	l.Helper()
	for number, kind := range map[string]instrument.Source{settlement: instrument.RKO, escrow: instrument.Nominal} {
		if _, err := l.engine.AddAccount(l.Context(), l.project, OwnAccount{number, owner(kind)}); err != nil {
			l.Fatal(err)
		}
		l.depositTo(number, 50_000)
	}
}

func owner(kind instrument.Source) partner.Owner {
	return partner.Owner{Type: kind, Name: "ООО Ромашка", INN: "7707083893", KPP: "770001001", BIK: "044000131", BankName: "Банк отправителя"}
}

func (l *lab) depositTo(account string, minor int64) {
	l.Helper()
	if _, err := l.engine.DepositTo(l.Context(), l.project, account, money.Amount{Minor: minor, Currency: money.RUB}, ""); err != nil {
		l.Fatal(err)
	}
}

// ownBody is a request for a payout of so many kopecks from an own account.
func ownBody(account string, minor int64) string {
	return fmt.Sprintf(`{"payout_details":{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"bik":"044000777",`+
		`"account":"40817810500000012345","full_name":"Гусев Пётр","description":"Выплата"}}},"amount_details":{"amount":%d,"currency":"rub"},`+
		`"participant_details":{"sender":{"account":%q,"beneficiary_id":"7700000131"},"recipient":{"beneficiary_id":"770000013100"}}}`, minor, account)
}

// informed is what a partner sends back to confirm a session; nil for those that
// want nothing back.
func informed(s *session.Session) json.RawMessage {
	var said struct {
		Information json.RawMessage `json:"confirm_information"`
	}
	if err := json.Unmarshal(wire.Answer(s, 1, nil), &said); err != nil {
		panic(err)
	}
	return said.Information
}

func (l *lab) initOwn(op wire.Op, account string, minor int64) id.Session {
	l.Helper()
	a, err := l.engine.Init(l.Context(), l.call(), l.parse(op, ownBody(account, minor)))
	if err != nil {
		l.Fatalf("%s: %v", op, err)
	}
	return l.sessionOf(a)
}

func (l *lab) confirmWith(s id.Session, information json.RawMessage) error {
	_, err := l.engine.Confirm(l.Context(), l.call(), wire.Request{Session: s, Information: information})
	return err
}

// on is what an own account has available and held.
func (l *lab) on(account string) (available, held int64) {
	l.Helper()
	accounts, err := l.engine.Accounts(l.Context(), l.project)
	if err != nil {
		l.Fatal(err)
	}
	for i := range accounts {
		if accounts[i].Number == account {
			return accounts[i].Balance.Available, accounts[i].Balance.Held
		}
	}
	l.Fatalf("no account %s", account)
	return 0, 0
}

// A payout from an own account awaits confirm even in a project that pays
// without it, is confirmed by what was sent, and moves that account's money only.
func TestPayoutFromAnOwnAccount(t *testing.T) {
	for op, account := range map[wire.Op]string{wire.OpInitRKO: settlement, wire.OpInitNominal: escrow} {
		t.Run(string(op), func(t *testing.T) {
			l := newLab(t, func(p *partner.Project) {
				p.SingleRequest = true
				p.Fees = map[instrument.Kind]partner.Fee{instrument.KindAccount: {Fixed: 100}}
			})
			l.addAccounts()
			l.rails[instrument.KindAccount].check = func(_ context.Context, o rail.Order) (rail.Verdict, error) {
				return rail.Verdict{Bank: rail.Bank{Name: "Банк получателя", Correspondent: "30101810000000000777"}}, nil
			}
			l.start()
			wallet := l.available()
			s := l.initOwn(op, account, 20_000)
			l.receive(session.ReadyToConfirm, s)
			if available, held := l.on(account); available != 29_900 || held != 20_100 {
				t.Errorf("while it awaits: %d available and %d held, want 29900 and 20100", available, held)
			}
			told := informed(l.session(s))
			if !strings.Contains(string(told), `"bank_name":"Банк получателя"`) {
				t.Errorf("to confirm: %s; want the recipient's bank in it", told)
			}
			if err := l.confirm(s); fault.CodeOf(err) != fault.Invalid {
				t.Errorf("confirm without it: %v, want %s", err, fault.Invalid)
			}
			wrong := strings.Replace(string(told), "044000777", "044000778", 1)
			if err := l.confirmWith(s, []byte(wrong)); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), ".recipient.bik: ") {
				t.Errorf("confirm with another bank: %v, want %s naming recipient.bik", err, fault.Invalid)
			}
			if found := l.session(s); found.State != session.Awaiting {
				t.Fatalf("after refused confirms it is %s, want %s", found.State, session.Awaiting)
			}
			if err := l.confirmWith(s, told); err != nil {
				t.Fatal(err)
			}
			l.receive(session.PaymentFinished, s)
			if available, held := l.on(account); available != 29_900 || held != 0 {
				t.Errorf("after it: %d available and %d held, want 29900 and 0", available, held)
			}
			p := l.session(s).Payouts[0]
			back, err := l.engine.TakeReturn(t.Context(), p.Rail, rail.Return{Reference: "r", Payment: p.Reference, Amount: *p.Amount(), At: l.clock.Now()})
			if err != nil || back.Status != session.RefundBooked {
				t.Fatalf("return: %+v, %v", back, err)
			}
			l.receive(session.PaymentRefunded, s)
			if available, _ := l.on(account); available != 49_900 {
				t.Errorf("after the return: %d available, want 49900", available)
			}
			if now := l.available(); now != wallet {
				t.Errorf("the balance went from %d to %d", wallet, now)
			}
			l.clean()
		})
	}
}

func TestOwnAccountIsShort(t *testing.T) {
	l := newLab(t, func(p *partner.Project) { p.Credit = 1_000_000 }) // which is of the balance
	l.addAccounts()
	l.start()
	s := l.initOwn(wire.OpInitRKO, settlement, 50_001)
	if h := l.receive(session.PaymentFinished, s); h.Session.PayoutList[0].Error.Code != string(fault.InsufficientBalance) {
		t.Errorf("error %+v, want %s", h.Session.PayoutList[0].Error, fault.InsufficientBalance)
	}
	s = l.initOwn(wire.OpInitRKO, settlement, 50_000)
	l.receive(session.ReadyToConfirm, s)
	if err := l.cancel(s); err != nil {
		t.Fatal(err)
	}
	l.receive(session.PaymentFinished, s)
	if available, held := l.on(settlement); available != 50_000 || held != 0 {
		t.Errorf("after cancel: %d available and %d held", available, held)
	}
	l.clean()
}

func TestOwnAccountRefusals(t *testing.T) {
	l := newLab(t)
	l.addAccounts()
	refused := func(name string, err error, code fault.Code, text string) {
		t.Helper()
		if e, _ := errors.AsType[*fault.Error](err); e == nil || e.Code != code || !strings.Contains(e.Text, text) {
			t.Errorf("%s: %v, want %s with %q", name, err, code, text)
		}
	}
	start := func(op wire.Op, body string) error {
		_, err := l.engine.Init(t.Context(), l.call(), l.parse(op, body))
		return err
	}
	refused("escrow from a settlement account", start(wire.OpInitNominal, ownBody(settlement, 1)), fault.Invalid, wire.SenderAccount)
	refused("nobody's account", start(wire.OpInitRKO, ownBody("40702810900000000132", 1)), fault.Invalid, wire.SenderAccount)
	refused("dollars", start(wire.OpInitRKO, strings.Replace(ownBody(settlement, 100), `"rub"`, `"usd"`, 1)), fault.Invalid, "amount_details.currency")

	create := func(op wire.Op) id.Session {
		a, err := l.engine.Create(t.Context(), l.call(), l.parse(op, ownBody(settlement, 100)))
		if err != nil {
			t.Fatal(err)
		}
		return l.sessionOf(a)
	}
	begin := func(op wire.Op, s id.Session) error {
		_, err := l.engine.Start(t.Context(), l.call(), l.parse(op, fmt.Sprintf(`{"session_id":%q}`, s)))
		return err
	}
	refused("made for rko, started plainly", begin(wire.OpStart, create(wire.OpCreateRKO)), fault.Invalid, "session_id")
	refused("made plainly, started for rko", begin(wire.OpStartRKO, create(wire.OpCreate)), fault.Invalid, "session_id")
	refused("made for rko, started for nominal", begin(wire.OpStartNominal, create(wire.OpCreateRKO)), fault.Invalid, "session_id")
	s := create(wire.OpCreateRKO)
	if err := begin(wire.OpStartRKO, s); err != nil {
		t.Errorf("made and started for rko: %v", err)
	}
	refused("started again", begin(wire.OpStartRKO, s), fault.WrongState, "")

	add := func(p id.Project, change func(*OwnAccount)) error {
		a := OwnAccount{settlement, owner(instrument.RKO)}
		change(&a)
		_, err := l.engine.AddAccount(t.Context(), p, a)
		return err
	}
	if err := l.engine.CreateProject(t.Context(), partner.Project{ID: "birch"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		project id.Project
		change  func(*OwnAccount)
		text    string
	}{
		"type":            {"acme", func(a *OwnAccount) { a.Owner.Type = "" }, "type:"},
		"a person's":      {"acme", func(a *OwnAccount) { a.Number = "40817810500000012345" }, "number:"},
		"dollars":         {"acme", func(a *OwnAccount) { a.Number = "40702840900000000131" }, "number:"},
		"short":           {"acme", func(a *OwnAccount) { a.Number = "4070281090000000013" }, "number:"},
		"name":            {"acme", func(a *OwnAccount) { a.Owner.Name = "" }, "name:"},
		"name of lines":   {"acme", func(a *OwnAccount) { a.Owner.Name = "a\nb" }, "name:"},
		"inn":             {"acme", func(a *OwnAccount) { a.Owner.INN = "7707083894" }, "inn:"},
		"kpp":             {"acme", func(a *OwnAccount) { a.Owner.KPP = "1" }, "kpp:"},
		"bik":             {"acme", func(a *OwnAccount) { a.Owner.BIK = "" }, "bik:"},
		"correspondent":   {"acme", func(a *OwnAccount) { a.Owner.Correspondent = "1" }, "correspondent:"},
		"another owner":   {"acme", func(a *OwnAccount) { a.Owner.Name = "ООО Василёк" }, "number:"},
		"another type":    {"acme", func(a *OwnAccount) { a.Owner.Type = instrument.Nominal }, "number:"},
		"another project": {"birch", func(*OwnAccount) {}, "number:"},
	} {
		refused(name, add(c.project, c.change), fault.Invalid, c.text)
	}
	refused("no project", add("nobody", func(*OwnAccount) {}), fault.NotFound, "")
	if again, err := l.engine.AddAccount(t.Context(), "acme", OwnAccount{settlement, owner(instrument.RKO)}); err != nil || !again {
		t.Errorf("added again: %t, %v; want that it was there", again, err)
	}

	rub := money.Amount{Minor: 1, Currency: money.RUB}
	_, err := l.engine.DepositTo(t.Context(), "acme", "40702810900000000132", rub, "a")
	refused("deposit to nobody's account", err, fault.NotFound, "")
	_, err = l.engine.DepositTo(t.Context(), "acme", settlement, rub, "b")
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.engine.Deposit(t.Context(), "acme", rub, "b")
	refused("the same reference to the balance", err, fault.Invalid, "reference")
	l.clean()
}

// Statements are of one day in Moscow, show the fee by itself, and add up to what
// is on the account.
func TestStatement(t *testing.T) {
	l := newLab(t, func(p *partner.Project) {
		p.Fees = map[instrument.Kind]partner.Fee{instrument.KindAccount: {Fixed: 100}}
	})
	l.clock.advance(time.Until(time.Now().Add(48 * time.Hour).Truncate(24 * time.Hour).Add(20*time.Hour + 30*time.Minute))) // 23:30 in Moscow
	l.addAccounts()
	l.start()
	first := l.clock.Now().In(wire.Moscow)
	pay := func(minor int64) {
		s := l.initOwn(wire.OpInitRKO, settlement, minor)
		l.receive(session.ReadyToConfirm, s)
		if err := l.confirmWith(s, informed(l.session(s))); err != nil {
			t.Fatal(err)
		}
		l.receive(session.PaymentFinished, s)
	}
	pay(1_000)
	l.advance(time.Hour) // past midnight in Moscow, in the same day by UTC
	second := l.clock.Now().In(wire.Moscow)
	pay(2_000)
	held := l.initOwn(wire.OpInitRKO, settlement, 500) // is no movement
	l.receive(session.ReadyToConfirm, held)

	for _, c := range []struct {
		day                             time.Time
		opening, closing, debet, credit int64
		amounts                         []int64
	}{
		{first.AddDate(0, 0, -1), 0, 0, 0, 0, nil},
		{first, 0, 48_900, 1_100, 50_000, []int64{50_000, 1_000, 100}},
		{second, 48_900, 46_800, 2_100, 0, []int64{2_000, 100}},
		{second.AddDate(0, 0, 1), 46_800, 46_800, 0, 0, nil},
	} {
		day := c.day.Format(time.DateOnly)
		a, err := l.engine.AccountStatement(t.Context(), l.call(), l.parse(wire.OpStatement,
			fmt.Sprintf(`{"account_number":%q,"date_from":%q,"date_to":%q}`, settlement, day, day)))
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Turnover struct{ Debet, Credit int64 }    `json:"total_turnover"`
			Balance  struct{ Opening, Closing int64 } `json:"total_balance"`
			Lines    []struct{ Amount int64 }         `json:"transactions"`
		}
		if err := json.Unmarshal(a.Body, &got); err != nil {
			t.Fatal(err)
		}
		var amounts []int64
		for _, line := range got.Lines {
			amounts = append(amounts, line.Amount)
		}
		if got.Balance.Opening != c.opening || got.Balance.Closing != c.closing || got.Turnover.Debet != c.debet ||
			got.Turnover.Credit != c.credit || fmt.Sprint(amounts) != fmt.Sprint(c.amounts) {
			t.Errorf("%s: got %s\nwant %+v", day, a.Body, c)
		}
	}
	a, err := l.engine.AccountBalance(t.Context(), l.call(), wire.Request{Report: wire.Report{Account: settlement}})
	if err != nil || !strings.Contains(string(a.Body), `"current_balance":46800`) {
		t.Errorf("balance %s, %v; want 46800", a.Body, err)
	}
	for _, number := range []string{"40702810900000000132", "40817810500000012345"} {
		if _, err := l.engine.AccountBalance(t.Context(), l.call(), wire.Request{Report: wire.Report{Account: number}}); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("balance of %s: %v, want %s", number, err, fault.Invalid)
		}
	}
	l.clean()
}

// Whoever changes what stands in the rows of an own account is found out.
func TestCheckKnowsOwnAccounts(t *testing.T) {
	for name, c := range map[string]struct{ query, want string }{
		"balance":   {`UPDATE accounts SET available = available + 1, deposits = deposits - 1`, "the entries make"},
		"entry":     {`UPDATE entries SET account = '40702810900000000132' WHERE account <> ''`, "was changed"},
		"moved":     {`UPDATE entries SET account = '' WHERE account <> ''`, "was changed"},
		"movement":  {`UPDATE movements SET minor = minor + 1`, "its statements make"},
		"no row":    {`DELETE FROM accounts`, "which the project does not have"},
		"statement": {`DELETE FROM movements`, "its statements make"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.addAccounts()
			l.clean()
			l.wantFound(c.query, c.want)
		})
	}
}

// What a partner confirms shows an account that is known by a token as the token
// does, and of a phone the bank that it named.
func TestRecipientOfATransfer(t *testing.T) {
	opened := instrument.Account{BIK: "044000777", Number: "40817810500000012345", INN: "7707083893", KPP: "770001001"}
	sealed := instrument.Account{Sealed: 7, Token: "b41f", FullName: "Гусев Пётр"}
	phone := instrument.FPS{Phone: "79990001310", BankID: instrument.Banks[0].ID}
	bank := rail.Bank{Name: "Банк", Correspondent: "30101810000000000777"}
	for name, c := range map[string]struct {
		to, sent instrument.Instrument
		bank     rail.Bank
		want     session.Party
	}{
		"account": {
			instrument.Instrument{Account: &opened},
			instrument.Instrument{Account: &opened},
			bank,
			session.Party{Account: opened.Number, Name: "Гусев", BIK: opened.BIK, INN: opened.INN, KPP: opened.KPP, BankName: "Банк", Correspondent: bank.Correspondent},
		},
		"token": {
			instrument.Instrument{Account: &opened},
			instrument.Instrument{Account: &sealed},
			rail.Bank{},
			session.Party{Account: "40817***2345", Name: "Гусев", BIK: opened.BIK, INN: opened.INN, KPP: opened.KPP},
		},
		"phone": {
			instrument.Instrument{FPS: &phone},
			instrument.Instrument{FPS: &phone},
			rail.Bank{},
			session.Party{Account: phone.Phone, Name: "Гусев", BankName: instrument.Banks[0].Rus},
		},
	} {
		if got := party(&rail.Order{Destination: c.to, Recipient: "Гусев"}, &c.sent, c.bank); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// between runs once, behind the first account that is looked up in vain.
type between struct {
	store.Store
	run func()
}

func (b *between) Account(ctx context.Context, k store.AccountKey) (*store.Account, error) {
	a, err := b.Store.Account(ctx, k)
	if run := b.run; run != nil {
		b.run = nil
		run()
	}
	return a, err
}

// Of two projects that are given one account at once, on one node or on two, one
// gets it; the other is told the same as one that comes later.
func TestOneAccountIsOneProjects(t *testing.T) {
	onEngines(t, func(t *testing.T, open func() (store.Store, error)) {
		l := newLabOn(t, open)
		if err := l.engine.CreateProject(t.Context(), partner.Project{ID: "birch"}); err != nil {
			t.Fatal(err)
		}
		other := l
		if open != nil { // another node
			node := *l
			other = &node
			other.open()
			t.Cleanup(other.close)
		}
		looked := &between{Store: l.engine.store}
		l.engine.store = looked
		a := OwnAccount{settlement, owner(instrument.RKO)}
		looked.run = func() {
			if _, err := other.engine.AddAccount(t.Context(), "birch", a); err != nil {
				t.Errorf("the first to write: %v", err)
			}
		}
		_, atOnce := l.engine.AddAccount(t.Context(), "acme", a)
		_, later := l.engine.AddAccount(t.Context(), "acme", a)
		if fault.CodeOf(atOnce) != fault.Invalid || atOnce.Error() != later.Error() {
			t.Errorf("at once: %v, later: %v; want one refusal, %s", atOnce, later, fault.Invalid)
		}
		if again, err := l.engine.AddAccount(t.Context(), "birch", a); err != nil || !again {
			t.Errorf("added again by whose it is: %t, %v", again, err)
		}
		if list, err := l.store.Accounts(t.Context(), "acme"); err != nil || len(list) != 0 {
			t.Errorf("the other has %v, %v", list, err)
		}
		l.clean()
	})
}
