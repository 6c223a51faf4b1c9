package wire

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
)

// longDigits is what no text about a request may hold: it could be a part of a
// card number. Byte offsets are shorter.
var longDigits = regexp.MustCompile(`\d{8}`)

// FuzzParse: no body makes Parse panic or repeat a number from it, and what is
// taken is shown as JSON without nulls outside metadata and reads the same again.
func FuzzParse(f *testing.F) {
	for i := range Ops {
		for _, name := range []string{"create", "start", "init", "account", "verification", "confirm", "balance"} {
			f.Add(uint8(i), example(f, name+".request"))
		}
		f.Add(uint8(i), []byte(object(sessionPart, walletOf("yoomoney", `{"account":"4100110000131"}`), amountPart, `"metadata":[null]`)))
		f.Add(uint8(i), []byte(object(cardOf(`{"type":"bank_card","bank_card":{"number":"4242424242424243"}}`))))
		f.Add(uint8(i), []byte(`{"participant_details":{"x":[null,{"\u0061":[]}]},"customer":{"reference":"\ud83d\ude00"}}`))
		f.Add(uint8(i), []byte(`[]`))
		item := object(cardOf(`{"type":"bank_card","bank_card":{"number":"4242424242424242"}}`), amountPart, namePart, `"metadata":[null]`)
		f.Add(uint8(i), []byte(`{"payout_list":[`+item+`,null,{"custom_routing":{"tags":[{"root_tag":"a","values":[]}]}}]}`))
		f.Add(uint8(i), []byte(`{"payout_list":[`+item+`,{"payout_list":[`+item+`]}],"payment_list":[]}`))
		f.Add(uint8(i), []byte(`{"account_number":"40702810900000000131","date_from":"2026-03-02","date_to":"2026-03-02"}`))
	}
	project := &partner.Project{ControlKey: partner.Warn, INNCheck: partner.Reject, AccountPrefix: partner.Warn}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		op := Ops[int(n)%len(Ops)]
		r, err := Parse(op, 2, project, body)
		if err != nil {
			refusal, ok := errors.AsType[*fault.Error](err)
			switch {
			case !ok || refusal.Code != fault.Invalid || refusal.Text == "" || !utf8.ValidString(refusal.Text):
				t.Fatalf("refused with %#v", err)
			case longDigits.MatchString(err.Error()):
				t.Fatalf("the refusal repeats a number: %v", err)
			}
			return
		}
		if warnings := strings.Join(r.Warnings, " "); longDigits.MatchString(warnings) {
			t.Fatalf("a warning repeats a number: %s", warnings)
		}
		if r.PAN != "" && strings.Contains(string(appendInstrument(nil, r.Details.Instrument)), string(r.PAN)) {
			t.Fatal("the card number is shown")
		}
		for _, item := range r.Items {
			if item.PAN != "" && strings.Contains(string(appendInstrument(nil, item.Details.Instrument)), string(item.PAN)) {
				t.Fatal("the card number of an item is shown")
			}
		}
		s := &session.Session{ID: 1, State: session.Checking, Payouts: []session.Payout{{ID: 2, State: session.Checking, Details: r.Details}}}
		for _, v := range []session.Version{1, 2} {
			shown := Answer(s, v, nil)
			wantNoNulls(t, shown)
			if op == OpCreate && r.PAN == "" && len(r.Spent) == 0 {
				wantSame(t, v, s, shown)
			}
		}
	})
}

// wantSame reads an answer as a request for the same payout.
func wantSame(t *testing.T, v session.Version, s *session.Session, shown []byte) {
	t.Helper()
	var answer struct{ Session map[string]json.RawMessage }
	var payouts []json.RawMessage
	if err := json.Unmarshal(shown, &answer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer.Session[namesOf[v].list], &payouts); err != nil {
		t.Fatal(err)
	}
	again, err := Parse(OpCreate, v, nil, payouts[0])
	if err != nil {
		t.Fatalf("what was taken is refused when it is sent again: %v\n%s", err, shown)
	}
	c := s.Clone()
	c.Payouts[0].Details = again.Details
	wantBytes(t, Answer(c, v, nil), shown)
}
