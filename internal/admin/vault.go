package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/vault"
)

// Token is what a token stands for, as operators see it: nothing is opened.
type Token struct {
	ID        string     `json:"id"` // "tk_" and digits
	Kind      vault.Kind `json:"kind"`
	Project   id.Project `json:"project"` // for which it was issued
	Shows     string     `json:"shows"`   // such as "mir 220000******1317"
	CreatedAt time.Time  `json:"created_at"`
	EndsAt    time.Time  `json:"ends_at"`
	DeletedAt *time.Time `json:"deleted_at,omitempty"`
	Wiped     bool       `json:"wiped,omitempty"` // what it stood for is gone
}

// TokensRequest asks for a page of tokens.
type TokensRequest struct {
	Project id.Project `json:"project"`
	After   string     `json:"after,omitempty"` // ID of the last one seen
	Limit   int        `json:"limit"`
}

// TokenRequest is about one token.
type TokenRequest struct {
	Project id.Project `json:"project"`
	ID      string     `json:"id"`
	Actor   string     `json:"actor"` // set by the client, as in the next two
}

// IssueRequest asks for a token of a card, in a sandbox.
type IssueRequest struct {
	Project id.Project `json:"project"`
	Kind    vault.Kind `json:"kind"`
	Number  string     `json:"number"`
	Actor   string     `json:"actor"`
}

// Issued is the answer to an IssueRequest. The token is shown once.
type Issued struct {
	Token string `json:"token"`
	Row   Token  `json:"row"`
}

// RotateRequest asks to seal the vault anew under a new key.
type RotateRequest struct {
	Fingerprints bool   `json:"fingerprints,omitempty"` // replaces their key too
	Actor        string `json:"actor"`
}

// KeyStep is what an operator does to a vault key file.
type KeyStep string

// The steps, in their order.
const (
	KeyAdd     KeyStep = "add"
	KeyPromote KeyStep = "promote"
	KeyDrop    KeyStep = "drop"
)

// KeyStepRequest asks to write down a step on a key file, which the operator's
// own command takes.
type KeyStepRequest struct {
	Step  KeyStep `json:"step"`
	File  string  `json:"file"` // which is about to be written
	Actor string  `json:"actor"`
}

// Act is one access of an operator to the vault.
type Act struct {
	At      time.Time  `json:"at"`
	Actor   string     `json:"actor"`
	What    string     `json:"what"`
	Project id.Project `json:"project,omitempty"`
	Subject string     `json:"subject,omitempty"`
	Text    string     `json:"text,omitempty"`
}

// AuditRequest asks for the newest acts.
type AuditRequest struct {
	Limit int `json:"limit"`
}

func shownToken(i *vault.Item) Token {
	t := Token{
		ID: i.ID.String(), Kind: i.Kind, Project: i.Project, CreatedAt: i.CreatedAt, EndsAt: i.EndsAt, Wiped: len(i.Ciphertext) == 0,
	}
	switch {
	case i.Shown.Masked != "":
		t.Shows = i.Shown.Masked
	case i.Shown.Last4 != "":
		t.Shows = fmt.Sprintf("%s %s***%s", i.Shown.Brand, i.Shown.BIN, i.Shown.Last4)
	}
	if !i.DeletedAt.IsZero() {
		t.DeletedAt = &i.DeletedAt
	}
	return t
}

// pageMax bounds a list.
const pageMax = 1000

func limited(n int) int { return min(max(n, 1), pageMax) }

func (d *desk) tokens(ctx context.Context, in TokensRequest) ([]Token, error) {
	var after id.Token
	if in.After != "" {
		var err error
		if after, err = id.ParseToken(in.After); err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "after: %v", err)
		}
	}
	items, err := d.engine.Tokens(ctx, in.Project, after, limited(in.Limit))
	if err != nil {
		return nil, err
	}
	list := []Token{} // an empty JSON array, not null
	for n := range items {
		list = append(list, shownToken(&items[n]))
	}
	return list, nil
}

func (d *desk) deleteToken(ctx context.Context, in TokenRequest) (nothing, error) {
	token, err := id.ParseToken(in.ID)
	if err != nil {
		return nothing{}, fault.Wrap(fault.Invalid, err, "token: %v", err)
	}
	if err := d.engine.DeleteToken(ctx, in.Project, token, in.Actor); err != nil {
		return nothing{}, err
	}
	d.log.InfoContext(ctx, "token deleted", "project", in.Project, "token", in.ID, "actor", in.Actor)
	return nothing{}, nil
}

func (d *desk) issueToken(ctx context.Context, in IssueRequest) (Issued, error) {
	item, token, err := d.engine.IssueCard(ctx, in.Project, in.Kind, []byte(in.Number), in.Actor)
	if err != nil {
		return Issued{}, err
	}
	d.log.InfoContext(ctx, "token issued", "project", in.Project, "kind", in.Kind, "token_id", item.ID, "actor", in.Actor)
	return Issued{string(token), shownToken(&item)}, nil
}

func (d *desk) rotate(ctx context.Context, in RotateRequest) (payout.Rotation, error) {
	if d.keeper == nil {
		return payout.Rotation{}, fault.New(fault.Unauthorized, "this server does not keep the vault keys")
	}
	// Written down before, because it may be interrupted, and after.
	done, err := d.engine.Rotate(ctx, d.keeper, in.Fingerprints, func() error {
		return d.engine.Record(ctx, "", in.Actor, "vault_rotate_begin", "", fmt.Sprintf("fingerprints: %t", in.Fingerprints))
	})
	if err != nil {
		return done, err
	}
	d.log.InfoContext(ctx, "vault sealed anew", "rows", done.Sealed, "dropped", done.Dropped, "actor", in.Actor)
	return done, d.engine.Record(ctx, "", in.Actor, "vault_rotate_end", "", fmt.Sprintf("%d rows", done.Sealed))
}

func (d *desk) vaultState(ctx context.Context, _ nothing) (payout.VaultState, error) {
	if d.keeper == nil {
		return payout.VaultState{}, fault.New(fault.Unauthorized, "this server does not keep the vault keys")
	}
	return d.engine.VaultState(ctx, d.keeper)
}

// vaultKey writes down a step that is about to be taken: one that then fails is
// in the book as well, and none is missing.
func (d *desk) vaultKey(ctx context.Context, in KeyStepRequest) (nothing, error) {
	switch in.Step {
	case KeyAdd, KeyPromote, KeyDrop:
	default:
		return nothing{}, fault.New(fault.Invalid, "step: want %s, %s or %s", KeyAdd, KeyPromote, KeyDrop)
	}
	if err := d.engine.Record(ctx, "", in.Actor, "vault_key_"+string(in.Step), "", in.File); err != nil {
		return nothing{}, err
	}
	d.log.InfoContext(ctx, "vault key file changed", "step", in.Step, "file", in.File, "actor", in.Actor)
	return nothing{}, nil
}

func (d *desk) audit(ctx context.Context, in AuditRequest) ([]Act, error) {
	acts, err := d.engine.Audit(ctx, limited(in.Limit))
	if err != nil {
		return nil, err
	}
	list := []Act{}
	for _, a := range acts {
		list = append(list, Act{At: a.At, Actor: a.Actor, What: a.What, Project: a.Project, Subject: a.Subject, Text: a.Text})
	}
	return list, nil
}

// Tokens lists tokens of a project's partner, oldest first.
func (c *Client) Tokens(ctx context.Context, r TokensRequest) ([]Token, error) {
	return call[[]Token](ctx, c, opTokens, r)
}

// DeleteToken ends a token at once; fault.NotFound if the project's partner has
// none of that ID.
func (c *Client) DeleteToken(ctx context.Context, r TokenRequest) error {
	r.Actor = c.operator
	_, err := call[nothing](ctx, c, opDeleteToken, r)
	return err
}

// IssueToken issues a token of a card, in a sandbox.
func (c *Client) IssueToken(ctx context.Context, r IssueRequest) (Issued, error) {
	r.Actor = c.operator
	return call[Issued](ctx, c, opIssueToken, r)
}

// Rotate seals the vault anew.
func (c *Client) Rotate(ctx context.Context, r RotateRequest) (payout.Rotation, error) {
	r.Actor = c.operator
	return call[payout.Rotation](ctx, c, opRotate, r)
}

// VaultState counts the rows of the vault.
func (c *Client) VaultState(ctx context.Context) (payout.VaultState, error) {
	return call[payout.VaultState](ctx, c, opVaultState, nothing{})
}

// RecordKeyStep writes down a step on a vault key file, before it is taken.
func (c *Client) RecordKeyStep(ctx context.Context, r KeyStepRequest) error {
	r.Actor = c.operator
	_, err := call[nothing](ctx, c, opVaultKey, r)
	return err
}

// Audit lists the newest acts of operators on the vault, newest first.
func (c *Client) Audit(ctx context.Context, r AuditRequest) ([]Act, error) {
	return call[[]Act](ctx, c, opAudit, r)
}
