package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/tax"
)

// Bounds of what one request asks the tax service.
const (
	peopleMax  = 100
	lettersMax = 1000 // notifications of all people together
)

// knownToNPD are the members that questions to the tax service look into.
var knownToNPD = map[string]look{
	"request_id": inside, "tax_reference": inside, "tax_references": inside, "notifications": inside,
	"last_name": inside, "first_name": inside, "middle_name": inside, "full_name": inside, "phone": inside,
}

var (
	personPhone = matching(`7\d{10}`, "must be 11 digits, the first of them 7")
	partForm    = filled(line(1, 255))
	letterForm  = line(1, 64)
)

// npd reads what is asked of the tax service (wire reference, extensions §3.2
// to §3.6).
func (d *document) npd(op Op) (q tax.Question) {
	switch op {
	case OpNPDCheck:
		q.Kind, q.INN = tax.GetStatus, d.required(root, "tax_reference", personINN)
	case OpNPDPerson:
		q.Kind, q.INN = tax.ComparePerson, d.required(root, "tax_reference", personINN)
		q.Person = d.person()
	case OpNotices, OpRead:
		if q.Kind = tax.CountNotices; op == OpRead {
			q.Kind = tax.ReadNotices
		}
		q.INNs = d.people()
	case OpDelivered, OpUpdate:
		if q.Kind = tax.DeliverNotices; op == OpUpdate {
			q.Kind = tax.AcknowledgeNotices
		}
		q.Delivered = d.delivered()
	}
	return q
}

// npdRequest reads request_id.
func (d *document) npdRequest() id.NPDRequest {
	at := d.member(root, "request_id")
	if at == absent {
		d.missing(root, "request_id")
		return 0
	}
	s, ok := d.text(at)
	if !ok {
		return 0
	}
	n, err := id.ParseNPDRequest(s)
	if err != nil {
		d.refuse(at, "no such request") // as one that has ended
	}
	return n
}

// person reads a name, in parts or whole, and a phone. The parts are what the
// service compares.
func (d *document) person() *tax.Person {
	p := &tax.Person{Phone: d.required(root, "phone", personPhone)}
	whole := d.member(root, "full_name")
	if whole == absent {
		p.LastName = d.required(root, "last_name", partForm)
		p.FirstName = d.required(root, "first_name", partForm)
		p.MiddleName = d.optional(root, "middle_name", nameForm)
		return p
	}
	for _, part := range []string{"last_name", "first_name", "middle_name"} {
		if d.member(root, part) != absent {
			d.refuse(whole, "must not stand beside its parts")
			return p
		}
	}
	words := strings.Fields(d.checked(whole, partForm))
	switch {
	case len(words) >= 2:
		p.LastName, p.FirstName, p.MiddleName = words[0], words[1], strings.Join(words[2:], " ")
	case len(words) == 1:
		d.refuse(whole, "must be a last name and a first name, in this order")
	}
	return p
}

// filledArray reads an array that must be there and not be empty.
func (d *document) filledArray(of ref, name string) ref {
	at := d.member(of, name)
	switch {
	case at == absent:
		d.missing(of, name)
		return absent
	case d.nodes[at].kind != jsontext.KindBeginArray || d.nodes[at].first == absent:
		d.refuse(at, "must be an array with at least one element")
		return absent
	}
	return at
}

// people reads INNs, each once however often it was sent.
func (d *document) people() (inns []string) {
	at := d.filledArray(root, "tax_references")
	if at == absent {
		return nil
	}
	seen := map[string]bool{}
	n := 0
	for e := d.nodes[at].first; e != absent; e = d.nodes[e].next {
		if n++; n > peopleMax {
			d.refuse(at, fmt.Sprintf("must have at most %d elements", peopleMax))
			return inns
		}
		if inn := d.checked(e, personINN); inn != "" && !seen[inn] {
			seen[inn] = true
			inns = append(inns, inn)
		}
	}
	return inns
}

// delivered reads which notifications came to whom.
func (d *document) delivered() map[string][]string {
	at := d.filledArray(root, "notifications")
	if at == absent {
		return nil
	}
	all := map[string][]string{}
	n, people := 0, 0
	for e := d.nodes[at].first; e != absent; e = d.nodes[e].next {
		if people++; people > peopleMax {
			d.refuse(at, fmt.Sprintf("must have at most %d elements", peopleMax))
			return all
		}
		if !d.object(e) {
			continue
		}
		inn := d.required(e, "tax_reference", personINN)
		list := d.member(e, "message_id_list") // may be left out
		if list == absent {
			continue
		}
		if d.nodes[list].kind != jsontext.KindBeginArray {
			d.refuse(list, "must be an array")
			continue
		}
		for m := d.nodes[list].first; m != absent; m = d.nodes[m].next {
			if n++; n > lettersMax {
				d.refuse(at, fmt.Sprintf("must have at most %d notifications", lettersMax))
				return all
			}
			if letter := d.checked(m, letterForm); letter != "" && inn != "" {
				all[inn] = append(all[inn], letter)
			}
		}
	}
	return all
}

// NPDAsked writes the answer to a question that was taken.
func NPDAsked(n id.NPDRequest) []byte {
	b := append([]byte(nil), `{"status":"ok"`...)
	b = appendMember(b, "request_id", n.String())
	return append(b, '}')
}

// NPDPending writes that the tax service has not answered.
func NPDPending() []byte { return []byte(`{"status":"pending"}`) }

// NPDAnswer writes what the tax service has answered to a question of a kind. A
// refusal is an answer too: its status is error, and the request has not failed.
func NPDAnswer(k tax.Kind, a tax.Answer) []byte {
	if a.Refused != "" {
		b := append([]byte(nil), `{"status":"error"`...)
		return append(appendError(b, fault.Code(a.Refused), ""), '}')
	}
	b := append([]byte(nil), `{"status":"ok"`...)
	if k == tax.ComparePerson {
		b = append(appendName(b, "mismatched_fields"), '[')
		for i, name := range a.Mismatched {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, name)
		}
		return append(b, "]}"...)
	}
	b = strconv.AppendBool(appendName(b, "is_professional_income_taxpayer"), a.SelfEmployed)
	b = strconv.AppendBool(appendName(b, "is_linked"), a.Linked)
	return append(b, '}')
}

// Notices writes the answer about notifications to a question of a kind.
func Notices(k tax.Kind, a tax.Answer) []byte {
	b := append([]byte(nil), `{"status":"ok"`...)
	if k != tax.CountNotices && k != tax.ReadNotices {
		return append(b, '}')
	}
	b = append(appendName(b, "notifications"), '[')
	for i, n := range a.Notices {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(append(b, '{'), "tax_reference", n.INN)
		if k == tax.CountNotices {
			b = strconv.AppendInt(appendName(b, "count"), int64(n.Count), 10)
		} else if len(n.Texts) > 0 {
			b = appendLetters(b, n.Texts)
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

func appendLetters(b []byte, letters []tax.Notice) []byte {
	b = append(appendName(b, "notifications"), '[')
	for i, n := range letters {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(append(b, '{'), "id", n.ID)
		b = appendMember(b, "title", n.Title)
		b = appendMember(b, "message", n.Message)
		b = appendMember(b, "status", n.Status)
		b = append(appendTime(b, "created_at", n.At), '}')
	}
	return append(b, ']')
}
