// Package id holds the identifiers of the product: what kind of thing a number
// names, how it is printed and parsed, and how new numbers are made.
//
// Numbers are made by the program, never by the database: 41 bits of
// milliseconds since 2026-01-01, 10 bits of node and 12 bits of sequence, so
// that they fit 63 bits, grow with time and are unique among nodes.
package id

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Project names a partner's project, in the form the partner sends in
// X-PARTNER-PROJECT: 1 to 64 letters, digits, '_', '-' or '.'.
type Project string

// ParseProject checks the form of a project name.
func ParseProject(s string) (Project, error) {
	if s == "" || len(s) > 64 {
		return "", fmt.Errorf("project %q: want 1 to 64 characters", s)
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
		default:
			return "", fmt.Errorf("project %q: only letters, digits, '_', '-' and '.' are allowed", s)
		}
	}
	return Project(s), nil
}

// Session names a payout session; printed as "ps_" and decimal digits.
type Session int64

func (s Session) String() string { return "ps_" + strconv.FormatInt(int64(s), 10) }

// ParseSession is the reverse of Session.String.
func ParseSession(s string) (Session, error) {
	n, err := parse("ps_", s)
	return Session(n), err
}

// Payout names one payout within a session; printed as "po_" and digits.
type Payout int64

func (p Payout) String() string { return "po_" + strconv.FormatInt(int64(p), 10) }

// ParsePayout is the reverse of Payout.String.
func ParsePayout(s string) (Payout, error) {
	n, err := parse("po_", s)
	return Payout(n), err
}

// Refund names a return of a paid payout; printed as "rf_" and digits.
type Refund int64

func (r Refund) String() string { return "rf_" + strconv.FormatInt(int64(r), 10) }

// Event names one webhook event; printed as "ev_" and digits.
type Event int64

func (e Event) String() string { return "ev_" + strconv.FormatInt(int64(e), 10) }

// Card names a sealed card number in the vault. It never leaves the program.
type Card int64

// Partner owns tokens. Each project has one, which may be shared by several; a
// project that nobody has given a partner is its own, under the project's name.
type Partner string

// ParsePartner checks the form of a partner's name, which is that of a project's.
func ParsePartner(s string) (Partner, error) {
	if _, err := ParseProject(s); err != nil {
		return "", fmt.Errorf("partner %q: want 1 to 64 letters, digits, '_', '-' or '.'", s)
	}
	return Partner(s), nil
}

// Token names what a token or hash stands for; printed as "tk_" and digits.
// Operators see it; on the wire stands only the token itself.
type Token int64

func (t Token) String() string { return "tk_" + strconv.FormatInt(int64(t), 10) }

// ParseToken is the reverse of Token.String.
func ParseToken(s string) (Token, error) {
	n, err := parse("tk_", s)
	return Token(n), err
}

// Statement names a statement of a rail that was taken in; printed as "st_" and
// digits.
type Statement int64

func (s Statement) String() string { return "st_" + strconv.FormatInt(int64(s), 10) }

// ParseStatement is the reverse of Statement.String.
func ParseStatement(s string) (Statement, error) {
	n, err := parse("st_", s)
	return Statement(n), err
}

// NPDRequest names a partner's request to the tax service; printed as "npd-" and
// digits.
type NPDRequest int64

func (r NPDRequest) String() string { return npd + strconv.FormatInt(int64(r), 10) }

// ParseNPDRequest is the reverse of NPDRequest.String.
func ParseNPDRequest(s string) (NPDRequest, error) {
	n, err := parse(npd, s)
	return NPDRequest(n), err
}

const npd = "npd-" // as the published samples have it

// Archive names a file that sessions were archived in; printed as "ar_" and
// digits.
type Archive int64

func (a Archive) String() string { return "ar_" + strconv.FormatInt(int64(a), 10) }

// Batch names one transaction of the committer.
type Batch int64

// At is when the number was made, by the clock of who made it, cut to
// milliseconds.
func (b Batch) At() time.Time {
	return epoch.Add(time.Duration(b>>(nodeBits+sequenceBits)) * time.Millisecond)
}

func parse(prefix, s string) (int64, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n <= 0 || strconv.FormatInt(n, 10) != digits {
		return 0, fmt.Errorf("want %q and a positive decimal number", prefix)
	}
	return n, nil
}

const (
	nodeBits     = 10
	sequenceBits = 12
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Generator makes numbers that only grow. It is safe for concurrent use.
type Generator struct {
	mu   sync.Mutex
	now  func() time.Time
	node int64
	last int64 // milliseconds and sequence, without the node
}

// NewGenerator returns a generator that takes a random node number: good enough
// where no other makes numbers for the same database.
func NewGenerator(now func() time.Time) *Generator {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return NewNodeGenerator(now, int64(binary.BigEndian.Uint16(b[:]))&(1<<nodeBits-1))
}

// NewNodeGenerator returns the generator of a node, 0 to 1023.
func NewNodeGenerator(now func() time.Time, node int64) *Generator {
	return &Generator{now: now, node: node & (1<<nodeBits - 1)}
}

// Next returns a number greater than all before it. When the clock stands
// still or goes back, the sequence runs ahead of it.
func (g *Generator) Next() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.now().Sub(epoch).Milliseconds() << sequenceBits
	g.last = max(g.last+1, at)
	ms, sequence := g.last>>sequenceBits, g.last&(1<<sequenceBits-1)
	return ms<<(nodeBits+sequenceBits) | g.node<<sequenceBits | sequence
}
