package console

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/operator"
	"github.com/payoutd/payoutd/internal/report"
	"github.com/payoutd/payoutd/money"
)

// visit is one request for a page: who asks, in which language, and what the
// page shows. Its methods are what templates call.
type visit struct {
	Lang    string
	words   words
	Style   string // address of the style sheet
	Sandbox bool
	Path    string // of the page, with its query
	Me      *operator.Operator
	Form    string // that forms carry
	Page    string
	Data    any
}

// langAge is how long a browser remembers the language.
const langAge = 365 * 24 * time.Hour

// visit begins one. A request that chooses a language is answered here: nil.
func (s *Server) visit(w http.ResponseWriter, r *http.Request) *visit {
	q := r.URL.Query()
	if wish := q.Get("lang"); r.Method == http.MethodGet && wish != "" {
		lang, _ := speak(wish, "")
		http.SetCookie(w, cookie(r, cookieLang, lang, langAge))
		q.Del("lang")
		there := *r.URL
		there.RawQuery = q.Encode()
		http.Redirect(w, r, inside(there.RequestURI()), http.StatusSeeOther) // #nosec G710 -- inside leads to pages of ours alone
		return nil
	}
	wish := ""
	if c, err := r.Cookie(cookieLang); err == nil {
		wish = c.Value
	}
	v := &visit{Style: Root + "assets/" + s.version + "/console.css", Sandbox: s.sandbox}
	v.Lang, v.words = speak(wish, r.Header.Get("Accept-Language"))
	if r.Method == http.MethodGet {
		v.Path = r.URL.RequestURI()
	}
	return v
}

// T is what stands for a key in the visitor's language. A key that is missing
// shows itself, which a test looks for.
func (v *visit) T(key string) string {
	if text, ok := v.words[key]; ok {
		return text
	}
	return "[" + key + "]"
}

// Word is T for a word of the program, such as a state; one that has no words
// shows itself.
func (v *visit) Word(kind string, word any) string {
	text := fmt.Sprint(word)
	if t, ok := v.words[kind+"_"+text]; ok {
		return t
	}
	return text
}

// In is the same page in another language.
func (v *visit) In(lang string) string {
	sep := "?"
	if strings.Contains(v.Path, "?") {
		sep = "&"
	}
	if v.Path == "" {
		return Root + "?lang=" + lang
	}
	return v.Path + sep + "lang=" + lang
}

// May reports whether the visitor has a role or one that covers it.
func (v *visit) May(role string) bool { return v.Me != nil && v.Me.Role.Covers(operator.Role(role)) }

// On marks the entry of the menu that the page belongs to.
func (v *visit) On(page string) bool {
	return v.Page == page || page == "payouts" && v.Page == "session"
}

// Money is an amount as people read it: "12 500,00 ₽" or "₽12,500.00".
func (v *visit) Money(a money.Amount) string {
	major := a.Major()
	sign := ""
	if strings.HasPrefix(major, "-") {
		sign, major = "−", major[1:]
	}
	whole, part, _ := strings.Cut(major, ".")
	group, point := ",", "."
	if v.Lang == "ru" {
		group, point = "\u00a0", ","
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(group)
		}
		b.WriteRune(digit)
	}
	if part != "" {
		b.WriteString(point + part)
	}
	unit := string(a.Currency)
	if a.Currency == money.RUB {
		unit = "₽"
	}
	return b.String() + "\u00a0" + unit
}

// Roubles is Money of kopecks.
func (v *visit) Roubles(minor int64) string {
	return v.Money(money.Amount{Minor: minor, Currency: money.RUB})
}

// Time is a moment in Moscow, "" for none.
func (v *visit) Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	form := "02 Jan 2006, 15:04:05"
	if v.Lang == "ru" {
		form = "02.01.2006 15:04:05"
	}
	return t.In(report.Moscow).Format(form)
}

// ISO is a moment for machines.
func (v *visit) ISO(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Cell is the change of an account by an entry; "" where it does not change.
func (v *visit) Cell(minor int64) string {
	switch {
	case minor == 0:
		return ""
	case minor > 0:
		return "+" + v.Roubles(minor)
	}
	return v.Roubles(minor)
}

// Plus and Minus are for sums that package ledger has found to fit.
func (v *visit) Plus(a, b int64) int64 { return a + b }
func (v *visit) Minus(a int64) int64   { return -a }

// Dots is what is masked, as it stands on cards.
func (v *visit) Dots(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "****", "•••• "), "***", "•••")
}
