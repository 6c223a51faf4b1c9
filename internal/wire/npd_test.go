package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/tax"
)

func TestParseNPD(t *testing.T) {
	const inn = "772912345698"
	for _, c := range []struct {
		name string
		op   Op
		body string
		want Request
	}{
		{"check", OpNPDCheck, `{"tax_reference":"` + inn + `","stray":[1]}`, Request{Question: tax.Question{Kind: tax.GetStatus, INN: inn}}},
		{"status", OpNPDStatus, `{"request_id":"npd-7300451"}`, Request{NPD: 7300451}},
		{
			"person in parts", OpNPDPerson, `{"tax_reference":"` + inn + `","last_name":"Orlov","first_name":"Pavel","middle_name":"","phone":"79990001310"}`,
			Request{Question: tax.Question{Kind: tax.ComparePerson, INN: inn, Person: &tax.Person{LastName: "Orlov", FirstName: "Pavel", Phone: "79990001310"}}},
		},
		{
			"person whole", OpNPDPerson, `{"tax_reference":"` + inn + `","full_name":" Мамедов  Эльчин Али оглы ","last_name":null,"phone":"79990001310"}`,
			Request{Question: tax.Question{Kind: tax.ComparePerson, INN: inn, Person: &tax.Person{
				LastName: "Мамедов", FirstName: "Эльчин", MiddleName: "Али оглы", Phone: "79990001310",
			}}},
		},
		{
			"count", OpNotices, `{"tax_references":["` + inn + `","771310005942","` + inn + `"]}`,
			Request{Question: tax.Question{Kind: tax.CountNotices, INNs: []string{inn, "771310005942"}}},
		},
		{"read", OpRead, `{"tax_references":["` + inn + `"]}`, Request{Question: tax.Question{Kind: tax.ReadNotices, INNs: []string{inn}}}},
		{
			"shown", OpDelivered, `{"notifications":[{"tax_reference":"` + inn + `","message_id_list":["n-1"]},{"tax_reference":"771310005942"},{"tax_reference":"` + inn + `","message_id_list":["n-2"]}]}`,
			Request{Question: tax.Question{Kind: tax.DeliverNotices, Delivered: map[string][]string{inn: {"n-1", "n-2"}}}},
		},
		{
			"understood", OpUpdate, `{"notifications":[{"tax_reference":"` + inn + `","message_id_list":[]}]}`,
			Request{Question: tax.Question{Kind: tax.AcknowledgeNotices, Delivered: map[string][]string{}}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.op, 1, nil, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestParseNPDRefuses(t *testing.T) {
	inns := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`"%012d"`, i)
		}
		return `{"tax_references":[` + strings.Join(list, ",") + `]}`
	}
	letters := func(n int) string {
		return `{"notifications":[{"tax_reference":"772912345698","message_id_list":["n"` + strings.Repeat(`,"n"`, n-1) + `]}]}`
	}
	if _, err := Parse(OpNotices, 1, nil, []byte(inns(peopleMax))); err != nil {
		t.Errorf("as many people as there may be: %v", err)
	}
	if _, err := Parse(OpUpdate, 1, nil, []byte(letters(lettersMax))); err != nil {
		t.Errorf("as many notifications as there may be: %v", err)
	}
	for _, c := range []struct {
		name       string
		op         Op
		body, want string
	}{
		{"too many people", OpNotices, inns(peopleMax + 1), "tax_references: must have at most 100 elements"},
		{"too many notifications", OpUpdate, letters(lettersMax + 1), "notifications: must have at most 1000 notifications"},
		{"no INN", OpNPDCheck, `{}`, "tax_reference: required"},
		{"spaces", OpNPDCheck, `{"tax_reference":" 772912345698"}`, "tax_reference: must be 12 digits"},
		{"other digits", OpNPDCheck, `{"tax_reference":"٧٧٢٩١٢٣٤٥٦٩٨"}`, "tax_reference: must be 12 digits"},
		{"no number", OpNPDStatus, `{"request_id":"npd-"}`, "request_id: no such request"},
		{"a session", OpNPDStatus, `{"request_id":"ps_7300451"}`, "request_id: no such request"},
		{"a blank name", OpNPDPerson, `{"tax_reference":"772912345698","phone":"79990001310","full_name":"  "}`, "full_name: must not be blank"},
		{"a name of one word", OpNPDPerson, `{"tax_reference":"772912345698","phone":"79990001310","full_name":"Orlov"}`, "full_name: must be a last name and a first name, in this order"},
		{"a foreign phone", OpNPDPerson, `{"tax_reference":"772912345698","phone":"49990001310","full_name":"Orlov Pavel"}`, "phone: must be 11 digits, the first of them 7"},
		{"no array", OpRead, `{"tax_references":"772912345698"}`, "tax_references: must be an array with at least one element"},
		{"nobody", OpDelivered, `{"notifications":[{"message_id_list":["n-1"]}]}`, "notifications[0].tax_reference: required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.op, 1, nil, []byte(c.body))
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || e.Code != fault.Invalid || e.Text != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// What the service says goes to partners as it is. A list of what is wrong is
// there where nothing is, too.
func TestNPDAnswers(t *testing.T) {
	at := time.Date(2026, 6, 2, 7, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"taken", NPDAsked(7300451), `{"status":"ok","request_id":"npd-7300451"}`},
		{"pending", NPDPending(), `{"status":"pending"}`},
		{"nobody", NPDAnswer(tax.GetStatus, tax.Answer{}), `{"status":"ok","is_professional_income_taxpayer":false,"is_linked":false}`},
		{"as it should be", NPDAnswer(tax.ComparePerson, tax.Answer{}), `{"status":"ok","mismatched_fields":[]}`},
		{"not so", NPDAnswer(tax.ComparePerson, tax.Answer{Mismatched: []string{"last_name", `"`}}), `{"status":"ok","mismatched_fields":["last_name","\""]}`},
		{
			"refused", NPDAnswer(tax.ComparePerson, tax.Answer{Refused: tax.NotTaxpayer, Text: "их слова"}),
			`{"status":"error","error":{"code":"taxpayer_unknown","description":"the INN does not belong to a self-employed person"}}`,
		},
		{"no people", Notices(tax.CountNotices, tax.Answer{}), `{"status":"ok","notifications":[]}`},
		{"shown", Notices(tax.DeliverNotices, tax.Answer{}), `{"status":"ok"}`},
		{
			"read", Notices(tax.ReadNotices, tax.Answer{Notices: []tax.Notices{
				{INN: "1", Texts: []tax.Notice{{ID: "n-1", Title: "A", Message: "B\n\x00", Status: tax.NoticeNew, At: at}, {ID: "n-2"}}}, {INN: "2"},
			}}), `{"status":"ok","notifications":[{"tax_reference":"1","notifications":[{"id":"n-1","title":"A","message":"B\n\u0000","status":"NEW",` +
				`"created_at":"2026-06-02T07:00:00.000000Z"},{"id":"n-2"}]},{"tax_reference":"2"}]}`,
		},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, c.got, c.want)
		}
	}
}

// FuzzParseNPD: whatever comes, what is taken is what the tax service can be
// asked, and what is refused is not repeated.
func FuzzParseNPD(f *testing.F) {
	ops := []Op{OpNPDCheck, OpNPDPerson, OpNPDStatus, OpNotices, OpRead, OpDelivered, OpUpdate}
	for i := range ops {
		f.Add(uint8(i), []byte(`{"tax_reference":"772912345698","full_name":"Orlov Pavel Ilyich","phone":"79990001310"}`))
		f.Add(uint8(i), []byte(`{"tax_reference":"772912345698","last_name":"Orlov","first_name":"Pavel","phone":"79990001310"}`))
		f.Add(uint8(i), []byte(`{"request_id":"npd-7300451"}`))
		f.Add(uint8(i), []byte(`{"tax_references":["772912345698",null,7]}`))
		f.Add(uint8(i), []byte(`{"notifications":[{"tax_reference":"772912345698","message_id_list":["n-1","\u0000"]}]}`))
		f.Add(uint8(i), []byte(`[]`))
	}
	people := func(t *testing.T, inns ...string) {
		for _, inn := range inns {
			if len(inn) != 12 || strings.Trim(inn, "0123456789") != "" {
				t.Fatalf("%q is no INN of a person", inn)
			}
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		op := ops[int(n)%len(ops)]
		r, err := Parse(op, 1, nil, body)
		if err != nil {
			refusal, ok := errors.AsType[*fault.Error](err)
			if !ok || refusal.Code != fault.Invalid || refusal.Text == "" || longDigits.MatchString(err.Error()) {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		q := r.Question
		switch op {
		case OpNPDCheck:
			people(t, q.INN)
		case OpNPDPerson:
			people(t, q.INN)
			if q.Person.LastName == "" || q.Person.FirstName == "" || len(q.Person.Phone) != 11 {
				t.Fatalf("the person is %+v", q.Person)
			}
		case OpNPDStatus:
			if r.NPD <= 0 {
				t.Fatalf("the request is %d", r.NPD)
			}
		case OpNotices, OpRead:
			people(t, q.INNs...)
			if len(q.INNs) == 0 || len(q.INNs) > peopleMax {
				t.Fatalf("%d people", len(q.INNs))
			}
		default:
			for inn, list := range q.Delivered {
				people(t, inn)
				if len(list) == 0 || len(list) > lettersMax {
					t.Fatalf("%d notifications", len(list))
				}
			}
		}
	})
}
