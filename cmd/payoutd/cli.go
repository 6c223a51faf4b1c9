package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"

	"github.com/payoutd/payoutd/internal/fault"
)

// Exit codes.
const (
	exitDone    = 0
	exitFailure = 1 // the command was right, but could not be done
	exitUsage   = 2 // the command line itself is wrong
)

const description = `Payout platform, wire-compatible with the public Bank 131 payout API.

Every flag --some-name has an environment variable PAYOUTD_SOME_NAME; a secret
may also stand in a file that PAYOUTD_SOME_NAME_FILE names. Flags win over
variables.`

// grammar is the whole command line.
type grammar struct {
	global

	Sandbox  sandboxCommand  `cmd:"" help:"Run everything with a simulated outside world; needs no configuration."`
	Serve    serveCommand    `cmd:"" help:"Run the server."`
	Migrate  migrateCommand  `cmd:"" help:"Bring the schema of the database up."`
	Project  projectCommand  `cmd:"" help:"Partners and their settings."`
	Deposit  depositCommand  `cmd:"" help:"Book money that a partner has brought in, once per reference."`
	Report   reportCommand   `cmd:"" help:"What was paid on a day, as a table."`
	Webhook  webhookCommand  `cmd:"" help:"Webhook events: list them, deliver them again."`
	Receipts receiptsCommand `cmd:"" help:"Receipts of self-employed people: list what is open, try again, compare."`
	Check    checkCommand    `cmd:"" help:"Prove the books."`
	Alarms   alarmsCommand   `cmd:"" help:"What calls for people, newest first."`

	Archive   archiveCommand   `cmd:"" help:"Take what ended long ago out of the database."`
	Statement statementCommand `cmd:"" help:"Statements of rails: compare them with the books."`

	Backup   backupCommand   `cmd:"" help:"Copy the SQLite database, beside the running server as well, to be kept."`
	Restored restoredCommand `cmd:"" help:"Go on with a database that was restored from a backup."`

	Token    tokenCommand    `cmd:"" help:"What stands for cards and accounts."`
	Vault    vaultCommand    `cmd:"" help:"What is sealed, and the key that seals it."`
	Operator operatorCommand `cmd:"" help:"Who may log in to the console."`
	Audit    auditCommand    `cmd:"" help:"Who did what with the vault and after a restore, newest first."`
	Copy     copyCommand     `cmd:"" help:"Move a stopped installation to another database."`
	Payout   payoutCommand   `cmd:"" help:"The partner's side of the API, from the shell."`
	Config   configCommand   `cmd:"" help:"Print the settings that serve would run with; secrets are hidden."`
	Bench    benchCommand    `cmd:"" help:"Measure how many payouts this machine makes, on an empty database."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// program is the process as its commands see it.
type program struct {
	stdout, stderr io.Writer
	environ        []string // "NAME=value"
	name           string   // to start it again with
}

// usageError is a command line that cannot be right, with what to type instead.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func misused(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// exited is how kong asks for the end after --help.
type exited int

// run does the command and returns the exit code. It writes to p only.
func (p *program) run(ctx context.Context, args []string) (code int) {
	defer func() {
		if e, ok := recover().(exited); ok {
			code = int(e)
		}
	}()
	var g grammar
	variables := newEnvironment(p.environ)
	parser, err := kong.New(&g,
		kong.Name("payoutd"), kong.Description(description), kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}), kong.Help(help), kong.ValueFormatter(withDefault),
		kong.Resolvers(variables), kong.Bind(p, &g.global), kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return p.fail(err)
	}
	for _, name := range variables.unknown(parser.Model) {
		p.warn("the environment variable %s is none of payoutd's: is it misspelt?", name)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return p.misuse(err)
	}
	return p.fail(parsed.Run())
}

// withDefault tells the default of a flag in its help where a placeholder stands
// in the place of that.
func withDefault(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.Flag == nil || v.Flag.PlaceHolder == "" || v.Default == "" {
		return help
	}
	return help + " Default: " + v.Default + "."
}

// help prints what a command takes: of one that stands for its first, as archive
// does for archive run, what that takes as well.
func help(options kong.HelpOptions, of *kong.Context) error {
	if node := of.Selected(); node != nil && node.DefaultCmd != nil {
		node.Flags = append(node.Flags, node.DefaultCmd.Flags...)
	}
	return kong.DefaultHelpPrinter(options, of)
}

// fail tells what went wrong, if anything did, and returns the exit code.
func (p *program) fail(err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(p.stderr, "payoutd: %s\n", message(err))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailure
}

// message is an error as the operator should read it: refusals in their own
// words, all else with its cause.
func message(err error) string {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err.Error()
	}
	text := strings.Replace(err.Error(), e.Error(), e.Text, 1)
	// That somebody else holds a lock is all there is to say of it.
	if e.Cause != nil && !strings.Contains(text, e.Cause.Error()) && !errors.Is(e.Cause, syscall.EWOULDBLOCK) {
		text += ": " + e.Cause.Error()
	}
	return text
}

// misuse tells what is wrong with the command line and what would be right.
func (p *program) misuse(err error) int {
	text, at := err.Error(), ""
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		node := parse.Context.Selected()
		if node == nil {
			node = parse.Context.Model.Node
		}
		at = strings.TrimSpace(strings.TrimPrefix(node.FullPath(), "payoutd"))
		text = unknownCommand(text, node)
	}
	fmt.Fprintf(p.stderr, "payoutd: %s\n", text)
	fmt.Fprintf(p.stderr, "Try: %s --help\n", strings.TrimSpace(p.name+" "+at))
	return exitUsage
}

// unknownCommand says the same of a word that is no command, with the nearest
// one or all of them.
func unknownCommand(text string, node *kong.Node) string {
	word, ok := strings.CutPrefix(text, "unexpected argument ")
	if !ok || len(node.Children) == 0 {
		return text
	}
	word, _, _ = strings.Cut(word, ", did you mean")
	var names []string
	for _, child := range node.Children {
		names = append(names, child.Name)
	}
	path := node.FullPath()
	if near := nearest(strings.Trim(word, `"`), names); near != "" {
		return fmt.Sprintf("unknown command %q; did you mean: %s %s", strings.Trim(word, `"`), path, near)
	}
	return fmt.Sprintf("unknown command %q; %s knows %s", strings.Trim(word, `"`), path, strings.Join(names, ", "))
}

// nearest is the name that takes the fewest typing errors to become the word;
// "" if none is near.
func nearest(word string, names []string) string {
	best, bestAt := "", len(word)/2+1
	for _, name := range names {
		if d := distance(word, name); d < bestAt || word != "" && best == "" && strings.HasPrefix(name, word) {
			best, bestAt = name, d
		}
	}
	return best
}

// distance counts the letters to be put in, left out or changed (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// count is a number of things in words, such as "1 entry" and "2 entries".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (p *program) warn(format string, args ...any) {
	fmt.Fprintf(p.stderr, "payoutd: warning: "+format+"\n", args...)
}

func (p *program) printf(format string, args ...any) {
	fmt.Fprintf(p.stdout, format, args...)
}

// colourful reports whether the screen takes colours and the user wants them
// (no-color.org).
func (p *program) colourful(variables environment) bool {
	if variables["NO_COLOR"] != "" {
		return false
	}
	f, ok := p.stdout.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
