package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/console"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/operator"
)

type operatorCommand struct {
	Add    operatorAddCommand    `cmd:"" help:"Let somebody log in to the console."`
	List   operatorListCommand   `cmd:"" help:"List who may log in."`
	Set    operatorSetCommand    `cmd:"" help:"Give somebody another role or password; ends what they have open."`
	Remove operatorRemoveCommand `cmd:"" help:"Let somebody log in no more."`
}

// passwordFlag says where a password comes from. One on the command line would
// be seen by all users of the machine.
type passwordFlag struct {
	PasswordStdin bool `help:"Read the password from the first line of the standard input."`
}

func (f passwordFlag) read(from io.Reader) (string, error) {
	if !f.PasswordStdin {
		return "", nil
	}
	line, err := bufio.NewReader(io.LimitReader(from, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	password := strings.TrimRight(line, "\r\n")
	return password, operator.CheckPassword(password)
}

type operatorAddCommand struct {
	Name string `arg:"" help:"Name to log in with: letters, digits, '_', '-' and '.'."`
	Role string `required:"" enum:"viewer,accountant,admin" placeholder:"ROLE" help:"${enum}."`
	passwordFlag
}

func (c *operatorAddCommand) Run(ctx context.Context, p *program, g *global) error {
	password, err := c.read(os.Stdin)
	if err != nil {
		return err
	}
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		o, err := desk.AddOperator(ctx, admin.OperatorRequest{Name: c.Name, Role: c.Role, Password: password})
		if err != nil {
			return err
		}
		p.printf("operator %s may log in as %s\n", o.Name, o.Role)
		p.showPassword(o)
		return nil
	})
}

func (p *program) showPassword(o admin.Operator) {
	if o.Password != "" {
		p.printf("password: %s\n", o.Password)
	}
}

type operatorListCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *operatorListCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		all, err := desk.Operators(ctx)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return p.printJSON(all)
		case len(all) == 0:
			p.printf("no operators; add one with: %s operator add NAME --role viewer%s\n", p.name, g.flags())
			return nil
		}
		return p.table(func(row func(...any)) {
			row("NAME", "ROLE", "SINCE")
			for _, o := range all {
				row(o.Name, o.Role, o.CreatedAt.Format(time.RFC3339))
			}
		})
	})
}

type operatorSetCommand struct {
	Name        string `arg:"" help:"Name of the operator."`
	Role        string `enum:",viewer,accountant,admin" default:"" placeholder:"ROLE" help:"viewer, accountant or admin."`
	NewPassword bool   `help:"Make up a new password and print it."`
	passwordFlag
}

func (c *operatorSetCommand) Run(ctx context.Context, p *program, g *global) error {
	switch {
	case c.NewPassword && c.PasswordStdin:
		return misused("--new-password and --password-stdin: want one of them")
	case c.Role == "" && !c.NewPassword && !c.PasswordStdin:
		return misused("nothing to change: name one of --role, --new-password, --password-stdin")
	}
	password, err := c.read(os.Stdin)
	if err != nil {
		return err
	}
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		o, err := desk.SetOperator(ctx, admin.OperatorRequest{Name: c.Name, Role: c.Role, Password: password, Renew: c.NewPassword})
		if err != nil {
			return err
		}
		p.printf("operator %s may log in as %s, and has to do so again\n", o.Name, o.Role)
		p.showPassword(o)
		return nil
	})
}

type operatorRemoveCommand struct {
	Name string `arg:"" help:"Name of the operator."`
}

func (c *operatorRemoveCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withDesk(ctx, g, func(desk *admin.Client) error {
		if err := desk.RemoveOperator(ctx, c.Name); err != nil {
			return err
		}
		p.printf("operator %s may log in no more\n", c.Name)
		return nil
	})
}

// newConsole is the operators' pages of this node.
func (s *server) newConsole() (*console.Server, error) {
	proxies, err := networks("--console-proxy", s.flags.ConsoleProxy)
	if err != nil {
		return nil, err
	}
	return console.New(console.Options{
		Store: s.store, Record: s.engine.Record, Now: s.clock.Now, Log: s.log, Proxies: proxies, Sandbox: s.world != nil,
	}), nil
}

// demoOperator may see everything in a sandbox.
const demoOperator = "demo"

// openConsole makes the console of a sandbox, which stands beside the API, and
// sees to it that its operator has the password that lies in the folder.
func (s *server) openConsole(ctx context.Context, d *demo) error {
	text, err := keep(s.path(demoProject, "console-password"), 0o600, func() ([]byte, error) {
		return []byte(operator.NewPassword() + "\n"), nil
	})
	if err != nil {
		return err
	}
	d.password = strings.TrimSpace(string(text))
	o, err := s.store.Operator(ctx, demoOperator)
	switch {
	case err == nil && operator.Check(&o, d.password):
	case err == nil:
		d.password = "" // the user has given it another
	case fault.CodeOf(err) == fault.NotFound:
		err = s.store.AddOperator(ctx, operator.Operator{
			Name: demoOperator, Role: operator.Admin, Password: operator.Hash(d.password), CreatedAt: s.clock.Now().UTC().Truncate(time.Microsecond),
		})
	}
	if err != nil {
		return err
	}
	s.console, err = s.newConsole()
	return err
}
