package sandbox

import (
	"errors"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/tax"
	"github.com/payoutd/payoutd/tax/taxtest"
)

// somebody is no magic INN.
const somebody = "500100732259"

func openWorld(t *testing.T) *World {
	t.Helper()
	w, err := Open(t.TempDir(), &Clock{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// innOf is the INN of an outcome.
func innOf(o Outcome) string {
	return people[slices.IndexFunc(people, func(p person) bool { return p.outcome == o })].inn()
}

func TestTaxService(t *testing.T) {
	taxtest.Run(t, func(t *testing.T) taxtest.Harness {
		dir := t.TempDir()
		var w *World
		shut := func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		open := func() tax.Service {
			var err error
			if w, err = Open(dir, &Clock{}); err != nil {
				t.Fatal(err)
			}
			return w.Tax()
		}
		service := open()
		t.Cleanup(func() { shut() })
		return taxtest.Harness{
			Service: service,
			Restart: func(*testing.T) tax.Service { shut(); return open() },
			Linked:  innOf(PersonLinked), Unlinked: innOf(NotLinked), Other: innOf(NotSelfEmployed), Year: 2026,
			Phone: byINN[innOf(NotLinked)].phone(), Strange: innOf(Mismatched), Notified: innOf(Notified),
			Decide: func(t *testing.T, inn string, allow bool) {
				if err := w.DecideLink(t.Context(), inn, allow); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// ask asks, and wants an answer at once.
func ask(t *testing.T, w *World, q tax.Question) tax.Answer {
	t.Helper()
	m, err := w.Tax().Ask(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.Tax().Answer(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func registration(inn, operation string, minor int64) tax.Question {
	return tax.Question{Kind: tax.Register, INN: inn, Operation: operation, Receipt: &tax.Income{
		At:       time.Date(2026, 6, 3, 9, 2, 11, 0, time.UTC),
		Services: []tax.Item{{Name: "Courier service, May", Amount: money.Amount{Minor: minor, Currency: money.RUB}, Quantity: 1}},
		Payer:    tax.Payer{Type: tax.PayerLegal, INN: "7704123450", Name: "OOO Sever"},
	}}
}

func TestMagicPeople(t *testing.T) {
	for _, tt := range []struct {
		outcome Outcome
		ask     tax.Question // without the INN
		want    tax.Answer
	}{
		{NotSelfEmployed, tax.Question{Kind: tax.GetStatus}, tax.Answer{}},
		{NotLinked, tax.Question{Kind: tax.GetStatus}, tax.Answer{SelfEmployed: true}},
		{PersonLinked, tax.Question{Kind: tax.GetStatus}, tax.Answer{SelfEmployed: true, Linked: true}},
		{PersonFailing, tax.Question{Kind: tax.GetStatus}, failed},
		{PersonFailing, tax.Question{Kind: tax.CountNotices}, failed},
		{NearLimit, tax.Question{Kind: tax.GetIncome, Year: 2026}, tax.Answer{Income: earned}},
		{NearLimit, tax.Question{Kind: tax.GetIncome, Year: 2031}, tax.Answer{Income: earned}},
		{NearLimit, registration("", "o", 1000_01), refused(tax.LimitExceeded)},
		{LimitLater, tax.Question{Kind: tax.GetIncome, Year: 2026}, tax.Answer{Income: money.Amount{Currency: money.RUB}}},
		{LimitLater, registration("", "o", 1), refused(tax.LimitExceeded)},
		{ReceiptNever, registration("", "o", 1), failed},
		{Mismatched, tax.Question{Kind: tax.ComparePerson, Person: &tax.Person{LastName: "A", FirstName: "B", Phone: "79990001310"}}, tax.Answer{Mismatched: []string{"last_name", "phone"}}},
		{PersonLinked, tax.Question{Kind: tax.ComparePerson, Person: &tax.Person{LastName: "A"}}, tax.Answer{}},
	} {
		t.Run(string(tt.outcome)+" "+string(tt.ask.Kind), func(t *testing.T) {
			q := tt.ask
			if q.INN = innOf(tt.outcome); q.Kind == tax.CountNotices {
				q.INN, q.INNs = "", []string{innOf(tt.outcome)}
			}
			got := ask(t, openWorld(t), q)
			if got.Refused != tt.want.Refused || got.SelfEmployed != tt.want.SelfEmployed || got.Linked != tt.want.Linked ||
				got.Income != tt.want.Income || !slices.Equal(got.Mismatched, tt.want.Mismatched) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// Of a person who withdraws between the check and the payout.
func TestUnlinkedLater(t *testing.T) {
	w, inn := openWorld(t), innOf(UnlinkedLater)
	status := tax.Question{Kind: tax.GetStatus, INN: inn}
	if a := ask(t, w, status); !a.Linked {
		t.Errorf("at first: %+v", a)
	}
	for range 2 {
		if a := ask(t, w, registration(inn, "o", 100)); a.Refused != tax.NotLinked {
			t.Errorf("a receipt: %+v", a)
		}
		if a := ask(t, w, status); a.Linked || !a.SelfEmployed {
			t.Errorf("then: %+v", a)
		}
	}
}

func TestTaxServiceIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWorld(t)
		m, err := w.Tax().Ask(t.Context(), tax.Question{Kind: tax.GetStatus, INN: innOf(Slow)})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if a, err := w.Tax().Answer(t.Context(), m); !errors.Is(err, tax.ErrPending) {
				t.Errorf("too early: %+v, %v", a, err)
			}
			time.Sleep(answerDelay / 3)
		}
		if a, err := w.Tax().Answer(t.Context(), m); err != nil || !a.Linked {
			t.Errorf("in time: %+v, %v", a, err)
		}
	})
}

func TestReceiptIsLate(t *testing.T) {
	w, inn := openWorld(t), innOf(ReceiptLate)
	late := func(operation string) {
		t.Helper()
		if m, err := w.Tax().Ask(t.Context(), registration(inn, operation, 100)); fault.CodeOf(err) != "npd_service_internal_error" {
			t.Errorf("the service is there: %q, %v", m, err)
		}
	}
	late("o")
	late("o")
	if err := w.clock.Advance(receiptDelay); err != nil {
		t.Fatal(err)
	}
	if a := ask(t, w, registration(inn, "o", 100)); a.Registered == nil {
		t.Errorf("the service is not there: %+v", a)
	}
	late("another")
	if a := ask(t, w, tax.Question{Kind: tax.GetIncome, INN: inn, Year: 2026}); a.Income.Minor != 100 {
		t.Errorf("earned: %+v", a)
	}
}

func TestReceiptIsLost(t *testing.T) {
	w, inn := openWorld(t), innOf(ReceiptLost)
	if _, err := w.Tax().Ask(t.Context(), registration(inn, "o", 100)); fault.CodeOf(err) != "npd_service_internal_error" {
		t.Fatalf("the answer came: %v", err)
	}
	if a := ask(t, w, tax.Question{Kind: tax.GetIncome, INN: inn, Year: 2026}); a.Income.Minor != 100 {
		t.Errorf("earned: %+v", a)
	}
	if a := ask(t, w, registration(inn, "o", 100)); a.Registered == nil {
		t.Errorf("asked again: %+v", a)
	}
	list, err := w.Receipts(t.Context())
	if err != nil || len(list) != 1 {
		t.Errorf("the receipts are %+v, %v", list, err)
	}
}

func TestTaxServiceBreaks(t *testing.T) {
	w, inn := openWorld(t), innOf(LinkBroken)
	for _, q := range []tax.Question{
		{Kind: tax.GetStatus, INN: inn},
		{Kind: tax.Link, INN: inn},
		{Kind: tax.Link, Phone: byINN[inn].phone()},
		{Kind: tax.ReadNotices, INNs: []string{somebody, inn}},
		registration(inn, "o", 1),
	} {
		if m, err := w.Tax().Ask(t.Context(), q); fault.CodeOf(err) != "npd_service_internal_error" {
			t.Errorf("%s: %q, %v", q.Kind, m, err)
		}
	}
}

func TestQuestionsThatCannotBeAsked(t *testing.T) {
	w := openWorld(t)
	line := tax.Item{Name: "A", Amount: money.Amount{Minor: 1, Currency: money.RUB}, Quantity: 1}
	services := func(change func(*tax.Income)) tax.Question {
		q := registration(somebody, "o", 1)
		change(q.Receipt)
		return q
	}
	for name, q := range map[string]tax.Question{
		"nothing":              {},
		"no INN":               {Kind: tax.GetStatus},
		"a company's INN":      {Kind: tax.GetStatus, INN: "7704123450"},
		"letters":              {Kind: tax.GetIncome, INN: "77291234569X"},
		"INN and phone":        {Kind: tax.Link, INN: somebody, Phone: "79990001310"},
		"neither":              {Kind: tax.Link},
		"a short phone":        {Kind: tax.Link, Phone: "7999"},
		"notifications of all": {Kind: tax.CountNotices, INNs: []string{""}},
		"nobody to compare":    {Kind: tax.ComparePerson, INN: somebody},
		"no operation":         registration(somebody, "", 1),
		"a long operation":     registration(somebody, strings.Repeat("o", 65), 1),
		"no receipt":           {Kind: tax.Register, INN: somebody, Operation: "o"},
		"nothing done":         services(func(i *tax.Income) { i.Services = nil }),
		"seven services":       services(func(i *tax.Income) { i.Services = slices.Repeat([]tax.Item{line}, 7) }),
		"no kopeck":            registration(somebody, "o", 0),
		"less than nothing":    registration(somebody, "o", -1),
		"no piece":             services(func(i *tax.Income) { i.Services[0].Quantity = 0 }),
		"too much":             services(func(i *tax.Income) { i.Services[0].Amount.Minor, i.Services[0].Quantity = money.MinorMax, 2 }),
		"too much together": services(func(i *tax.Income) {
			i.Services = []tax.Item{line, line}
			i.Services[0].Amount.Minor = money.MinorMax
		}),
		"dollars": services(func(i *tax.Income) { i.Services[0].Amount.Currency = money.USD }),
	} {
		if m, err := w.Tax().Ask(t.Context(), q); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %q, %v", name, m, err)
		}
	}
}

// A copy of the files of a world that is still running is what a killed process
// leaves behind: all that was answered is in it.
func TestKilledTaxServiceTellsTheTruth(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	defer shut(t, w)
	request := ask(t, w, tax.Question{Kind: tax.Link, INN: somebody}).Request
	m, err := w.Tax().Ask(t.Context(), registration(innOf(PersonLinked), "o", 100))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Tax().Ask(t.Context(), registration(innOf(ReceiptLost), "lost", 200)) // fails, and has happened
	before, err := w.Receipts(t.Context())
	if err != nil || len(before) != 2 {
		t.Fatalf("%+v, %v", before, err)
	}

	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	after := open(t, left)
	defer shut(t, after)
	if got, err := after.Receipts(t.Context()); err != nil || !slices.Equal(got, before) {
		t.Errorf("the receipts are %+v, %v; they were %+v", got, err, before)
	}
	if a, err := after.Tax().Answer(t.Context(), m); err != nil || a.Registered == nil || *a.Registered != before[0] {
		t.Errorf("the answer is %+v, %v", a, err)
	}
	for n, q := range []tax.Question{registration(innOf(PersonLinked), "o", 100), registration(innOf(ReceiptLost), "lost", 200)} {
		if a := ask(t, after, q); a.Registered == nil || *a.Registered != before[n] {
			t.Errorf("asked again: %+v, want %+v", a, before[n])
		}
	}
	if a := ask(t, after, tax.Question{Kind: tax.GetIncome, INN: innOf(PersonLinked), Year: 2026}); a.Income.Minor != 100 {
		t.Errorf("earned: %+v", a)
	}
	if a := ask(t, after, tax.Question{Kind: tax.GetLink, Request: request}); a.Link != tax.LinkRequested {
		t.Errorf("the request: %+v", a)
	}
}

// Old answers are forgotten, receipts are not.
func TestMessagesEnd(t *testing.T) {
	w := openWorld(t)
	m, err := w.Tax().Ask(t.Context(), registration(innOf(PersonLinked), "o", 100))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.clock.Advance(messageLife + time.Second); err != nil {
		t.Fatal(err)
	}
	if a := ask(t, w, registration(innOf(PersonLinked), "o", 100)); a.Registered == nil {
		t.Errorf("the receipt: %+v", a)
	}
	if _, err := w.Tax().Answer(t.Context(), m); !errors.Is(err, tax.ErrNoMessage) {
		t.Errorf("an old message: %v", err)
	}
}

func TestLink(t *testing.T) {
	for _, tt := range []struct {
		name, inn string
		answer    func(*testing.T, *World) // of the person
		want      tax.LinkState
	}{
		{"nobody answers", somebody, nil, tax.LinkRequested},
		{"confirmed by hand", somebody, func(t *testing.T, w *World) { decide(t, w, true) }, tax.LinkConfirmed},
		{"declined by hand", somebody, func(t *testing.T, w *World) { decide(t, w, false) }, tax.LinkRejected},
		{"confirmed by its INN", innOf(LinkConfirmed), nil, tax.LinkConfirmed},
		{"declined by its INN", innOf(LinkRejected), nil, tax.LinkRejected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := openWorld(t)
			if a := ask(t, w, tax.Question{Kind: tax.GetStatus, INN: tt.inn}); a.Linked {
				t.Fatalf("before the request: %+v", a)
			}
			request := ask(t, w, tax.Question{Kind: tax.Link, INN: tt.inn}).Request
			if tt.answer != nil {
				tt.answer(t, w)
			}
			for range 2 {
				a := ask(t, w, tax.Question{Kind: tax.GetLink, Request: request})
				if a.Link != tt.want || a.INN != tt.inn {
					t.Errorf("%+v; want %s", a, tt.want)
				}
			}
			if a := ask(t, w, tax.Question{Kind: tax.GetStatus, INN: tt.inn}); a.Linked != (tt.want == tax.LinkConfirmed) {
				t.Errorf("after the request: %+v", a)
			}
		})
	}
}

func decide(t *testing.T, w *World, allow bool) {
	t.Helper()
	if err := w.DecideLink(t.Context(), somebody, allow); err != nil {
		t.Fatal(err)
	}
}

func TestLinkOnceMore(t *testing.T) {
	w := openWorld(t)
	if err := w.DecideLink(t.Context(), somebody, true); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("an answer to no request: %v", err)
	}
	request := func() string { return ask(t, w, tax.Question{Kind: tax.Link, INN: somebody}).Request }
	first := request()
	if again := request(); again != first {
		t.Error("a request that waits is not asked again")
	}
	decide(t, w, false)
	if err := w.DecideLink(t.Context(), somebody, true); fault.CodeOf(err) != fault.WrongState {
		t.Errorf("a second answer: %v", err)
	}
	if err := w.Unlink(t.Context(), somebody); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("taking back what was not given: %v", err)
	}
	if second := request(); second == first {
		t.Error("a request that was declined is the same again")
	}
	decide(t, w, true)
	if err := w.Unlink(t.Context(), somebody); err != nil {
		t.Error(err)
	}
	if a := ask(t, w, tax.Question{Kind: tax.GetStatus, INN: somebody}); a.Linked {
		t.Errorf("after taking it back: %+v", a)
	}
}

func TestPersonValues(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range PersonValues() {
		if v.Kind != "inn" || !instrument.INN(v.Value) || len(v.Value) != 12 || v.Description == "" || v.ErrorCode != "" && !fault.Known(v.ErrorCode) || seen[v.Value] {
			t.Errorf("%+v", v)
		}
		seen[v.Value] = true
	}
}

func TestTaxOverHTTP(t *testing.T) {
	w := openWorld(t)
	handler := Handler(Site{Clock: w.clock, Inbox: NewInbox(w.clock.Now), World: w})
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"no requests", http.MethodGet, "/sandbox/tax", "", 200, "[]"},
		{"answer to none", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"confirm"}`, 400, "no request to link"},
		{"nonsense", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"maybe"}`, 400, "confirm"},
		{"no JSON", http.MethodPost, "/sandbox/tax/" + somebody, `confirm`, 400, "confirm"},
		{"ask", "", "", "", 0, ""},
		{"listed", http.MethodGet, "/sandbox/tax", "", 200, `"tax_reference":"` + somebody + `","state":"requested"`},
		{"confirmed", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"confirm"}`, 200, `"ok"`},
		{"answered before", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"reject"}`, 400, "was answered"},
		{"listed as linked", http.MethodGet, "/sandbox/tax", "", 200, `"state":"linked"`},
		{"taken back", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"unlink"}`, 200, `"ok"`},
		{"taken back before", http.MethodPost, "/sandbox/tax/" + somebody, `{"decision":"unlink"}`, 400, "not linked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.method == "" {
				ask(t, w, tax.Question{Kind: tax.Link, INN: somebody})
				return
			}
			r := request(handler, tt.method, tt.path, tt.body, nil)
			if r.Code != tt.status || !strings.Contains(r.Body.String(), tt.want) {
				t.Errorf("%d %s", r.Code, r.Body)
			}
		})
	}
}

func TestReceiptPage(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, &Clock{}, WithOrigin("https://box.example:8131"), WithSeed("receipt"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	handler := Handler(Site{Clock: w.clock, Inbox: NewInbox(w.clock.Now), World: w})
	inn := innOf(PersonLinked)
	q := registration(inn, "o", 1_234_567)
	q.Receipt.Services = append(q.Receipt.Services, tax.Item{Name: `<b>"Parking" & more`, Amount: money.Amount{Minor: 5, Currency: money.RUB}, Quantity: 3})
	r := ask(t, w, q).Registered
	path, ours := strings.CutPrefix(r.Link, "https://box.example:8131")
	if !ours {
		t.Fatalf("the link is %s", r.Link)
	}
	page := func() string {
		t.Helper()
		got := request(handler, http.MethodGet, path, "", nil)
		if got.Code != 200 || !strings.HasPrefix(got.Header().Get("Content-Type"), "text/html") || !strings.Contains(got.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatalf("%d %v", got.Code, got.Header())
		}
		return got.Body.String()
	}
	text := page()
	for _, want := range []string{
		"Чек № " + r.ID, "03.06.2026", "12:02 (&#43;03:00)", "Courier service, May", "12\u00a0345,67\u00a0₽", "3 × 0,05\u00a0₽", "0,15\u00a0₽",
		"12\u00a0345,82\u00a0₽", "НПД", inn, "7704123450", "OOO Sever", "&lt;b&gt;&#34;Parking&#34; &amp; more", "Чек сформировал", "<svg",
	} {
		if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, "&#43;", "+")) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(text, "аннулирован") || regexp.MustCompile(`<script|style=|\son\w+=`).MatchString(text) {
		t.Error("the page has what it should not")
	}
	ask(t, w, tax.Question{Kind: tax.Cancel, INN: inn, Operation: "c", ReceiptID: r.ID, Reason: tax.ReasonRefund})
	if text := page(); !strings.Contains(text, "Чек аннулирован") || !strings.Contains(text, "Возврат средств") {
		t.Error("the page does not say that the receipt is cancelled, and why")
	}
	for path, status := range map[string]int{
		"/sandbox/receipts/" + inn + "/0000000000/print":              404,
		"/sandbox/receipts/" + somebody + "/" + r.ID + "/print":       404,
		"/sandbox/receipts/" + inn + "/" + r.ID:                       404,
		"/sandbox/receipts/style.css":                                 200,
		"/sandbox/receipts/" + inn + "/%27%20OR%201%20--%20/print":    404,
		"/sandbox/receipts/%3Cscript%3E/" + r.ID + "/print?x=<script": 404,
	} {
		if got := request(handler, http.MethodGet, path, "", nil); got.Code != status || status == 404 && strings.Contains(got.Body.String(), "<script") {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
}

func TestRoubles(t *testing.T) {
	for minor, want := range map[int64]string{
		0: "0,00 ₽", 5: "0,05 ₽", 100: "1,00 ₽", 99_999: "999,99 ₽", 100_000: "1 000,00 ₽", 240_000_000: "2 400 000,00 ₽",
	} {
		if got := strings.ReplaceAll(roubles(minor), "\u00a0", " "); got != want {
			t.Errorf("%d: %s, want %s", minor, got, want)
		}
	}
}

func TestDocsListEveryINN(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range PersonValues() {
		code := ""
		if v.ErrorCode != "" {
			code = "`" + string(v.ErrorCode) + "`"
		}
		if row := "| `" + v.Value + "` | `" + string(v.Outcome) + "` | " + code + " | " + v.Description + " |"; !strings.Contains(string(text), row) {
			t.Errorf("%s has no row %s", docs, row)
		}
	}
}
