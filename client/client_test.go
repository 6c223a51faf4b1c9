package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

var key = sync.OnceValue(func() sign.PrivateKey {
	k, err := sign.GenerateP256()
	if err != nil {
		panic(err)
	}
	return k
})

// received is a request as the server got it.
type received struct {
	method, path string
	header       http.Header
	body         string
}

// serve starts a server that answers all with one status and body, after it has
// checked the signature, and gives the last request.
func serve(t *testing.T, status int, body string) (string, func() received) {
	t.Helper()
	var mu sync.Mutex
	var last received
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if err := key().Public().Verify(raw, r.Header.Get("X-PARTNER-SIGN")); err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		mu.Lock()
		last = received{r.Method, r.URL.Path, r.Header, string(raw)}
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() received { mu.Lock(); defer mu.Unlock(); return last }
}

func open(t *testing.T, url string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(url, "acme", key(), options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const okSession = `{"status":"ok","session":{"id":"ps_7300451","status":"created",` +
	`"created_at":"2026-03-02T09:15:04.120031Z","updated_at":"2026-03-02T09:15:04.120031Z"}}`

var toCard = client.Request{
	Details:      client.ToCard("2200000000001317"),
	Amount:       client.AmountOf(money.Amount{Minor: 245000, Currency: money.RUB}),
	Participants: &client.Participants{Recipient: &client.Person{FullName: "Соколова Марина"}},
	Customer:     &client.Customer{Reference: "courier-5512", Contacts: []client.Contact{{Email: "m@example.org"}}},
	Metadata:     map[string]any{"batch": 7},
}

// What each call sends, in the names of each version.
func TestRequests(t *testing.T) {
	const card = `{"type":"card","card":{"type":"bank_card","bank_card":{"number":"2200000000001317"}}}`
	const rest = `"amount_details":{"amount":245000,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Соколова Марина"}},` +
		`"customer":{"reference":"courier-5512","contacts":[{"email":"m@example.org"}]},"metadata":{"batch":7}`
	clock := func() time.Time { return time.Date(2026, 3, 2, 12, 20, 0, 0, time.FixedZone("MSK", 3*3600)) }
	for _, tt := range []struct {
		name    string
		version int
		call    func(context.Context, *client.Client) error
		method  string
		path    string
		body    string
	}{
		{"create nothing", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.Create(ctx, client.Request{})
			return err
		}, "POST", "/api/v2/session/create", `{}`},
		{"create with metadata", 1, func(ctx context.Context, c *client.Client) error {
			_, err := c.Create(ctx, client.Request{Metadata: json.RawMessage(`[1]`)})
			return err
		}, "POST", "/api/v1/session/create", `{"metadata":[1]}`},
		{"start", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.StartPayout(ctx, "ps_1", toCard)
			return err
		}, "POST", "/api/v2/session/start/payout", `{"session_id":"ps_1","payout_details":` + card + `,` + rest + `}`},
		{"start in version 1", 1, func(ctx context.Context, c *client.Client) error {
			_, err := c.StartPayout(ctx, "ps_1", toCard)
			return err
		}, "POST", "/api/v1/session/start/payout", `{"session_id":"ps_1","payment_method":` + card + `,` + rest + `}`},
		{"init", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayout(ctx, toCard)
			return err
		}, "POST", "/api/v2/session/init/payout", `{"payout_details":` + card + `,` + rest + `}`},
		{"init to an account", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayout(ctx, client.Request{Details: client.ToAccount(client.RussianAccount{
				BIK: "044000777", Account: "40817810500000012345", FullName: "Гусев Пётр", Description: "Оплата", Fast: true,
			})})
			return err
		}, "POST", "/api/v2/session/init/payout", `{"payout_details":{"type":"bank_account","bank_account":{"system_type":"ru",` +
			`"ru":{"bik":"044000777","account":"40817810500000012345","full_name":"Гусев Пётр","description":"Оплата","is_fast":true}}}}`},
		{"init to a phone", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayout(ctx, client.Request{Details: client.ToPhone("79990001310", "100000000131", "Оплата")})
			return err
		}, "POST", "/api/v2/session/init/payout", `{"payout_details":{"type":"bank_account","bank_account":{"system_type":"faster_payment_system",` +
			`"faster_payment_system":{"phone":"79990001310","bank_id":"100000000131","description":"Оплата"}}}}`},
		{"init to a wallet", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayout(ctx, client.Request{Details: client.ToWallet("4100110000131")})
			return err
		}, "POST", "/api/v2/session/init/payout", `{"payout_details":{"type":"wallet","wallet":{"type":"yoomoney","yoomoney":{"account":"4100110000131"}}}}`},
		{"init to a token", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayout(ctx, client.Request{Details: client.ToCardToken("91ab")})
			return err
		}, "POST", "/api/v2/session/init/payout", `{"payout_details":{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"91ab"}}}}`},
		{"init to a hash", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayout(ctx, client.Request{Details: client.ToCardHash("b41f")})
			return err
		}, "POST", "/api/v2/session/init/payout", `{"payout_details":{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"b41f"}}}}`},
		{"init to a recurrent token", 1, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayout(ctx, client.Request{Details: client.ToRecurrent("9a0b")})
			return err
		}, "POST", "/api/v1/session/init/payout", `{"payment_method":{"type":"recurrent","recurrent":{"token":"9a0b"}}}`},
		{"status", 1, func(ctx context.Context, c *client.Client) error {
			_, err := c.Status(ctx, "ps_1")
			return err
		}, "POST", "/api/v1/session/status", `{"session_id":"ps_1"}`},
		{"confirm", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.Confirm(ctx, "ps_1")
			return err
		}, "POST", "/api/v2/session/confirm", `{"session_id":"ps_1"}`},
		{"confirm with information", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.ConfirmWith(ctx, "ps_1", json.RawMessage(`{"account_details":{}}`))
			return err
		}, "POST", "/api/v2/session/confirm", `{"session_id":"ps_1","confirm_information":{"account_details":{}}}`},
		{"cancel", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.Cancel(ctx, "ps_1")
			return err
		}, "POST", "/api/v2/session/cancel", `{"session_id":"ps_1"}`},
		{"verify", 1, func(ctx context.Context, c *client.Client) error {
			_, err := c.VerifyFPS(ctx, "", "79990001310", "100000000131", client.Person{FirstName: "Марина", LastName: "Соколова"})
			return err
		}, "POST", "/api/v1/fps/customer_verification", `{"payment_method":{"type":"bank_account","bank_account":{` +
			`"system_type":"faster_payment_system_verification","faster_payment_system_verification":{"phone":"79990001310","bank_id":"100000000131"}}},` +
			`"participant_details":{"recipient":{"first_name":"Марина","last_name":"Соколова"}}}`},
		{"balance", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.Balance(ctx)
			return err
		}, "POST", "/api/v1/wallet/balance", `{"request_datetime":"2026-03-02T09:20:00Z"}`},
		{"create from a settlement account", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.CreateFrom(ctx, client.FromSettlement, client.Request{Details: client.ToWallet("1")})
			return err
		}, "POST", "/api/v1/session/create/rko", `{"payment_method":{"type":"wallet","wallet":{"type":"yoomoney","yoomoney":{"account":"1"}}}}`},
		{"start from an escrow account", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.StartPayoutFrom(ctx, client.FromEscrow, "ps_1", client.Request{
				Participants: &client.Participants{Sender: &client.Person{Account: "40701810200000000131"}},
			})
			return err
		}, "POST", "/api/v1/session/start/payout/nominal", `{"session_id":"ps_1","participant_details":{"sender":{"account":"40701810200000000131"}}}`},
		{"init from a settlement account", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayoutFrom(ctx, client.FromSettlement, toCard)
			return err
		}, "POST", "/api/v2/session/init/payout/rko", `{"payout_details":` + card + `,` + rest + `}`},
		{"init several", 1, func(ctx context.Context, c *client.Client) error {
			_, err := c.InitPayouts(ctx, []client.Request{toCard, {Details: client.ToCardToken("91ab")}})
			return err
		}, "POST", "/api/v2/session/multi/init", `{"payout_list":[{"payout_details":` + card + `,` + rest +
			`},{"payout_details":{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"91ab"}}}}]}`},
		{"banks", 2, func(ctx context.Context, c *client.Client) error {
			_, err := c.FPSBanks(ctx)
			return err
		}, "GET", "/api/v1/fps/banks", ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, last := serve(t, 200, okSession)
			c := open(t, url+"/", client.WithVersion(tt.version), client.WithClock(clock))
			if err := tt.call(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			got := last()
			if got.method != tt.method || got.path != tt.path || got.body != tt.body {
				t.Errorf("%s %s\n%s\nwant %s %s\n%s", got.method, got.path, got.body, tt.method, tt.path, tt.body)
			}
			if p := got.header.Get("X-PARTNER-PROJECT"); p != "acme" {
				t.Errorf("project %q", p)
			}
			if _, ok := got.header[http.CanonicalHeaderKey("X-PARTNER-IDEMPOTENCY-KEY")]; ok {
				t.Error("an idempotency key that nobody asked for")
			}
		})
	}
}

func TestIdempotency(t *testing.T) {
	url, last := serve(t, 200, okSession)
	c := open(t, url)
	if _, err := c.InitPayout(t.Context(), toCard, client.WithKey("k-1"), client.WithReplay()); err != nil {
		t.Fatal(err)
	}
	h := last().header
	if h.Get("X-PARTNER-IDEMPOTENCY-KEY") != "k-1" || h.Get("X-PARTNER-IDEMPOTENCY-MODE") != "replay" {
		t.Errorf("%v", h)
	}
	if _, err := c.Status(t.Context(), "ps_1"); err != nil {
		t.Fatal(err)
	}
	if h := last().header; h.Get("X-PARTNER-IDEMPOTENCY-KEY") != "" {
		t.Errorf("the key was sent again: %v", h)
	}
}

func TestReplayed(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(sign.HeaderMode) == "replay" {
			w.Header().Set(sign.HeaderReplayed, "true")
		}
		_, _ = io.WriteString(w, okSession)
	}))
	t.Cleanup(s.Close)
	c := open(t, s.URL)
	for _, want := range []bool{false, true} {
		options := []client.CallOption{client.WithKey("k")}
		if want {
			options = append(options, client.WithReplay())
		}
		if got, err := c.Create(t.Context(), client.Request{}, options...); err != nil || got.Replayed != want {
			t.Errorf("replayed %t, %v; want %t", got.Replayed, err, want)
		}
	}
}

// One session in the names of both versions, with every member.
func TestSessionReadsBothNames(t *testing.T) {
	const v2 = `{"status":"ok","session":{"id":"ps_7300451","status":"accepted","created_at":"2026-03-02T09:15:04.120031Z",
"updated_at":"2026-03-02T09:15:44.902640Z","finished_at":"2026-03-02T09:15:44.902640Z","payment_list":[{"id":"pm_1"}],
"payout_list":[{"id":"po_4100982","status":"succeeded","created_at":"2026-03-02T09:15:09.790225Z","finished_at":"2026-03-02T09:15:44.871105Z",
"customer":{"reference":"courier-5512","contacts":[{"email":"m@example.org","phone":"79990001310"}]},
"payout_details":{"type":"card","card":{"last4":"1317","brand":"mir","bin":"220000"}},
"amount_details":{"amount":245000,"currency":"rub"},
"amounts":{"net":{"amount":245000,"currency":"rub"},"gross":{"amount":248675,"currency":"rub"},"fee":{"merchant_fee":{"amount":3675,"currency":"rub"}}},
"participant_details":{"sender":{"account":"40702810900000000131"},"recipient":{"full_name":"Соколова Марина Игоревна"}},
"transaction_info":{"rrn":"606109131310","auth_code":"131A07"},
"refunds":[{"id":"rf_90131","status":"accepted","created_at":"2026-03-04T08:12:19.300771Z","amount_details":{"amount":245000,"currency":"rub"}}],
"metadata":{"order":"PX-20931","batch":12345678901234567890}}]},
"confirm_information":{"account_details":{"sender":{"bik":"044000131"}}}}`
	v1 := strings.NewReplacer("payout_list", "payments", "payment_list", "acquiring_payments", "payout_details", "payment_method").Replace(v2)
	var sessions []client.Session
	for _, body := range []string{v2, v1} {
		url, _ := serve(t, 200, body)
		s, err := open(t, url).Status(t.Context(), "ps_7300451")
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	if !reflect.DeepEqual(sessions[0], sessions[1]) {
		t.Errorf("version 2 reads as\n%+v\nand version 1 as\n%+v", sessions[0], sessions[1])
	}
	s := sessions[0]
	if len(s.Payouts) != 1 || len(s.Payments) != 1 || s.FinishedAt == nil {
		t.Fatalf("%+v", s)
	}
	p := s.Payouts[0]
	for name, got := range map[string]bool{
		"session":     s.ID == "ps_7300451" && s.Status == client.SessionAccepted && s.CreatedAt.Nanosecond() == 120031000,
		"information": string(s.ConfirmInformation) == `{"account_details":{"sender":{"bik":"044000131"}}}`,
		"payout":      p.ID == "po_4100982" && p.Status == client.PayoutSucceeded && p.FinishedAt.Second() == 44,
		"card":        *p.Details.Card == client.Card{Last4: "1317", Brand: "mir", BIN: "220000"},
		"amount":      *p.Amount == client.Amount{Minor: 245000, Currency: "rub"},
		"fee":         p.Amounts.Fee.Merchant.Minor == 3675 && p.Amounts.Gross.Minor == 248675,
		"recipient":   p.Participants.Recipient.FullName == "Соколова Марина Игоревна",
		"transaction": p.Transaction.RRN == "606109131310" && p.Transaction.AuthCode == "131A07",
		"refund":      len(p.Refunds) == 1 && p.Refunds[0].Amount.Minor == 245000,
		"metadata":    string(p.Metadata) == `{"order":"PX-20931","batch":12345678901234567890}`,
	} {
		if !got {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestBalanceAndBanks(t *testing.T) {
	url, _ := serve(t, 200, `{"status":"ok","wallets":[{"id":"4471","amount_details":{"amount":0,"currency":"rub"}}],
"banks":[{"id":"100000000131","eng_name":"Example Bank One","ru_name":"Пример Банк Один"}]}`)
	c := open(t, url)
	balances, err := c.Balance(t.Context())
	if err != nil || len(balances) != 1 || balances[0].ID != "4471" {
		t.Fatalf("%+v, %v", balances, err)
	}
	if a, err := balances[0].Amount.Money(); err != nil || a != (money.Amount{Currency: money.RUB}) {
		t.Errorf("%v, %v", a, err)
	}
	banks, err := c.FPSBanks(t.Context())
	if want := []client.Bank{{ID: "100000000131", Eng: "Example Bank One", Rus: "Пример Банк Один"}}; err != nil || !reflect.DeepEqual(banks, want) {
		t.Errorf("%+v, %v", banks, err)
	}
}

func TestReports(t *testing.T) {
	url, last := serve(t, 200, `{"status":"ok","account_number":"40702810900000000131","account_currency":"RUB","balance":{"current_balance":13100}}`)
	balance, err := open(t, url).AccountBalance(t.Context(), "40702810900000000131")
	if err != nil || balance != 13100 || last().path != "/api/v1/report/account_balance" || last().body != `{"account_number":"40702810900000000131"}` {
		t.Errorf("balance %d, %v after %+v", balance, err, last())
	}
	if _, err := open(t, url).AccountStatement(t.Context(), "1", time.Now()); err == nil {
		t.Error("an answer without a statement was read as one")
	}
	url, last = serve(t, 200, `{"status":"ok","method":{"name":"account_statement","total_turnover":{"debet":100,"credit":5},"total_balance":{"opening":200,"closing":105},
"transactions":[{"amount":100,"currency":"RUB","payment_date":"2026-03-02","bank_system_id":"4","session_id":"ps_1","purpose":"p","counter_party":{"name":"n"},"type":"debet"}]}}`)
	s, err := open(t, url).AccountStatement(t.Context(), "40702810900000000131", time.Date(2026, 3, 2, 23, 0, 0, 0, time.FixedZone("MSK", 3*3600)))
	if err != nil || s.Balance.Closing != 105 || s.Turnover.Debit != 100 || len(s.Transactions) != 1 || s.Transactions[0].CounterParty.Name != "n" {
		t.Errorf("statement %+v, %v", s, err)
	}
	if want := `{"account_number":"40702810900000000131","date_from":"2026-03-02","date_to":"2026-03-02"}`; last().body != want {
		t.Errorf("sent %s, want %s", last().body, want)
	}
	if _, err := open(t, url).AccountBalance(t.Context(), "1"); err == nil {
		t.Error("an answer without a balance was read as one")
	}
}

func TestAmountOfUnknownCurrency(t *testing.T) {
	if _, err := (client.Amount{Minor: 1, Currency: "tonc"}).Money(); !errors.Is(err, money.ErrUnknown) {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   client.Error // of Description only a part
	}{
		{"wrong state", 400, `{"status":"error","error":{"code":"session_wrong_state","description":"no"}}`, client.Error{Code: client.CodeWrongState, Description: "no", HTTP: 400}},
		{"key used", 400, `{"status":"error","error":{"code":"idempotency_key_already_exists","description":"x"}}`, client.Error{Code: client.CodeKeyExists, Description: "x", HTTP: 400}},
		{"bad signature", 401, `{"status":"error","error":{"code":"authentication_error","description":"x"}}`, client.Error{Code: "authentication_error", Description: "x", HTTP: 401}},
		{"busy", 503, `{"status":"error","error":{"code":"internal_error","description":"later"}}`, client.Error{Code: client.CodeInternal, Description: "later", HTTP: 503}},
		{"an error with HTTP 200", 200, `{"status":"error","error":{"code":"invalid_request","description":"x"}}`, client.Error{Code: client.CodeInvalid, Description: "x", HTTP: 200}},
		{"an error beside a session", 200, `{"status":"ok","error":{"code":"internal_error","description":"x"},"session":{"id":"ps_1"}}`, client.Error{Code: client.CodeInternal, Description: "x", HTTP: 200}},
		{"HTML", 502, `<html>Bad Gateway`, client.Error{Code: client.CodeUnreadable, Description: "not of the API", HTTP: 502}},
		{"nothing", 500, ``, client.Error{Code: client.CodeUnreadable, Description: "not of the API", HTTP: 500}},
		{"nothing with HTTP 200", 200, ``, client.Error{Code: client.CodeUnreadable, Description: "not of the API", HTTP: 200}},
		{"success with HTTP 500", 500, okSession, client.Error{Code: client.CodeUnreadable, Description: "without an error", HTTP: 500}},
		{"another status", 200, `{"status":"maybe","session":{"id":"ps_1"}}`, client.Error{Code: client.CodeUnreadable, Description: `"maybe"`, HTTP: 200}},
		{"no session", 200, `{"status":"ok"}`, client.Error{Code: client.CodeUnreadable, Description: "without a session", HTTP: 200}},
		{"a list", 200, `[]`, client.Error{Code: client.CodeUnreadable, Description: "not of the API", HTTP: 200}},
		{"cut off", 200, okSession[:60], client.Error{Code: client.CodeUnreadable, Description: "not of the API", HTTP: 200}},
		{"endless", 200, `{"status":"` + strings.Repeat("x", 9<<20) + `"}`, client.Error{Code: client.CodeUnreadable, Description: "too long", HTTP: 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, _ := serve(t, tt.status, tt.body)
			s, err := open(t, url).Confirm(t.Context(), "ps_1")
			refusal, ok := errors.AsType[*client.Error](err)
			if !ok {
				t.Fatalf("%+v, %v", s, err)
			}
			if refusal.Code != tt.want.Code || refusal.HTTP != tt.want.HTTP || !strings.Contains(refusal.Description, tt.want.Description) {
				t.Errorf("%+v, want %+v", *refusal, tt.want)
			}
			if s.ID != "" {
				t.Errorf("a session beside the error: %+v", s)
			}
		})
	}
}

// A redirect could take a card number to another host.
func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere, last := serve(t, 200, okSession)
	s := httptest.NewServer(http.RedirectHandler(elsewhere, http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	_, err := open(t, s.URL).InitPayout(t.Context(), toCard)
	if refusal, ok := errors.AsType[*client.Error](err); !ok || refusal.HTTP != http.StatusTemporaryRedirect {
		t.Error(err)
	}
	if last().path != "" {
		t.Error("it was followed")
	}
}

// nobody is where no server listens.
const nobody = "http://127.0.0.1:1"

func TestDeadServer(t *testing.T) {
	_, err := open(t, nobody).InitPayout(t.Context(), toCard)
	if _, ok := errors.AsType[*client.Error](err); err == nil || ok {
		t.Errorf("%v, want an error of the transport", err)
	}
	if strings.Contains(err.Error(), "2200000000001317") {
		t.Errorf("the error shows the card: %v", err)
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server sees the client go only after the body
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	if _, err := open(t, s.URL).Status(ctx, "ps_1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTrace(t *testing.T) {
	url, last := serve(t, 200, okSession)
	var seen []client.Exchange
	c := open(t, url, client.WithTrace(func(e client.Exchange) { seen = append(seen, e) }))
	if _, err := c.Confirm(t.Context(), "ps_1"); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 {
		t.Fatalf("%d exchanges", len(seen))
	}
	e := seen[0]
	if e.Method != "POST" || e.Path != "/api/v2/session/confirm" || string(e.Request) != last().body || e.Status != 200 ||
		string(e.Response) != okSession || e.Header.Get(sign.HeaderSign) == "" {
		t.Errorf("%+v", e)
	}
}

// A call that got no answer is seen too: what was sent may have arrived.
func TestTraceOfNoAnswer(t *testing.T) {
	var seen []client.Exchange
	c := open(t, nobody, client.WithTrace(func(e client.Exchange) { seen = append(seen, e) }))
	if _, err := c.Confirm(t.Context(), "ps_1"); err == nil {
		t.Fatal("a dead server answered")
	}
	if len(seen) != 1 || seen[0].Status != 0 || string(seen[0].Request) != `{"session_id":"ps_1"}` {
		t.Errorf("%+v", seen)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, url, project string
		key                sign.PrivateKey
		options            []client.Option
	}{
		{"no address", "", "acme", key(), nil},
		{"no scheme", "127.0.0.1:8131", "acme", key(), nil},
		{"other scheme", "ftp://bank.example", "acme", key(), nil},
		{"no host", "http://", "acme", key(), nil},
		{"query", "http://bank.example/?a=b", "acme", key(), nil},
		{"no project", "http://bank.example", "", key(), nil},
		{"no key", "http://bank.example", "acme", sign.PrivateKey{}, nil},
		{"version 3", "http://bank.example", "acme", key(), []client.Option{client.WithVersion(3)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := client.New(tt.url, tt.project, tt.key, tt.options...); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestCardNumberIsNotPrinted(t *testing.T) {
	printed := fmt.Sprintf("%v %+v %s %d %x %#v", toCard.Details.Card.BankCard, *toCard.Details.Card.BankCard,
		toCard.Details.Card.BankCard.Number, toCard.Details.Card.BankCard.Number, toCard.Details.Card.BankCard.Number,
		*toCard.Details.Card.BankCard)
	if strings.Contains(printed, "1317") || !strings.Contains(printed, "[secret]") {
		t.Error(printed)
	}
}

// answers is a transport that answers with a status and body a call, the last
// ones again and again, and keeps the times of the calls. "" is a broken line.
type answers struct {
	bodies []string
	status []int
	at     []time.Time
}

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	n := min(len(a.at), len(a.bodies)-1)
	a.at = append(a.at, time.Now())
	if a.bodies[n] == "" {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: a.status[n], Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.bodies[n]))}, nil
}

func sessionIn(status, next string) string {
	return fmt.Sprintf(`{"status":"ok","session":{"id":"ps_1","status":%q,"next_action":%q,"created_at":"2026-03-02T09:15:04Z","updated_at":"2026-03-02T09:15:04Z"}}`, status, next)
}

func TestWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := `{"status":"error","error":{"code":"internal_error","description":"later"}}`
		a := &answers{
			bodies: []string{sessionIn("in_progress", ""), "", busy, sessionIn("in_progress", "confirm")},
			status: []int{200, 0, 503, 200},
		}
		c := open(t, "http://bank.example", client.WithHTTPClient(&http.Client{Transport: a}))
		s, err := c.WaitFor(t.Context(), "ps_1", client.AwaitsConfirm)
		if err != nil || s.NextAction != client.NextConfirm {
			t.Fatalf("%+v, %v", s, err)
		}
		if len(a.at) != 4 || a.at[3].Sub(a.at[0]) != 50*time.Millisecond+75*time.Millisecond+112500*time.Microsecond {
			t.Errorf("asked at %v", a.at)
		}
	})
}

func TestWaitForGapsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{bodies: []string{sessionIn("in_progress", "")}, status: []int{200}}
		c := open(t, "http://bank.example", client.WithHTTPClient(&http.Client{Transport: a}))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		s, err := c.WaitFor(ctx, "ps_1", client.Finished)
		if !errors.Is(err, context.DeadlineExceeded) || s.Status != client.SessionInProgress {
			t.Errorf("%+v, %v", s, err)
		}
		for i := 1; i < len(a.at); i++ {
			gap := a.at[i].Sub(a.at[i-1])
			if gap > 5*time.Second || i > 1 && gap < a.at[i-1].Sub(a.at[i-2]) {
				t.Fatalf("gap %d is %v", i, gap)
			}
		}
		if len(a.at) < 60 { // 5 minutes by 5 seconds
			t.Errorf("asked only %d times", len(a.at))
		}
	})
}

func TestWaitForEndsOnRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{bodies: []string{`{"status":"error","error":{"code":"invalid_request","description":"no such session"}}`}, status: []int{400}}
		c := open(t, "http://bank.example", client.WithHTTPClient(&http.Client{Transport: a}))
		_, err := c.WaitFor(t.Context(), "ps_1", client.Finished)
		if refusal, ok := errors.AsType[*client.Error](err); !ok || refusal.Code != client.CodeInvalid || len(a.at) != 1 {
			t.Errorf("%v after %d calls", err, len(a.at))
		}
	})
}

// A session in error is not at its end: it may still turn out paid.
func TestFinished(t *testing.T) {
	for status, want := range map[string]bool{
		client.SessionCreated: false, client.SessionInProgress: false, client.SessionError: false,
		client.SessionAccepted: true, client.SessionCancelled: true, "": false,
	} {
		if got := client.Finished(client.Session{Status: status}); got != want {
			t.Errorf("%q: %t", status, got)
		}
	}
}
