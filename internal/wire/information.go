package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/session"
)

// sourced checks that a payout from an account of the project's own says from
// which, and for whom where the money on it is not the project's (wire
// reference, core §2.8).
func (d *document) sourced(details *session.Details, of ref) {
	if details.Source == "" {
		return
	}
	if path := d.under(of, SenderAccount); details.Account == "" && !d.violated(path) {
		d.violate(path, isRequired)
	}
	if details.Source != instrument.Nominal {
		return
	}
	var who struct {
		Sender, Recipient struct {
			Beneficiary json.RawMessage `json:"beneficiary_id"`
		}
	}
	if details.Participants != nil && json.Unmarshal(details.Participants, &who) != nil {
		return // it was found wrong already
	}
	i := details.Instrument
	if len(who.Sender.Beneficiary) == 0 && i != nil && i.Account != nil {
		d.violate(d.under(of, participantDetails+".sender.beneficiary_id"), isRequired)
	}
	if len(who.Recipient.Beneficiary) == 0 {
		d.violate(d.under(of, participantDetails+".recipient.beneficiary_id"), isRequired)
	}
}

// appendInformation appends confirm_information, which stands beside a session as
// long as it awaits confirm and is to be sent back then: account_details of a
// payout from a settlement account, transfer_details from an escrow account
// (wire reference, extensions §4.3; core §7 no. 18).
func appendInformation(b []byte, s *session.Session, v session.Version) []byte {
	p := s.Informed()
	if p == nil || s.Show().NextAction != "confirm" {
		return b
	}
	b = append(appendName(b, confirmInformation), '{')
	if p.Details.Source == instrument.RKO {
		b = append(appendName(b, "account_details"), '{')
		b = appendParty(b, "sender", p.Transfer.Sender, true)
		b = appendParty(b, "recipient", p.Transfer.Recipient, true)
		return append(b, "}}"...)
	}
	b = append(appendName(b, "transfer_details"), '{')
	b = appendParty(b, "customer", p.Transfer.Sender, false)
	b = appendParty(b, "recipient", p.Transfer.Recipient, false)
	b = appendMember(b, "purpose", p.Transfer.Purpose)
	if a := p.Amount(); a != nil {
		b = appendAmount(b, "amount", *a)
	}
	b = appendInstrument(appendName(b, namesOf[v].details), p.Details.Instrument)
	return append(b, "}}"...)
}

// appendParty appends a side of a transfer; only settlement accounts show its
// tax numbers.
func appendParty(b []byte, name string, p session.Party, tax bool) []byte {
	b = append(appendName(b, name), '{')
	b = appendMember(b, accountNumber, p.Account)
	b = appendMember(b, "name", p.Name)
	b = appendMember(b, "bank_name", p.BankName)
	b = appendMember(b, "bik", p.BIK)
	b = appendMember(b, "correspondent_account_number", p.Correspondent)
	if tax {
		b = appendMember(b, "inn", p.INN)
		b = appendMember(b, "kpp", p.KPP)
	}
	return append(b, '}')
}

// Informed compares what session/confirm has sent back with what it was to:
// fault.Invalid with the path of the first member that differs. A session whose
// payouts are paid from the wallet has nothing to compare. What is null or empty
// counts as absent; the method, which is sent back in more than one form
// (extensions §8 no. 29), is not looked at.
func Informed(s *session.Session, sent json.RawMessage) error {
	expected := appendInformation([]byte{'{'}, s, 2)
	if len(expected) == 1 {
		return nil
	}
	if sent == nil {
		return fault.New(fault.Invalid, "%s: required, as ready_to_confirm had it", confirmInformation)
	}
	var want map[string]any
	if err := decode(append(expected, '}'), &want); err != nil {
		return err
	}
	var got any
	if err := decode(sent, &got); err != nil {
		return fault.New(fault.Invalid, "%s: is not valid JSON", confirmInformation)
	}
	if differs := difference(confirmInformation, want[confirmInformation], got); differs != "" {
		return fault.New(fault.Invalid, "%s", differs)
	}
	return nil
}

func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// difference says where got is not want; "" if it is.
func difference(path string, want, got any) string {
	const differs = ": is not as ready_to_confirm had it"
	switch want := want.(type) {
	case map[string]any:
		members, ok := got.(map[string]any)
		if !ok {
			return path + ": " + mustBeObject
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			switch at := path + "." + name; {
			case method(name):
			case none(members[name]):
				return at + ": " + isRequired + ", as ready_to_confirm had it"
			default:
				if found := difference(at, want[name], members[name]); found != "" {
					return found
				}
			}
		}
		for name, value := range members { // a name that is not ours is not repeated
			if _, known := want[name]; !known && !method(name) && !none(value) {
				return path + ": has a member that ready_to_confirm did not have"
			}
		}
		return ""
	case json.Number:
		if number, ok := got.(json.Number); ok && sameNumber(want, number) {
			return ""
		}
	default:
		if got == want { // a string
			return ""
		}
	}
	return path + differs
}

func method(name string) bool { return name == namesOf[1].details || name == namesOf[2].details }

// none reports whether a value says nothing: the published SDK leaves such
// members out, others send them empty.
func none(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// sameNumber compares amounts, which are below 2^53: 100, 100.0 and 1e2 are one.
func sameNumber(want, got json.Number) bool {
	if want == got {
		return true
	}
	a, errWant := strconv.ParseFloat(string(want), 64)
	b, errGot := strconv.ParseFloat(string(got), 64)
	return errWant == nil && errGot == nil && a == b
}
