package wire

import (
	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/money"
)

// Parse reads the body of an operation: fault.Invalid with every violation and
// its field's path. The project decides which optional checks are made; nil
// makes none.
//
// A null counts as absent and an unknown member is ignored. Either version's
// name of the instrument is taken in both versions, for the published SDK
// mixes them (wire reference, core §1.2), but not both in one body.
func Parse(op Op, v session.Version, p *partner.Project, body []byte) (Request, error) {
	if p == nil {
		p = &partner.Project{}
	}
	look := known
	switch op {
	case OpToken, OpInfo, OpTokenize, OpElements:
		look = knownToTokens
	case OpCalculate:
		look = knownToCalculate
	case OpNPDCheck, OpNPDPerson, OpNPDStatus, OpNotices, OpRead, OpDelivered, OpUpdate:
		look = knownToNPD
	}
	d, err := read(body, look)
	if err != nil {
		return Request{}, err
	}
	var r Request
	switch op {
	case OpCreate, OpInit, OpInitFiscal: // a session_id is a relic of old examples (core §3.3)
		d.details(&r, op, v, p)
	case OpStart, OpStartFiscal:
		r.Session = d.session(true)
		d.details(&r, op, v, p)
	case OpFiscal:
		r.Session = d.session(true)
		d.alone(&r, p)
	case OpVerify: // the published SDK may leave the session out (core §7 no. 17)
		r.Session = d.session(false)
		d.details(&r, op, v, p)
	case OpStatus, OpConfirm, OpCancel, OpFiscalCancel:
		r.Session = d.session(true)
	case OpBalance:
		d.required(root, "request_datetime", timeForm)
	case OpBanks:
	case OpToken:
		r.Tokens.Widgets = d.widgets()
	case OpInfo:
		if asked := d.asked(); asked != nil {
			r.Spent = []Spent{*asked}
		}
	case OpTokenize:
		d.accountNumber(&r.Tokens, p)
	case OpElements:
		r.Tokens.Elements = d.elements()
	case OpCalculate:
		r.Exchange = d.exchange()
	case OpNPDStatus:
		r.NPD = d.npdRequest()
	case OpNPDCheck, OpNPDPerson, OpNotices, OpRead, OpDelivered, OpUpdate:
		r.Question = d.npd(op)
	default:
		panic("wire: no such operation: " + string(op))
	}
	if err := d.err(); err != nil {
		return Request{}, err
	}
	r.Warnings = d.warnings
	return r, nil
}

// details reads what the partner says of a payout. Where the request alone
// must say everything, what is missing is refused along with what is wrong.
func (d *document) details(r *Request, op Op, v session.Version, p *partner.Project) {
	r.Details.Instrument, r.PAN = d.instrument(op, p, r)
	if op != OpVerify { // a verification has no amount (core §3.9)
		r.Details.Amount = d.amount()
	}
	r.Details.Participants, r.Details.Recipient = d.participants()
	r.Details.Customer = d.customer()
	r.Details.Metadata = d.metadata()

	if op == OpStartFiscal || op == OpInitFiscal {
		r.Details.Fiscal = d.fiscal(p)
	} else if at := d.member(root, fiscalization); at != absent && d.object(at) && d.nodes[at].first != absent {
		// A payout whose receipt is silently left out would break the law for the
		// partner, so it is not made.
		d.refuse(at, "is taken by session/start/payout/fiscalization and session/init/payout/fiscalization")
	}

	sent := func(name string) bool { return d.member(root, name) != absent }
	whole := op == OpInit || op == OpInitFiscal
	if op == OpVerify || whole {
		if !sent("payout_details") && !sent("payment_method") {
			d.missing(root, namesOf[v].details)
		}
	}
	if whole && !sent(amountDetails) {
		d.missing(root, amountDetails)
	}
	if whole || op == OpVerify && !sent("session_id") {
		if i := r.Details.Instrument; i != nil && (needsName(i) || r.Details.Fiscal != nil && i.Account == nil) && r.Details.Recipient == "" && !d.violated(recipientName) {
			d.violate(recipientName, nameRequired)
		}
	}
}

// alone reads a receipt without a payout (wire reference, extensions §3.8). The
// instrument that may come with it moves no money here, so it is looked at and
// not kept.
func (d *document) alone(r *Request, p *partner.Project) {
	var unused Request
	d.instrument(OpStart, p, &unused)
	if r.Details.Amount = d.amount(); r.Details.Amount != nil && r.Details.Amount.Currency != "" && r.Details.Amount.Currency != money.RUB {
		d.violate(amountDetails+".currency", mustBeRub)
	}
	r.Details.Participants, r.Details.Recipient = d.participants()
	r.Details.Customer = d.customer()
	r.Details.Metadata = d.metadata()
	if r.Details.Fiscal = d.fiscal(p); r.Details.Fiscal != nil {
		r.Details.Fiscal.Alone = true
	}
}

// Complete checks that a payout that is about to start has all it needs, from
// the start request and session/create together: fault.Invalid with the path of
// every member that is missing, in the names of the version.
func Complete(v session.Version, details session.Details) error {
	var d document
	i := details.Instrument
	if f := details.Fiscal; f != nil && f.Alone {
		return nil
	}
	if i == nil {
		d.violate(namesOf[v].details, isRequired)
	}
	if details.Amount == nil && (i == nil || i.FPS == nil || !i.FPS.Verify) {
		d.violate(amountDetails, isRequired)
	}
	if i != nil && (needsName(i) || details.Fiscal != nil) && details.Recipient == "" {
		d.violate(recipientName, nameRequired)
	}
	return d.err()
}

// needsName reports whether participant_details must name the recipient: an
// account has its holder's name with it, and the faster payment system and
// wallets pay without one (wire reference, core §2.8).
func needsName(i *instrument.Instrument) bool {
	return i.Card != nil || i.FPS != nil && i.FPS.Verify
}
