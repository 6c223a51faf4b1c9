package admin

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/store/sqlite"
	"github.com/payoutd/payoutd/internal/vault"
)

const cardNumber = "2200000000001317"

// newSandboxDesk returns a client of a sandbox with the project acme, as olga.
func newSandboxDesk(t *testing.T) *Client {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "payoutd.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	keys, err := vault.Generate()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	e, err := payout.New(t.Context(), payout.Options{Store: s, Vault: v, Sandbox: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	p := place(t, New(Options{Engine: e, Store: s, Database: database}))
	p.Operator = "olga"
	c := connect(t, p)
	made(t, c)
	return c
}

// Each access to the vault is written down under the name of who asked,
// whatever the request itself says.
func TestTokensAtTheDesk(t *testing.T) {
	c := newSandboxDesk(t)
	issued, err := c.IssueToken(t.Context(), IssueRequest{Project: "acme", Kind: vault.RecurrentToken, Number: cardNumber, Actor: "mallory"})
	if err != nil || len(issued.Token) != 64 {
		t.Fatalf("%d digits, %v", len(issued.Token), err)
	}
	list, err := c.Tokens(t.Context(), TokensRequest{Project: "acme", Limit: 10})
	if err != nil || len(list) != 1 || list[0].ID != issued.Row.ID || list[0].Shows != "mir 220000***1317" || list[0].DeletedAt != nil {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := c.Tokens(t.Context(), TokensRequest{Project: "acme", After: issued.Row.ID, Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("after the last: %+v, %v", list, err)
	}
	if err := c.DeleteToken(t.Context(), TokenRequest{Project: "acme", ID: issued.Row.ID, Actor: "mallory"}); err != nil {
		t.Fatal(err)
	}
	acts, err := c.Audit(t.Context(), AuditRequest{Limit: 10})
	if err != nil || len(acts) != 2 || acts[0].What != "token_delete" || acts[1].What != "token_issue" || acts[0].Actor != "olga" || acts[1].Actor != "olga" {
		t.Errorf("%+v, %v", acts, err)
	}
	all, err := json.Marshal([]any{list, acts})
	if err != nil || strings.Contains(string(all), issued.Token) || strings.Contains(string(all), cardNumber) {
		t.Errorf("a list tells too much: %s, %v", all, err)
	}
	if acts, err := c.Audit(t.Context(), AuditRequest{}); err != nil || len(acts) != 1 {
		t.Errorf("without a limit: %d acts, %v", len(acts), err)
	}
}

func TestTokensAtTheDeskRefused(t *testing.T) {
	c := newSandboxDesk(t)
	_, err := c.IssueToken(t.Context(), IssueRequest{Project: "acme", Kind: vault.CardToken, Number: "42"})
	wantCode(t, err, fault.Invalid, "number: want 14 to 19 digits")
	_, err = c.IssueToken(t.Context(), IssueRequest{Project: "acme", Kind: vault.PublicToken, Number: cardNumber})
	wantCode(t, err, fault.Invalid, "kind: want card_hash, card_token or recurrent_token")
	_, err = c.IssueToken(t.Context(), IssueRequest{Project: "nobody", Kind: vault.CardToken, Number: cardNumber})
	wantCode(t, err, fault.NotFound, "no project nobody")
	wantCode(t, c.DeleteToken(t.Context(), TokenRequest{Project: "acme", ID: "tk_7"}), fault.NotFound, "no tk_7")
	wantCode(t, c.DeleteToken(t.Context(), TokenRequest{Project: "acme", ID: "7"}), fault.Invalid, "token: want")
	_, err = c.Tokens(t.Context(), TokensRequest{Project: "acme", After: "x"})
	wantCode(t, err, fault.Invalid, "after: want")
	_, err = c.Tokens(t.Context(), TokensRequest{Project: "nobody"})
	wantCode(t, err, fault.NotFound, "no project nobody")
	_, err = c.Rotate(t.Context(), RotateRequest{})
	wantCode(t, err, fault.Unauthorized, "does not keep the vault keys")
	_, err = c.VaultState(t.Context())
	wantCode(t, err, fault.Unauthorized, "does not keep the vault keys")
	if acts, err := c.Audit(t.Context(), AuditRequest{Limit: 10}); err != nil || len(acts) != 0 {
		t.Errorf("%d acts of what was not done, %v", len(acts), err)
	}
}

// Steps on key files are taken by the operator's own command and written down
// here.
func TestKeySteps(t *testing.T) {
	c := newSandboxDesk(t)
	for _, step := range []KeyStep{KeyAdd, KeyPromote, KeyDrop} {
		if err := c.RecordKeyStep(t.Context(), KeyStepRequest{Step: step, File: string(step) + ".key", Actor: "mallory"}); err != nil {
			t.Fatal(err)
		}
		acts, err := c.Audit(t.Context(), AuditRequest{Limit: 1})
		if err != nil || len(acts) != 1 || acts[0].What != "vault_key_"+string(step) || acts[0].Text != string(step)+".key" || acts[0].Actor != "olga" {
			t.Errorf("%s: %+v, %v", step, acts, err)
		}
	}
	for _, step := range []KeyStep{"", "show", "add "} {
		wantCode(t, c.RecordKeyStep(t.Context(), KeyStepRequest{Step: step}), fault.Invalid, "step: want add, promote or drop")
	}
	if acts, err := c.Audit(t.Context(), AuditRequest{Limit: 10}); err != nil || len(acts) != 3 {
		t.Errorf("%d acts, %v; want 3", len(acts), err)
	}
}

func TestSettingsOfTokens(t *testing.T) {
	c := newSandboxDesk(t)
	set := func(s Settings) (Settings, error) {
		q, err := c.Set(t.Context(), SetRequest{Project: "acme", Settings: s})
		return q.Settings, err
	}
	life := func(d time.Duration) *partner.Duration { return (*partner.Duration)(&d) }
	q, err := c.Project(t.Context(), "acme")
	if err != nil || *q.Settings.Partner != "acme" || time.Duration(*q.Settings.PublicTokenLife) != 24*time.Hour || *q.Settings.TokenLife != 0 || *q.Settings.SelfEmployed {
		t.Errorf("the defaults are %+v, %v", q.Settings, err)
	}
	name, yes := "group", true
	s, err := set(Settings{Partner: &name, PublicTokenLife: life(time.Hour), TokenLife: life(48 * time.Hour), CardIDs: &yes, AccountTokens: &yes, Elements: &yes, SelfEmployed: &yes})
	if err != nil || *s.Partner != "group" || time.Duration(*s.PublicTokenLife) != time.Hour || time.Duration(*s.TokenLife) != 48*time.Hour || !*s.CardIDs || !*s.AccountTokens || !*s.Elements || !*s.SelfEmployed {
		t.Errorf("%+v, %v", s, err)
	}
	bad, none := "a b", ""
	if s, err := set(Settings{Partner: &none, TokenLife: life(0)}); err != nil || *s.Partner != "acme" || *s.TokenLife != 0 {
		t.Errorf("back to the defaults: %+v, %v", s, err)
	}
	for _, row := range []struct {
		name string
		set  Settings
		says string
	}{
		{"a partner that is no name", Settings{Partner: &bad}, "partner"},
		{"a public token too short-lived", Settings{PublicTokenLife: life(time.Second)}, "want whole seconds, 1m to 720h"},
		{"a public token too long-lived", Settings{PublicTokenLife: life(721 * time.Hour)}, "want whole seconds, 1m to 720h"},
		{"part of a second", Settings{TokenLife: life(time.Hour + time.Millisecond)}, "want whole seconds, 1h"},
		{"a token that ended before", Settings{TokenLife: life(-time.Hour)}, "want whole seconds, 1h"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := set(row.set)
			wantCode(t, err, fault.Invalid, row.says)
		})
	}
}
