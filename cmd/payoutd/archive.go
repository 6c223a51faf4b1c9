package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/payout"
)

type archiveCommand struct {
	Run    archiveRunCommand    `cmd:"" default:"withargs" help:"Take sessions that ended long ago out of the database, into files, while the server goes on."`
	Verify archiveVerifyCommand `cmd:"" help:"Prove the books together with archive files."`
}

type archiveRunCommand struct {
	To        string `placeholder:"DIR" type:"path" help:"Folder that the files are written to, on the machine of the server; it must exist."`
	OlderThan age    `default:"400d" placeholder:"AGE" help:"How long ago a session must have ended: days as in 400d, or hours and minutes; at least 90d."`
	Trial     bool   `help:"Allow a shorter --older-than. For trials: returns that come later are not given to partners by themselves."`
	DryRun    bool   `help:"Only count what would be archived."`
	Rest      int    `default:"3" placeholder:"TIMES" help:"Rest so many times as long as each piece of work took, up to 100; 0 for a database that serves nobody."`
	JSON      bool   `name:"json" help:"Print JSON."`
}

// age is a time, in days or as Go writes it.
type age time.Duration

// UnmarshalText reads "400d", or "9600h".
func (a *age) UnmarshalText(b []byte) error {
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("want a number of days such as 400d, not %q", b)
		}
		*a = age(time.Duration(n) * 24 * time.Hour) // #nosec G115 -- of 16 bits
		return nil
	}
	d, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("want an age such as 400d or 9600h, not %q", b)
	}
	*a = age(d)
	return nil
}

func (c *archiveRunCommand) Run(ctx context.Context, p *program, g *global) error {
	if c.To == "" && !c.DryRun {
		return misused("archive: name the folder of the files by --to, or count only by --dry-run; such as: %s archive --to /var/lib/payoutd/archive", p.name)
	}
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	done, err := desk.Archive(ctx, admin.ArchiveRequest{
		Folder: c.To, OlderThan: time.Duration(c.OlderThan), Trial: c.Trial, DryRun: c.DryRun, Rest: c.Rest,
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return p.printJSON(done)
	}
	what := "archived"
	if c.DryRun {
		what = "to be archived"
	}
	p.printf("%s: %s with %s and %s that ended before %s, %d bytes\n", what, count(done.Sessions, "session", "sessions"),
		count(done.Payouts, "payout", "payouts"), count(done.Events, "event", "events"), done.Before.Format(time.RFC3339), done.Bytes)
	for _, f := range done.Files {
		p.printf("%s: %s, %d bytes, sha256 %s\n", filepath.Join(c.To, f.Name), count(f.Sessions, "session", "sessions"), f.Bytes, f.Print)
	}
	if done.Held > 0 {
		p.printf("%s as old %s, because something about them is open\n", count(done.Held, "session", "sessions"), word(done.Held, "stays", "stay"))
	}
	if done.Changed > 0 {
		p.printf("%s had changed when it was their turn: run the command again\n", count(done.Changed, "session", "sessions"))
	}
	return nil
}

func word(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

type archiveVerifyCommand struct {
	Files []string `arg:"" type:"path" help:"Archive files, or folders with them, on the machine of the server."`
	JSON  bool     `name:"json" help:"Print JSON."`
}

// Run fails if the books are not clean.
func (c *archiveVerifyCommand) Run(ctx context.Context, p *program, g *global) error {
	var files []string
	for _, path := range c.Files {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			files = append(files, path)
			continue
		}
		in, err := filepath.Glob(filepath.Join(path, "*.jsonl.gz"))
		if err != nil || len(in) == 0 {
			return errors.Join(err, fmt.Errorf("no archive in %s", path))
		}
		files = append(files, in...)
	}
	return p.prove(ctx, g, c.JSON, func(desk *admin.Client) (*payout.Report, error) { return desk.CheckArchives(ctx, files) })
}
