package instrument

import "slices"

// Source is what a payout is paid from: "" for the project's balance, or the
// kind of an account of its own at the bank.
type Source string

// The kinds of a project's own accounts, by their words in the paths of the wire
// (wire reference, extensions §6).
const (
	RKO     Source = "rko"     // settlement
	Nominal Source = "nominal" // escrow
)

// Sources lists the kinds of own accounts.
var Sources = []Source{RKO, Nominal}

// Path is the path of an operation for payouts from the source.
func (s Source) Path(op string) string {
	if s == "" {
		return op
	}
	return op + "/" + string(s)
}

// sourcePrefixes are the balance accounts that may be a project's own (wire
// reference, extensions §7.2).
var sourcePrefixes = []string{"40702", "40703", "40802", "40807", "40701"}

// OwnAccount reports whether the account is of a kind that a project may pay
// from, in roubles, whose code is 810.
func OwnAccount(account string) bool {
	return AccountNumber(account) && slices.Contains(sourcePrefixes, account[:5]) && account[5:8] == "810"
}
