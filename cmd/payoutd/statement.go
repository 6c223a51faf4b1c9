package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/rail/statement"
)

type statementCommand struct {
	Import statementImportCommand `cmd:"" help:"Take in a statement of a rail: compare each line with the books. Exit code 1 if they differ."`
	List   statementListCommand   `cmd:"" help:"List the statements that were taken in, newest first."`
	Show   statementShowCommand   `cmd:"" help:"Show what was found in a statement. Exit code 1 if it is any difference."`
}

type statementImportCommand struct {
	File   string `arg:"" help:"The statement; - reads standard input."`
	Rail   string `required:"" placeholder:"NAME" help:"Rail that it is of."`
	Format string `default:"" enum:",csv,camt053" placeholder:"FORM" help:"csv or camt053; without it the content tells."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (c *statementImportCommand) Run(ctx context.Context, p *program, g *global) error {
	file, err := input(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	return p.withStatement(ctx, g, c.JSON, func(desk *admin.Client) (admin.Statement, error) {
		return desk.ImportStatement(ctx, c.Rail, statement.Format(c.Format), file)
	})
}

// input opens a file that a command is given; - is the standard input.
func input(path string) (io.ReadCloser, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	return os.Open(path)
}

type statementShowCommand struct {
	Number string `arg:"" help:"Number of the statement, such as st_1, as statement list prints it."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (c *statementShowCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withStatement(ctx, g, c.JSON, func(desk *admin.Client) (admin.Statement, error) {
		return desk.Statement(ctx, c.Number)
	})
}

// withStatement prints a statement with what was found, and fails if that is any
// difference.
func (p *program) withStatement(ctx context.Context, g *global, asJSON bool, get func(*admin.Client) (admin.Statement, error)) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	s, err := get(desk)
	if err != nil {
		return err
	}
	if asJSON {
		err = p.printJSON(s)
	} else {
		err = p.showStatement(&s)
	}
	switch {
	case err != nil:
		return err
	case s.State != "done":
		return fmt.Errorf("the statement %s was not taken in to its end: import the same file again", s.Number)
	case s.Differences > 0:
		return fmt.Errorf("the statement and the books differ in %s", count(s.Differences, "place", "places"))
	}
	return nil
}

func (p *program) showStatement(s *admin.Statement) error {
	if s.Repeated {
		p.printf("it was taken in before, at %s: nothing is done now\n", s.TakenAt.Format(time.RFC3339))
	}
	p.printf("%s: statement %s of %s, from %s to %s\n", s.Number, s.ID, s.Rail, s.From.Format(time.RFC3339), s.To.Format(time.RFC3339))
	p.printf("%s, %d matched (%s proved, %s taken), %s due, %s\n",
		count(s.Lines, "line", "lines"), s.Matched, count(s.Proved, "payout", "payouts"), count(s.Returned, "return", "returns"),
		count(s.Due, "movement", "movements"), count(s.Differences, "difference", "differences"))
	if len(s.Found) == 0 {
		return nil
	}
	return p.table(func(row func(...any)) {
		row("NO", "KIND", "LINE", "REFERENCE", "THEIRS", "OURS", "PROJECT", "SESSION", "WHAT")
		for i := range s.Found {
			d := &s.Found[i]
			what := d.Text
			if d.FoundIn != "" {
				what += "; found since in " + d.FoundIn
			}
			line := ""
			if d.Line != 0 {
				line = fmt.Sprint(d.Line)
			}
			row(d.No, d.Kind, line, d.Reference, orNothing(d.Theirs), orNothing(d.Ours), d.Project, d.Session, what)
		}
	})
}

func orNothing(a *money.Amount) string {
	if a == nil {
		return ""
	}
	return a.String()
}

type statementListCommand struct {
	Limit int  `default:"100" help:"At most so many, up to 1000."`
	JSON  bool `name:"json" help:"Print JSON."`
}

func (c *statementListCommand) Run(ctx context.Context, p *program, g *global) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	list, err := desk.Statements(ctx, c.Limit)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return p.printJSON(list)
	case len(list) == 0:
		p.printf("no statements were taken in\n")
		return nil
	}
	return p.table(func(row func(...any)) {
		row("NUMBER", "RAIL", "ID", "FROM", "TO", "LINES", "MATCHED", "DIFFERENCES", "STATE", "TAKEN")
		for i := range list {
			s := &list[i]
			row(s.Number, s.Rail, s.ID, s.From.Format(time.RFC3339), s.To.Format(time.RFC3339), s.Lines, s.Matched, s.Differences, s.State,
				s.TakenAt.Format(time.RFC3339))
		}
	})
}
