// Package operator says who works in the console: names, roles, passwords and
// logins. It is pure but for randomness.
package operator

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
)

// Role is what an operator may do. Each may do what those before it may.
type Role string

// The roles.
const (
	Viewer     Role = "viewer"     // see payouts, balances and alarms
	Accountant Role = "accountant" // fetch reports as well
	Admin      Role = "admin"      // see who does what as well
)

// Roles lists all roles, the least first.
var Roles = []Role{Viewer, Accountant, Admin}

// ParseRole reads the name of a role.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles, r) {
		return r, nil
	}
	return "", fault.New(fault.Invalid, "role: want viewer, accountant or admin, not %q", s)
}

// Covers reports whether who has role r may do what needs the other.
func (r Role) Covers(needed Role) bool {
	have, need := slices.Index(Roles, r), slices.Index(Roles, needed)
	return have >= 0 && need >= 0 && have >= need
}

// Operator is one person.
type Operator struct {
	Name      string // in the form of a project's name
	Role      Role
	Password  string // hashed, as Hash gives it
	CreatedAt time.Time
}

// ParseName checks the form of a name.
func ParseName(s string) (string, error) {
	if _, err := id.ParseProject(s); err != nil {
		return "", fault.New(fault.Invalid, "name: want 1 to 64 letters, digits, '_', '-' or '.'")
	}
	return s, nil
}

// PasswordMin is how many characters a password has at least (NIST SP 800-63B
// asks for 8, PCI DSS 8.3.6 for 12), and passwordBytesMax how long it may be.
const (
	PasswordMin      = 12
	passwordBytesMax = 256
)

// CheckPassword refuses what is too short or too long.
func CheckPassword(s string) error {
	if utf8.RuneCountInString(s) < PasswordMin || len(s) > passwordBytesMax {
		return fault.New(fault.Invalid, "password: want %d characters or more, and at most %d bytes", PasswordMin, passwordBytesMax)
	}
	return nil
}

// NewPassword makes one of 100 random bits, in groups that can be read out.
func NewPassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789" // 32, without those that look alike
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	var s strings.Builder
	for i, x := range b {
		if i > 0 && i%5 == 0 {
			s.WriteByte('-')
		}
		s.WriteByte(letters[x%32])
	}
	return s.String()
}

// The cost of Argon2id: the second choice of RFC 9106 would take 64 MiB a login,
// a third of what a server takes in all; these are OWASP's for 19 MiB.
const (
	argonTime    = 2
	argonKiB     = 19 << 10
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

var prefix = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonKiB, argonTime, argonThreads)

// Hash hashes a password with Argon2id, in the usual form.
func Hash(password string) string {
	var salt [argonSalt]byte
	_, _ = rand.Read(salt[:])
	return hashed(password, salt[:])
}

func hashed(password string, salt []byte) string {
	key := argon2.IDKey([]byte(password), salt, argonTime, argonKiB, argonThreads, argonKey)
	return prefix + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(key)
}

// nobody's password takes as long to check as anybody's.
var nobody = hashed("", make([]byte, argonSalt))

// Check reports whether it is the operator's password. With a nil operator it
// takes the same time and is false, so that nobody learns which names exist.
func Check(o *Operator, password string) bool {
	hash := nobody
	if o != nil {
		hash = o.Password
	}
	rest, ok := strings.CutPrefix(hash, prefix)
	encoded, _, found := strings.Cut(rest, "$")
	salt, err := base64.RawStdEncoding.DecodeString(encoded)
	if !ok || !found || err != nil || len(password) > passwordBytesMax {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(hash), []byte(hashed(password, salt))) == 1 && o != nil
}

// A login holds for LoginIdle from one page to the next (PCI DSS 8.2.8), and for
// LoginLife in all: a working day.
const (
	LoginIdle = 15 * time.Minute
	LoginLife = 12 * time.Hour
)

// Login is one operator at one browser. The token that the browser has is
// nowhere else: the database has its hash.
type Login struct {
	Hash      [sha256.Size]byte
	Operator  string
	CreatedAt time.Time // real time, as EndsAt
	EndsAt    time.Time
}

// NewLogin makes a login and its token.
func NewLogin(operator string, now time.Time) (l Login, token string) {
	var b [32]byte
	_, _ = rand.Read(b[:])
	token = hex.EncodeToString(b[:])
	return Login{Hash: TokenHash(token), Operator: operator, CreatedAt: now, EndsAt: now.Add(LoginIdle)}, token
}

// Until is when the login ends if its operator comes at now and not again.
func (l *Login) Until(now time.Time) time.Time {
	idle, life := now.Add(LoginIdle), l.CreatedAt.Add(LoginLife)
	if life.Before(idle) {
		return life
	}
	return idle
}

// TokenHash is what stands for a token in the database.
func TokenHash(token string) [sha256.Size]byte { return sha256.Sum256([]byte("login " + token)) }

// FormToken is what forms of a login carry, so that no other site can send them.
func FormToken(token string) string {
	sum := sha256.Sum256([]byte("form " + token))
	return hex.EncodeToString(sum[:16])
}
