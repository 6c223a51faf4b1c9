package instrument

import "slices"

// digits reports whether s is a row of ASCII digits of a length from low to high.
func digits(s string, low, high int) bool {
	if len(s) < low || len(s) > high {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// BIK reports whether s has the form of a Russian bank identification code: 9
// digits. Whether such a bank exists is for the Bank of Russia's directory.
func BIK(s string) bool { return digits(s, 9, 9) }

// AccountNumber reports whether s has the form of a Russian account: 20 digits.
func AccountNumber(s string) bool { return digits(s, 20, 20) }

// KPP reports whether s has the form of a tax registration reason code: 9
// digits (wire reference, core §4.2).
func KPP(s string) bool { return digits(s, 9, 9) }

// BankID reports whether s has the form of an FPS member id: 12 digits.
func BankID(s string) bool { return digits(s, 12, 12) }

// WalletNumber reports whether s has the form of a YooMoney wallet: 11 to 20
// digits (wire reference, core §4.4).
func WalletNumber(s string) bool { return digits(s, 11, 20) }

// Phone reports whether s is a phone number for FPS: 10 to 15 digits without a
// plus. It need not begin with 7: FPS has test phones such as 0070009210197
// (wire reference, core §4.3).
func Phone(s string) bool { return digits(s, 10, 15) }

// allowedPrefixes are the balance accounts, each with the rouble's code 810,
// that may be paid to (wire reference, core §4.2).
var allowedPrefixes = []string{
	"40817810",                                                 // individuals
	"40820810",                                                 // individuals, non-residents
	"42301810", "42302810", "42303810", "42304810", "42305810", // deposits of individuals, by term
	"42306810", "42307810",
	"40802810", // sole proprietors
	"40702810", // companies
}

// AllowedPrefix reports whether the account is of a kind that may be paid to;
// a payout to any other fails.
func AllowedPrefix(account string) bool {
	return AccountNumber(account) && slices.Contains(allowedPrefixes, account[:8])
}

// AccountKey reports whether the key in the account, its ninth digit, agrees
// with the bank's BIK. Both must have their form, else it is false.
//
// The rule is the Bank of Russia's order of 8 September 1997, No. 515: three
// digits that stand for the bank and the twenty of the account are weighed
// 7, 1, 3, 7, 1, 3 …; the sum must end in 0. A credit institution is the last
// three digits of its BIK. An office of the settlement network, whose BIK ends
// in 000, 001 or 002, is a zero and the fifth and sixth digits.
func AccountKey(bik, account string) bool {
	if !BIK(bik) || !AccountNumber(account) {
		return false
	}
	bank := bik[6:]
	switch bank {
	case "000", "001", "002":
		bank = "0" + bik[4:6]
	}
	return weighted(bank+account, 7, 1, 3)%10 == 0
}

// INN reports whether s is a taxpayer number, 10 digits of a company or 12 of
// a person, with the check digits of the Federal Tax Service: the number is
// weighed, and the sum modulo 11 modulo 10 is the check digit.
func INN(s string) bool {
	// The first two digits are the region, which 00 is not.
	if !digits(s, 10, 12) || s[:2] == "00" {
		return false
	}
	check := func(at int, weights ...int) bool {
		return weighted(s[:at], weights...)%11%10 == int(s[at]-'0')
	}
	switch len(s) {
	case 10:
		return check(9, 2, 4, 10, 3, 5, 9, 4, 6, 8)
	case 12:
		return check(10, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8) && check(11, 3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
	}
	return false
}

// weighted is the sum of the digits times the weights, which repeat.
func weighted(digits string, weights ...int) int {
	sum := 0
	for i := range len(digits) {
		sum += int(digits[i]-'0') * weights[i%len(weights)]
	}
	return sum
}
