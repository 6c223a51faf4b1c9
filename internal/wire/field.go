package wire

import (
	"fmt"
	"net/mail"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/money"
)

// A check says what is wrong with a string: "" if nothing is. It never repeats
// the string.
type check func(string) string

// form makes a check of a test.
func form(right func(string) bool, reason string) check {
	return func(s string) string {
		if right(s) {
			return ""
		}
		return reason
	}
}

// matching makes a check of a pattern for the whole string.
func matching(pattern, reason string) check {
	return form(regexp.MustCompile(`\A(?:`+pattern+`)\z`).MatchString, reason)
}

// line makes a check of text that goes to a rail: so many characters in one line.
func line(low, high int) check {
	reason := fmt.Sprintf("must be %d to %d characters", low, high)
	if low == 0 {
		reason = fmt.Sprintf("must be at most %d characters", high)
	}
	return func(s string) string {
		if n := utf8.RuneCountInString(s); n < low || n > high {
			return reason
		}
		if strings.ContainsFunc(s, breaking) {
			return "must not contain control characters or line breaks"
		}
		if strings.ContainsFunc(s, unseen) {
			return "must not contain characters that cannot be seen"
		}
		return ""
	}
}

// breaking reports whether a character could end or garble a line on its way.
func breaking(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// unseen reports whether a character shows nothing of itself, or means nothing
// to others: of no width, of a private meaning, or one that turns the direction
// of what follows, so that a bank's clerk reads another name than was written.
func unseen(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// The longest text of a member for which the wire reference states no limit.
const textMax = 1000

var (
	bikForm       = form(instrument.BIK, "must be 9 digits")
	accountForm   = form(instrument.AccountNumber, "must be 20 digits")
	kppForm       = form(instrument.KPP, "must be 9 digits")
	innForm       = matching(`\d{10}|\d{12}`, "must be 10 or 12 digits")
	bankIDForm    = form(instrument.BankID, "must be 12 digits")
	phoneForm     = form(instrument.Phone, "must be 10 to 15 digits without a plus")
	walletForm    = form(instrument.WalletNumber, "must be 11 to 20 digits")
	hashForm      = matching(`[0-9a-f]{64}`, "must be 64 lower-case hexadecimal digits")
	monthForm     = matching(`0[1-9]|1[0-2]`, "must be a month as MM")
	yearForm      = matching(`\d{2}`, "must be a year as YY")
	codeForm      = matching(`\d{3,4}`, "must be 3 or 4 digits")
	initiator     = matching(`merchant|client`, "must be merchant or client")
	dateForm      = form(isDate, "must be a date as YYYY-MM-DD")
	timeForm      = form(isTime, "must be a time in ISO 8601 with an offset or Z")
	ipv4Form      = form(isIPv4, "must be an IPv4 address")
	ipv6Form      = form(isIPv6, "must be an IPv6 address")
	emailForm     = form(isEmail, "must be an e-mail address")
	nameForm      = line(0, 255)
	holderForm    = filled(line(1, 255))
	textForm      = form(isText, fmt.Sprintf("must be at most %d characters, none of them NUL", textMax))
	noteForm      = line(0, textMax)
	purposeForm   = both(filled(line(1, 210)), form(withoutMarks, "must not contain ? or !")) // core §4.2
	messageForm   = filled(line(1, 140))                                                      // core §4.3
	referenceForm = line(1, 255)
)

// filled also refuses text of nothing but spaces.
func filled(c check) check { return both(c, form(isFilled, "must not be blank")) }

// both makes one check of two; the first that fails speaks.
func both(first, second check) check {
	return func(s string) string {
		if reason := first(s); reason != "" {
			return reason
		}
		return second(s)
	}
}

func isFilled(s string) bool     { return strings.TrimSpace(s) != "" }
func withoutMarks(s string) bool { return !strings.ContainsAny(s, "?!") }

// isText takes what is only kept and echoed, such as an address of many lines.
func isText(s string) bool {
	return utf8.RuneCountInString(s) <= textMax && !strings.ContainsRune(s, 0)
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

// isTime also takes an offset without its colon, as PHP's DATE_ISO8601 prints it.
func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	if err != nil {
		_, err = time.Parse("2006-01-02T15:04:05Z0700", s)
	}
	return err == nil
}

func isIPv4(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}

// isEmail takes a bare address of at most 254 bytes (RFC 5321 §4.5.3.1.3), no
// display name.
func isEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= 254
}

// cardNumber is the check of a card number's form and Luhn digit.
func cardNumber(s string) string {
	if len(s) < 14 || len(s) > 19 || strings.Trim(s, "0123456789") != "" {
		return "must be 14 to 19 digits"
	}
	if _, err := instrument.ParsePAN(s); err != nil {
		return "fails the Luhn check"
	}
	return ""
}

// text reads a string.
func (d *document) text(at ref) (string, bool) {
	n := &d.nodes[at]
	if n.kind != jsontext.KindString {
		d.refuse(at, mustBeText)
		return "", false
	}
	return string(unquote(n.raw)), true
}

// checked reads a string that is there; "" if it is wrong.
func (d *document) checked(at ref, wrong check) string {
	s, ok := d.text(at)
	if !ok {
		return ""
	}
	if reason := wrong(s); reason != "" {
		d.refuse(at, reason)
		return ""
	}
	return s
}

// required reads a member that must be there; "" if it is missing or wrong.
func (d *document) required(of ref, name string, wrong check) string {
	at := d.member(of, name)
	if at == absent {
		d.missing(of, name)
		return ""
	}
	return d.checked(at, wrong)
}

// optional reads a member if it is there; "" if it is not, or wrong.
func (d *document) optional(of ref, name string, wrong check) string {
	at := d.member(of, name)
	if at == absent {
		return ""
	}
	return d.checked(at, wrong)
}

// by makes one of the checks that a project may switch on.
func (d *document) by(mode partner.Mode, at ref, right bool, reason string) {
	switch {
	case right:
	case mode == partner.Reject:
		d.refuse(at, reason)
	case mode == partner.Warn:
		d.warnings = append(d.warnings, d.path(at)+": "+reason)
	}
}

// session reads session_id; 0 if it is missing or wrong.
func (d *document) session(must bool) id.Session { return d.sessionIn(root, must) }

func (d *document) sessionIn(of ref, must bool) id.Session {
	at := d.member(of, "session_id")
	if at == absent {
		if must {
			d.missing(of, "session_id")
		}
		return 0
	}
	s, ok := d.text(at)
	if !ok {
		return 0
	}
	n, err := id.ParseSession(s)
	if err != nil {
		d.refuse(at, "must be ps_ and decimal digits")
	}
	return n
}

// amount reads amount_details (wire reference, core §2.5).
func (d *document) amount(of ref) *money.Amount {
	at := d.member(of, amountDetails)
	if at == absent || !d.object(at) {
		return nil
	}
	return &money.Amount{Minor: d.minor(at), Currency: d.currency(at)}
}

// currency reads a currency in any letter case; "" if it is missing or wrong.
func (d *document) currency(of ref) money.Currency {
	at := d.member(of, "currency")
	if at == absent {
		d.missing(of, "currency")
		return ""
	}
	s, ok := d.text(at)
	if !ok {
		return ""
	}
	c, err := money.ParseCurrency(s)
	if err != nil {
		d.refuse(at, "is not a known currency")
	}
	return c
}

// minor reads the whole number of minor units.
func (d *document) minor(of ref) int64 {
	at := d.member(of, "amount")
	if at == absent {
		d.missing(of, "amount")
		return 0
	}
	raw := string(d.nodes[at].raw)
	if d.nodes[at].kind != jsontext.KindNumber || strings.Trim(raw, "-0123456789") != "" {
		d.refuse(at, "must be an integer, in minor units")
		return 0
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	switch {
	case raw[0] == '-' || n == 0 && err == nil:
		d.refuse(at, "must be greater than 0")
	case err != nil || n > money.MinorMax:
		d.refuse(at, "must be less than 2^53")
	}
	return n
}
