package wire

import (
	"strconv"
	"time"

	"github.com/payoutd/payoutd/internal/session"
)

// Report is what a report on an account asks for.
type Report struct {
	Account string
	// Day is the first moment of the day that a statement is of, in Moscow.
	Day time.Time
}

// knownToReports are the members that the reports on accounts look into.
var knownToReports = map[string]look{accountNumber: inside, "date_from": inside, "date_to": inside}

// Moscow is the time by which banks count days; it has been UTC+3 since 2014.
var Moscow = time.FixedZone("MSK", 3*60*60)

// statement reads the request of report/account_statement, which is always of
// one day (wire reference, extensions §7.3).
func (d *document) statement(r *Report) {
	r.Account = d.required(root, accountNumber, accountForm)
	from := d.required(root, "date_from", dateForm)
	to := d.required(root, "date_to", dateForm)
	if from == "" || to == "" {
		return
	}
	if from != to {
		d.refuse(d.member(root, "date_to"), "must be date_from: a statement is of one day")
		return
	}
	r.Day, _ = time.ParseInLocation(time.DateOnly, from, Moscow) // the form was checked
}

// AccountBalance writes the answer of report/account_balance: what is on the
// account, in kopecks, what is held for payouts under way included (wire
// reference, extensions §7.2).
func AccountBalance(account string, minor int64) []byte {
	b := append([]byte(nil), `{"status":"ok"`...)
	b = appendMember(b, accountNumber, account)
	b = append(b, `,"account_currency":"RUB","balance":{"current_balance":`...)
	b = strconv.AppendInt(b, minor, 10)
	return append(b, "}}"...)
}

// Statement is one day of an account.
type Statement struct {
	Report
	Opening int64 // kopecks, at the beginning of the day
	Lines   []Line
}

// Line is one movement on an account.
type Line struct {
	ID      string // unique among those of the project
	Minor   int64  // kopecks: above zero into the account, below out of it
	At      time.Time
	Session string // "" for a deposit
	Payout  string
	Purpose string
	// Other is whose account the money came from or went to; empty if that is
	// not known.
	Other session.Party
}

// Write writes the answer of report/account_statement. The newest version of the
// reference has everything in method, older ones at the top: it stands in both
// places (wire reference, extensions §7.3).
func (s *Statement) Write() []byte {
	body := s.append(make([]byte, 0, 512+512*len(s.Lines)))
	b := make([]byte, 0, 64+2*len(body))
	b = append(b, `{"status":"ok",`...)
	b = append(b, body...)
	b = append(b, `,"method":{`...)
	b = append(b, body...)
	return append(b, "}}"...)
}

func (s *Statement) append(b []byte) []byte {
	day := s.Day.Format(time.DateOnly)
	b = append(b, `"name":"account_statement","account_statement":{`...)
	b = appendMember(b, "date_from", day)
	b = appendMember(b, "date_to", day)
	b = appendMember(b, accountNumber, s.Account)
	var debet, credit int64 // the reference's spelling
	for i := range s.Lines {
		if minor := s.Lines[i].Minor; minor < 0 {
			debet -= minor
		} else {
			credit += minor
		}
	}
	b = append(b, `},"total_turnover":{"debet":`...)
	b = strconv.AppendInt(b, debet, 10)
	b = append(b, `,"credit":`...)
	b = strconv.AppendInt(b, credit, 10)
	b = append(b, `},"total_balance":{"opening":`...)
	b = strconv.AppendInt(b, s.Opening, 10)
	b = append(b, `,"closing":`...)
	b = strconv.AppendInt(b, s.Opening+credit-debet, 10)
	b = append(b, `},"transactions":[`...)
	for i := range s.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.Lines[i].append(b)
	}
	return append(b, ']')
}

func (l *Line) append(b []byte) []byte {
	kind, minor := "credit", l.Minor
	if minor < 0 {
		kind, minor = "debet", -minor
	}
	b = append(b, `{"amount":`...)
	b = strconv.AppendInt(b, minor, 10)
	b = append(b, `,"currency":"RUB"`...)
	b = appendMember(b, "payment_date", l.At.In(Moscow).Format(time.DateOnly))
	b = appendMember(b, "bank_system_id", l.ID)
	b = appendMember(b, "transaction_id", l.Payout)
	b = appendMember(b, "session_id", l.Session)
	b = appendMember(b, "purpose", l.Purpose)
	if l.Other != (session.Party{}) {
		b = append(appendName(b, "counter_party"), '{')
		b = appendMember(b, "kpp", l.Other.KPP)
		b = appendMember(b, "inn", l.Other.INN)
		b = appendMember(b, "name", l.Other.Name)
		b = appendMember(b, accountNumber, l.Other.Account)
		b = appendMember(b, "bank_code", l.Other.BIK)
		b = append(b, '}')
	}
	b = appendMember(b, "type", kind)
	return append(b, '}')
}
