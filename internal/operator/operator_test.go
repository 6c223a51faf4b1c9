package operator

import (
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
)

func TestRoles(t *testing.T) {
	for have, may := range map[Role]string{Viewer: "viewer", Accountant: "viewer accountant", Admin: "viewer accountant admin", "": "", "root": ""} {
		var got []string
		for _, needed := range Roles {
			if have.Covers(needed) {
				got = append(got, string(needed))
			}
		}
		if strings.Join(got, " ") != may {
			t.Errorf("%q may do what %q may, want %q", have, got, may)
		}
		if have.Covers("") || have.Covers("root") {
			t.Errorf("%q covers a role that is none", have)
		}
	}
	for _, s := range []string{"", "Admin", "root"} {
		if _, err := ParseRole(s); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestPasswords(t *testing.T) {
	hash := Hash("correct horse battery")
	if hash == Hash("correct horse battery") {
		t.Error("two hashes of a password are the same: there is no salt")
	}
	o := &Operator{Name: "anna", Password: hash}
	for _, test := range []struct {
		name     string
		o        *Operator
		password string
		want     bool
	}{
		{"right", o, "correct horse battery", true},
		{"wrong", o, "correct horse batterz", false},
		{"empty", o, "", false},
		{"longer than any", o, strings.Repeat("x", passwordBytesMax+1), false},
		{"nobody", nil, "correct horse battery", false},
		{"nobody's", nil, "", false},
		{"no hash", &Operator{}, "", false},
		{"cut off", &Operator{Password: hash[:len(hash)-4]}, "correct horse battery", false},
		{"another scheme", &Operator{Password: "$2y$10$abc"}, "correct horse battery", false},
		{"without a salt", &Operator{Password: prefix}, "", false},
	} {
		if got := Check(test.o, test.password); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
	for password, right := range map[string]bool{
		strings.Repeat("a", 11): false, strings.Repeat("я", 11): false, strings.Repeat("я", 12): true,
		strings.Repeat("a", 256): true, strings.Repeat("a", 257): false, NewPassword(): true,
	} {
		if err := CheckPassword(password); (err == nil) != right {
			t.Errorf("%q: %v", password, err)
		}
	}
	if one, other := NewPassword(), NewPassword(); one == other {
		t.Error("a password was made twice")
	}
}

func TestLogins(t *testing.T) {
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	l, token := NewLogin("anna", now)
	other, _ := NewLogin("anna", now)
	if l.Hash == other.Hash || l.Hash != TokenHash(token) || l.EndsAt.Sub(now) != LoginIdle {
		t.Errorf("%+v and %+v", l, other)
	}
	for _, c := range []struct{ at, want time.Duration }{
		{0, LoginIdle},
		{time.Hour, time.Hour + LoginIdle},
		{LoginLife - LoginIdle, LoginLife},
		{LoginLife - time.Minute, LoginLife},
	} {
		if got := l.Until(now.Add(c.at)).Sub(now); got != c.want {
			t.Errorf("seen after %v it ends after %v, want %v", c.at, got, c.want)
		}
	}
	if strings.Contains(token, FormToken(token)) || FormToken(token) == FormToken(token+"x") {
		t.Error("a form's token tells of the login's")
	}
	for name, right := range map[string]bool{"anna": true, "anna.k-2_": true, "": false, "Анна": false, "a b": false, "<b>": false} {
		if _, err := ParseName(name); (err == nil) != right {
			t.Errorf("%q: %v", name, err)
		}
	}
}
