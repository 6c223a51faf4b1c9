package wire

import (
	"encoding/json"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/internal/session"
)

// participantMembers are those of a sender or recipient (wire reference, core
// §2.8). Others are kept and echoed unread.
var participantMembers = map[string]check{
	"full_name": nameForm, "first_name": nameForm, "last_name": nameForm, "middle_name": nameForm,
	"company_name": nameForm, "reference": textForm, "tax_reference": textForm, "country_iso2": textForm,
	"country_iso3": textForm, "citizenship_country_iso_3": textForm, "city": textForm, "state": textForm,
	"postal_code": textForm, "street": textForm, "building": textForm, "flat": textForm, "address_line": textForm,
	"ipv4": ipv4Form, "ipv6": ipv6Form, "document": textForm, "date_of_birth": dateForm, "account": textForm,
	"currency": textForm, "bank_name": textForm, "swift_bic_code": textForm, "code": textForm,
	"registration_number": textForm, "date_of_incorporation": dateForm, "msisdn": textForm, "email": textForm,
	"description": textForm, "beneficiary_id": textForm, "wallet_id": textForm,
}

// documentMembers are those of identity_document.
var documentMembers = map[string]check{
	"id_type": textForm, "id_number": textForm, "id_expiration_date": dateForm, "issue_date": dateForm,
	"division_code": textForm, "issued_by": textForm,
}

// participants reads participant_details, with the recipient's name in one line,
// "" if it is not complete, and the account of the sender from which a payout is
// paid that is not paid from the wallet.
func (d *document) participants(of ref, into *session.Details) {
	at := d.member(of, participantDetails)
	if at == absent || !d.object(at) {
		return
	}
	for _, role := range []string{"sender", "recipient"} {
		who := d.member(at, role)
		if who == absent || !d.object(who) {
			continue
		}
		d.members(who, participantMembers)
		if papers := d.member(who, "identity_document"); papers != absent && d.object(papers) {
			d.members(papers, documentMembers)
		}
		switch {
		case role == "recipient":
			into.Recipient = d.fullName(who)
		case into.Source != "":
			into.Account = d.optional(who, "account", accountForm)
		}
	}
	into.Participants = d.echo(at)
}

// members checks what an object has against a table.
func (d *document) members(of ref, table map[string]check) {
	for at := d.nodes[of].first; at != absent; at = d.nodes[at].next {
		if wrong, ok := table[string(d.nodes[at].name)]; ok {
			d.checked(at, wrong)
		}
	}
}

// fullName is full_name, or else the surname, given name and patronymic, the
// last of which not everybody has; "" if neither is there.
func (d *document) fullName(of ref) string {
	word := func(name string) string {
		at := d.member(of, name)
		if at == absent || d.nodes[at].kind != jsontext.KindString {
			return ""
		}
		return strings.TrimSpace(string(unquote(d.nodes[at].raw)))
	}
	if full := word("full_name"); full != "" {
		return full
	}
	first, last := word("first_name"), word("last_name")
	if first == "" || last == "" {
		return ""
	}
	return strings.TrimSpace(last + " " + first + " " + word("middle_name"))
}

// customer reads the recipient as the partner knows him (wire reference, core §2.7).
func (d *document) customer(of ref) json.RawMessage {
	at := d.member(of, "customer")
	if at == absent || !d.object(at) {
		return nil
	}
	d.required(at, "reference", referenceForm)
	if contacts := d.member(at, "contacts"); contacts != absent {
		d.contacts(contacts)
	}
	return d.echo(at)
}

func (d *document) contacts(at ref) {
	if d.nodes[at].kind != jsontext.KindBeginArray {
		d.refuse(at, "must be an array")
		return
	}
	for at := d.nodes[at].first; at != absent; at = d.nodes[at].next {
		if !d.object(at) {
			continue
		}
		if d.member(at, "email") == absent && d.member(at, "phone") == absent {
			d.refuse(at, "must have email or phone")
		}
		d.optional(at, "email", emailForm)
		d.optional(at, "phone", textForm)
	}
}

// keptBytesMax is the most that a partner may hang on a payout in one member,
// compact (wire reference, core §7 no. 32).
const keptBytesMax = 64 << 10

// kept reads a member that is kept as it stands, such as metadata: any JSON, of
// which not even a digit is changed.
func (d *document) kept(of ref, name string) json.RawMessage {
	at := d.member(of, name)
	if at == absent {
		return nil
	}
	b := jsontext.Value(d.nodes[at].raw).Clone()
	if err := b.Compact(); err != nil {
		d.refuse(at, "is not valid JSON")
		return nil
	}
	if len(b) > keptBytesMax {
		d.refuse(at, "must be at most 64 KiB")
		return nil
	}
	return json.RawMessage(b)
}
