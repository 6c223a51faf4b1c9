package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/vault"
)

type tokenCommand struct {
	List   tokenListCommand   `cmd:"" help:"List the tokens of a project's partner; nothing is opened."`
	Delete tokenDeleteCommand `cmd:"" help:"End a token at once; payouts by it that were not sent fail."`
	Issue  tokenIssueCommand  `cmd:"" help:"Issue a token of a card in a sandbox; the number is read from standard input."`
}

type tokenListCommand struct {
	Project string `arg:"" help:"Name of the project."`
	After   string `placeholder:"ID" help:"Go on after this one."`
	Limit   int    `default:"100" help:"At most so many, up to 1000."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

func (c *tokenListCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withProject(ctx, g, c.Project, func(desk *admin.Client, name id.Project) error {
		tokens, err := desk.Tokens(ctx, admin.TokensRequest{Project: name, After: c.After, Limit: c.Limit})
		if err != nil {
			return err
		}
		if c.JSON {
			return p.printJSON(tokens)
		}
		return p.table(func(row func(...any)) {
			row("ID", "KIND", "SHOWS", "ISSUED FOR", "CREATED", "ENDS", "STATE")
			for _, t := range tokens {
				state := "stands"
				if t.DeletedAt != nil {
					state = "deleted"
				}
				if t.Wiped {
					state += ", wiped"
				}
				row(t.ID, t.Kind, orNone(t.Shows), t.Project, t.CreatedAt.Format(time.RFC3339), t.EndsAt.Format(time.RFC3339), state)
			}
		})
	})
}

type tokenDeleteCommand struct {
	Project string `arg:"" help:"Name of the project."`
	ID      string `arg:"" help:"ID of the token, as token list prints it."`
}

func (c *tokenDeleteCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withProject(ctx, g, c.Project, func(desk *admin.Client, name id.Project) error {
		if err := desk.DeleteToken(ctx, admin.TokenRequest{Project: name, ID: c.ID}); err != nil {
			return err
		}
		p.printf("%s is deleted\n", c.ID)
		return nil
	})
}

type tokenIssueCommand struct {
	Project string `arg:"" help:"Name of the project."`
	Kind    string `default:"recurrent_token" enum:"recurrent_token,card_token,card_hash" help:"Kind of token: ${enum}."`
	JSON    bool   `name:"json" help:"Print JSON."`
}

// numberBytesMax is more than a card number and the end of a line.
const numberBytesMax = 64

func (c *tokenIssueCommand) Run(ctx context.Context, p *program, g *global) error {
	number, err := io.ReadAll(io.LimitReader(os.Stdin, numberBytesMax))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	return p.withProject(ctx, g, c.Project, func(desk *admin.Client, name id.Project) error {
		made, err := desk.IssueToken(ctx, admin.IssueRequest{Project: name, Kind: vault.Kind(c.Kind), Number: strings.TrimSpace(string(number))})
		if err != nil {
			return err
		}
		if c.JSON {
			return p.printJSON(made)
		}
		p.printf("%s\n", made.Token)
		return nil
	})
}

type auditCommand struct {
	Limit int  `default:"100" help:"At most so many, up to 1000."`
	JSON  bool `name:"json" help:"Print JSON."`
}

func (c *auditCommand) Run(ctx context.Context, p *program, g *global) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	acts, err := desk.Audit(ctx, admin.AuditRequest{Limit: c.Limit})
	if err != nil {
		return err
	}
	if c.JSON {
		return p.printJSON(acts)
	}
	return p.table(func(row func(...any)) {
		row("AT", "WHO", "WHAT", "PROJECT", "OF", "")
		for _, a := range acts {
			row(a.At.Format(time.RFC3339), a.Actor, a.What, orNone(string(a.Project)), orNone(a.Subject), a.Text)
		}
	})
}

func rotateRequest(fingerprints bool) admin.RotateRequest {
	return admin.RotateRequest{Fingerprints: fingerprints}
}

// operator is who gives the command, as far as the machine knows: the one who
// became another by sudo, not whom he became.
func (p *program) operator() string {
	if name := newEnvironment(p.environ)["SUDO_USER"]; name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
