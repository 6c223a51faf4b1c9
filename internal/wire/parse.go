package wire

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

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
	op, source := op.source()
	members := known
	switch op {
	case OpToken, OpInfo, OpTokenize, OpElements:
		members = knownToTokens
	case OpCalculate:
		members = knownToCalculate
	case OpNPDCheck, OpNPDPerson, OpNPDStatus, OpNotices, OpRead, OpDelivered, OpUpdate:
		members = knownToNPD
	case OpMulti:
		members = knownToMulti
	case OpAccountBalance, OpStatement:
		members = knownToReports
	}
	d, err := read(body, members)
	if err != nil {
		return Request{}, err
	}
	var r Request
	switch op {
	case OpCreate, OpInit, OpInitFiscal: // a session_id is a relic of old examples (core §3.3)
		r.Details.Source = source
		d.details(&r, root, op, v, p)
	case OpStart, OpStartFiscal:
		r.Session, r.Details.Source = d.session(true), source
		d.details(&r, root, op, v, p)
	case OpFiscal:
		r.Session = d.session(true)
		d.alone(&r, p)
	case OpVerify: // the published SDK may leave the session out (core §7 no. 17)
		r.Session = d.session(false)
		d.details(&r, root, op, v, p)
	case OpMulti:
		d.items(&r, v, p)
	case OpStatus, OpCancel, OpFiscalCancel:
		r.Session = d.session(true)
	case OpConfirm:
		r.Session, r.Information = d.session(true), d.kept(root, confirmInformation)
	case OpAccountBalance:
		r.Report.Account = d.required(root, accountNumber, accountForm)
	case OpStatement:
		d.statement(&r.Report)
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
func (d *document) details(r *Request, of ref, op Op, v session.Version, p *partner.Project) {
	r.Details.Instrument, r.PAN = d.instrument(of, op, p, r)
	if op != OpVerify { // a verification has no amount (core §3.9)
		r.Details.Amount = d.amount(of)
	}
	d.participants(of, &r.Details)
	r.Details.Customer = d.customer(of)
	r.Details.Metadata = d.kept(of, metadata)
	r.Details.Extra = d.extra(of)

	if op == OpStartFiscal || op == OpInitFiscal {
		r.Details.Fiscal = d.fiscal(p)
	} else if at := d.member(of, fiscalization); at != absent && d.object(at) && d.nodes[at].first != absent {
		// A payout whose receipt is silently left out would break the law for the
		// partner, so it is not made.
		d.refuse(at, "is taken by session/start/payout/fiscalization and session/init/payout/fiscalization")
	}

	sent := func(name string) bool { return d.member(of, name) != absent }
	whole := op == OpInit || op == OpInitFiscal
	if op == OpVerify || whole {
		if !sent("payout_details") && !sent("payment_method") {
			d.missing(of, namesOf[v].details)
		}
	}
	if whole && !sent(amountDetails) {
		d.missing(of, amountDetails)
	}
	if whole || op == OpVerify && !sent("session_id") {
		name := d.under(of, recipientName)
		if i := r.Details.Instrument; i != nil && (needsName(i) || r.Details.Fiscal != nil && i.Account == nil) && r.Details.Recipient == "" && !d.violated(name) {
			d.violate(name, nameRequired)
		}
		d.sourced(&r.Details, of)
	}
}

// payoutsMax is how many payouts one session may have: our choice, so that what
// it takes at once stays small.
const payoutsMax = 100

// items reads the payouts of a multi-session, each a body of session/init/payout
// (wire reference, extensions §4.2). Incoming payments, which the published SDK
// sends with them, are not offered.
func (d *document) items(r *Request, v session.Version, p *partner.Project) {
	if at := d.member(root, paymentList); at != absent && (d.nodes[at].kind != jsontext.KindBeginArray || d.nodes[at].first != absent) {
		d.refuse(at, "incoming payments are not offered by this server")
	}
	at := d.member(root, PayoutList)
	if at == absent {
		d.missing(root, PayoutList)
		return
	}
	if d.nodes[at].kind != jsontext.KindBeginArray || d.nodes[at].first == absent {
		d.refuse(at, "must be an array of payouts")
		return
	}
	for item := d.nodes[at].first; item != absent; item = d.nodes[item].next {
		if len(r.Items) == payoutsMax {
			d.refuse(at, fmt.Sprintf("must have at most %d payouts", payoutsMax))
			return
		}
		var one Request
		if d.object(item) {
			d.details(&one, item, OpInit, v, p)
		}
		r.Items = append(r.Items, one)
	}
}

// alone reads a receipt without a payout (wire reference, extensions §3.8). The
// instrument that may come with it moves no money here, so it is looked at and
// not kept.
func (d *document) alone(r *Request, p *partner.Project) {
	var unused Request
	d.instrument(root, OpStart, p, &unused)
	if r.Details.Amount = d.amount(root); r.Details.Amount != nil && r.Details.Amount.Currency != "" && r.Details.Amount.Currency != money.RUB {
		d.violate(amountDetails+".currency", mustBeRub)
	}
	d.participants(root, &r.Details)
	r.Details.Customer = d.customer(root)
	r.Details.Metadata = d.kept(root, metadata)
	r.Details.Extra = d.extra(root)
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
	d.sourced(&details, root)
	return d.err()
}

// needsName reports whether participant_details must name the recipient: an
// account has its holder's name with it, and the faster payment system and
// wallets pay without one (wire reference, core §2.8).
func needsName(i *instrument.Instrument) bool {
	return i.Card != nil || i.FPS != nil && i.FPS.Verify
}
