package vault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/vault"
)

// kinds are all that something is sealed for.
var kinds = []vault.Kind{
	vault.CardHash, vault.ExpiryHash, vault.HolderHash, vault.CardToken, vault.RecurrentToken, vault.AccountToken,
}

func issue(t testing.TB, v *vault.Vault, i vault.Item, content string) (vault.Item, vault.Token) {
	t.Helper()
	i.CreatedAt, i.EndsAt = sealedAt, sealedAt.AddDate(10, 0, 0)
	made, token, err := v.Issue(i, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return made, token
}

func TestIssue(t *testing.T) {
	v := newVault(t)
	form := regexp.MustCompile(`^[0-9a-f]{64}$`)
	seen := map[vault.Token]bool{}
	for _, kind := range kinds {
		i, token := issue(t, v, vault.Item{Partner: "acme", ID: 7, Kind: kind, Project: "shop"}, string(visa))
		if !form.MatchString(string(token)) || seen[token] {
			t.Errorf("%s: the token has another form, or was issued twice", kind)
		}
		seen[token] = true
		row, err := json.Marshal(i)
		if err != nil || bytes.Contains(row, []byte(token)) || bytes.Contains(row, []byte(visa)) {
			t.Errorf("%s: the row tells the token or the content: %v", kind, err)
		}
		if lookup, err := v.LookUp(kind, token); err != nil || lookup != i.Lookup {
			t.Errorf("%s: it is not found by its token: %v", kind, err)
		}
		if content, err := v.OpenItem(i); err != nil || string(content) != string(visa) {
			t.Errorf("%s: something else came out: %v", kind, err)
		}
		if !i.WipeAt.Equal(i.EndsAt.Add(vault.KeepAfterEnd)) {
			t.Errorf("%s: it is wiped at %v", kind, i.WipeAt)
		}
	}
}

func TestIssueRefusesNothing(t *testing.T) {
	if _, _, err := newVault(t).Issue(vault.Item{Kind: vault.CardHash}, nil); err == nil || fault.CodeOf(err) != fault.Internal {
		t.Errorf("got %v, want %s", err, fault.Internal)
	}
}

// A token of one kind, or under other keys, is unknown as another.
func TestLookUpTellsKindsApart(t *testing.T) {
	v, other := newVault(t), newVault(t)
	token := vault.NewToken()
	seen := map[[32]byte]vault.Kind{}
	for _, kind := range append(slices.Clone(kinds), vault.PublicToken) {
		lookup, err := v.LookUp(kind, token)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := seen[lookup]; ok {
			t.Errorf("the same token is found as %s and %s", was, kind)
		}
		seen[lookup] = kind
		if theirs, err := other.LookUp(kind, token); err != nil || theirs == lookup {
			t.Errorf("%s: the look-up does not hang on the key: %v", kind, err)
		}
	}
}

func TestOpenItemRefuses(t *testing.T) {
	v := newVault(t)
	mine, _ := issue(t, v, vault.Item{Partner: "acme", ID: 7, Kind: vault.CardHash}, string(visa))
	other, _ := issue(t, v, vault.Item{Partner: "acme", ID: 8, Kind: vault.CardHash}, string(mir))
	card := seal(t, v, "acme", 7, visa)
	for _, c := range []struct {
		name string
		make func(i *vault.Item)
	}{
		{"another partner", func(i *vault.Item) { i.Partner = "acme2" }},
		{"another id", func(i *vault.Item) { i.ID++ }},
		{"another kind", func(i *vault.Item) { i.Kind = vault.CardToken }},
		{"the content of another", func(i *vault.Item) { i.Ciphertext, i.Fingerprint = other.Ciphertext, other.Fingerprint }},
		{"the fingerprint of another", func(i *vault.Item) { i.Fingerprint = other.Fingerprint }},
		{"a card of the same number", func(i *vault.Item) { i.Ciphertext, i.Fingerprint = card.Ciphertext, card.Fingerprint }},
		{"a kind and partner that join alike", func(i *vault.Item) { i.Kind, i.Partner = "card_", "hash\x00acme" }},
		{"wiped", func(i *vault.Item) { i.Ciphertext, i.Fingerprint = nil, nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := mine
			c.make(&i)
			content, err := v.OpenItem(i)
			if err == nil || content != nil || fault.CodeOf(err) != fault.Internal {
				t.Errorf("got %d bytes and %v", len(content), err)
			}
			if err != nil && strings.Contains(err.Error(), string(visa)) {
				t.Errorf("the error holds the number: %v", err)
			}
		})
	}
	moved := vault.Sealed{Project: "acme", ID: id.Card(mine.ID), Ciphertext: mine.Ciphertext, Fingerprint: mine.Fingerprint}
	wantClosed(t, v, moved)
}

// The same card is found again wherever it stands; nothing else is.
func TestItemFingerprint(t *testing.T) {
	v := newVault(t)
	card := seal(t, v, "shop", 1, visa)
	for _, kind := range kinds {
		a, _ := issue(t, v, vault.Item{Partner: "acme", ID: 7, Kind: kind}, string(visa))
		b, _ := issue(t, v, vault.Item{Partner: "acme", ID: 8, Kind: kind}, string(visa))
		findable := kind.Card() || kind == vault.AccountToken
		if got := bytes.Equal(a.Fingerprint, b.Fingerprint); got != findable {
			t.Errorf("%s: the same twice has the same fingerprint: %v, want %v", kind, got, findable)
		}
		if got := bytes.Equal(a.Fingerprint, card.Fingerprint); got != kind.Card() {
			t.Errorf("%s: the fingerprint is that of the card: %v, want %v", kind, got, kind.Card())
		}
	}
}

func TestCardID(t *testing.T) {
	v := newVault(t)
	made := func(p id.Partner, s vault.Sealed) string {
		t.Helper()
		card, err := v.CardID(p, s.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		return card
	}
	first := made("acme", seal(t, v, "shop", 1, visa))
	if len(first) != 64 || first != made("acme", seal(t, v, "other", 2, visa)) {
		t.Errorf("%q is not stable", first)
	}
	if first == made("acme", seal(t, v, "shop", 1, mir)) || first == made("birch", seal(t, v, "shop", 1, visa)) {
		t.Error("another card, or another partner, has the same identifier")
	}
}

func TestTokenPrintsNowhere(t *testing.T) {
	token := vault.NewToken()
	out := fmt.Sprintf("%v %+v %#v %s %q %x %d", token, token, token, token, token, token, token)
	b, err := json.Marshal(struct{ Token vault.Token }{token})
	if out += string(b) + token.String() + token.GoString() + token.LogValue().String(); err != nil || strings.Contains(out, string(token)) {
		t.Errorf("it prints: %v", err)
	}
}

func TestItemLife(t *testing.T) {
	day := 24 * time.Hour
	i, _ := issue(t, newVault(t), vault.Item{Kind: vault.CardToken}, string(visa))
	if !i.Active(sealedAt) || !i.Active(i.EndsAt.Add(-1)) || i.Active(i.EndsAt) {
		t.Error("it does not end at its end")
	}
	late := i
	late.Delete(i.EndsAt.Add(day))
	if !late.WipeAt.Equal(i.WipeAt) {
		t.Error("deleted after its end, it is kept longer")
	}
	i.Delete(sealedAt.Add(day))
	if i.Active(sealedAt.Add(day)) || !i.WipeAt.Equal(sealedAt.Add(day+vault.KeepAfterEnd)) {
		t.Errorf("deleted, it is active or wiped at %v", i.WipeAt)
	}
}

func TestPublicActive(t *testing.T) {
	end := sealedAt.Add(24 * time.Hour)
	for _, c := range []struct {
		name   string
		public vault.Public
		at     time.Time
		want   bool
	}{
		{"fresh", vault.Public{Widgets: vault.Widgets{Tokenize: &vault.TokenizeWidget{}}}, sealedAt, true},
		{"at its end", vault.Public{Widgets: vault.Widgets{Tokenize: &vault.TokenizeWidget{}}}, end, false},
		{"no widget", vault.Public{}, sealedAt, false},
		{"used", vault.Public{Widgets: vault.Widgets{Tokenize: &vault.TokenizeWidget{Used: true}}}, sealedAt, false},
		{"one of two used", vault.Public{Widgets: vault.Widgets{
			Tokenize: &vault.TokenizeWidget{Used: true}, SelfEmployed: &vault.SelfEmployedWidget{},
		}}, sealedAt, true},
		{"payment form", vault.Public{Widgets: vault.Widgets{Acquiring: &vault.AcquiringWidget{}}}, sealedAt, true},
		{"one try left", vault.Public{Attempts: vault.AttemptsMax - 1, Widgets: vault.Widgets{Tokenize: &vault.TokenizeWidget{}}}, sealedAt, true},
		{"tried too often", vault.Public{Attempts: vault.AttemptsMax, Widgets: vault.Widgets{Tokenize: &vault.TokenizeWidget{}}}, sealedAt, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.public.EndsAt = end
			if got := c.public.Active(c.at); got != c.want {
				t.Errorf("active %v, want %v", got, c.want)
			}
		})
	}
}

func TestPublicCloneSharesNothing(t *testing.T) {
	p := &vault.Public{Widgets: vault.Widgets{
		Tokenize: &vault.TokenizeWidget{}, SelfEmployed: &vault.SelfEmployedWidget{}, Acquiring: &vault.AcquiringWidget{},
	}}
	c := p.Clone()
	c.Widgets.Tokenize.Used, c.Widgets.SelfEmployed.Used, c.Widgets.Acquiring.Used = true, true, true
	if p.Widgets.Tokenize.Used || p.Widgets.SelfEmployed.Used || p.Widgets.Acquiring.Used {
		t.Error("a change of the clone changed the original")
	}
}
