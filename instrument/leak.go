package instrument

import "bytes"

// FindPANs returns the card numbers that stand in b, digits only, in order:
// 14 to 19 digits, together or in groups with single spaces or dashes between
// them, that pass the Luhn check and belong to a known brand. It is for tests
// that nothing leaks, and errs on the side of finding one: of random numbers of
// that length, about one in thirty is taken for a card.
//
// Three things that look alike are left alone: numbers printed with the prefix
// of an id (ps_…), digits within a hash (32 or more hexadecimal characters
// together), and a longer row of digits, such as an account.
func FindPANs(b []byte) []string {
	var found []string
	eachPAN(b, func(start, end int) {
		found = append(found, string(onlyDigits(b[start:end])))
	})
	return found
}

// MaskText returns s with the middle of each card number that FindPANs would
// find in it replaced by asterisks: six first and four last digits remain (PCI
// DSS 3.4.1). For logs and screens that show words of others.
func MaskText(s string) string {
	var masked []byte
	eachPAN([]byte(s), func(start, end int) {
		if masked == nil {
			masked = []byte(s)
		}
		count, total := 0, len(onlyDigits(masked[start:end]))
		for i := start; i < end; i++ {
			if !isDigit(s[i]) {
				continue
			}
			if count++; count > 6 && count <= total-4 {
				masked[i] = '*'
			}
		}
	})
	if masked == nil {
		return s
	}
	return string(masked)
}

// group is a row of digits, b[start:end].
type group struct{ start, end int }

// eachPAN calls found with the place of each card number in b.
func eachPAN(b []byte, found func(start, end int)) {
	var chain []group // groups with one separator between each two
	for i := 0; i < len(b); {
		if !isDigit(b[i]) {
			i++
			continue
		}
		g := group{start: i}
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		g.end = i
		chain = append(chain, g)
		if i+1 < len(b) && (b[i] == ' ' || b[i] == '-') && isDigit(b[i+1]) {
			i++
			continue
		}
		eachInChain(b, chain, found)
		chain = chain[:0]
	}
}

// eachInChain tries every row of whole groups of the right length, the longest
// first, so that no digit of a number is left out of its mask.
func eachInChain(b []byte, chain []group, found func(start, end int)) {
	for i := 0; i < len(chain); i++ {
		last, count := i, 0
		for ; last < len(chain); last++ {
			size := chain[last].end - chain[last].start
			if count+size > panDigitsMax {
				break
			}
			count += size
		}
		for last--; last >= i; last-- {
			start, end := chain[i].start, chain[last].end
			if isPAN(b, start, end) {
				found(start, end)
				i = last
				break
			}
		}
	}
}

func isPAN(b []byte, start, end int) bool {
	number := onlyDigits(b[start:end])
	if len(number) < panDigitsMin || !luhn(number) || brandOf(number) == Unbranded {
		return false
	}
	return !afterIDPrefix(b[:start]) && !withinHash(b, start, end)
}

// afterIDPrefix reports whether before ends with the prefix of an id, as
// package id prints them, and not with a longer word that happens to end so.
func afterIDPrefix(before []byte) bool {
	for _, prefix := range []string{"ps_", "po_", "rf_", "ev_", "rq_", "st_"} {
		if head, ok := bytes.CutSuffix(before, []byte(prefix)); ok {
			return len(head) == 0 || !isLetter(head[len(head)-1])
		}
	}
	return false
}

// hashDigitsMin is the shortest row of hexadecimal digits taken for a hash.
const hashDigitsMin = 32

func withinHash(b []byte, start, end int) bool {
	for start > 0 && isHex(b[start-1]) {
		start--
	}
	for end < len(b) && isHex(b[end]) {
		end++
	}
	return end-start >= hashDigitsMin
}

func onlyDigits(b []byte) []byte {
	all := make([]byte, 0, panDigitsMax)
	for _, c := range b {
		if isDigit(c) {
			all = append(all, c)
		}
	}
	return all
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
