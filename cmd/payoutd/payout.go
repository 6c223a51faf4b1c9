package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/report"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// payoutCommand does what a partner does, with the public client.
type payoutCommand struct {
	URL        string `name:"url" default:"http://127.0.0.1:8131" placeholder:"URL" help:"Address of the server."`
	Project    string `default:"demo" placeholder:"ID" help:"Project in whose name requests are made."`
	Key        string `placeholder:"FILE" help:"Private key that signs them (default: DIR/demo/private.pem)."`
	APIVersion int    `name:"api-version" default:"2" placeholder:"N" help:"Version of the API: 1 or 2."`
	JSON       bool   `name:"json" help:"Print the server's last answer as it came."`

	Create  payoutCreateCommand  `cmd:"" help:"Start a payout to a card, an account, a phone or a wallet."`
	Status  payoutStatusCommand  `cmd:"" help:"Show a session."`
	Confirm payoutConfirmCommand `cmd:"" help:"Release a payout that awaits it."`
	Cancel  payoutCancelCommand  `cmd:"" help:"Drop a payout that has not been confirmed."`
}

// partnerDesk is a partner's connection to the server.
type partnerDesk struct {
	*client.Client
	program *program
	flags   *payoutCommand
	again   string // flags that lead another command to the same server
	answer  []byte // the last one, as it came
}

func (c *payoutCommand) connect(p *program, g *global) (*partnerDesk, error) {
	f, err := g.folder()
	if err != nil {
		return nil, err
	}
	path := c.Key
	if path == "" {
		path = f.path("demo", "private.pem")
	}
	pem, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && c.Key == "" {
		return nil, misused("no private key in %s: name it with --key FILE, or the sandbox's folder with --data DIR", shown(path))
	}
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	key, err := sign.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("--key %s: %w", path, err)
	}
	d := &partnerDesk{program: p, flags: c, again: g.flags() + c.changed()}
	d.Client, err = client.New(c.URL, c.Project, key, client.WithVersion(c.APIVersion),
		client.WithTrace(func(e client.Exchange) { d.answer = e.Response }))
	if err != nil {
		return nil, misused("%v", err)
	}
	return d, nil
}

// changed are the flags of this command that are not at their defaults.
func (c *payoutCommand) changed() string {
	var b strings.Builder
	for _, f := range []struct{ name, value, usual string }{
		{"--url", c.URL, "http://127.0.0.1:8131"}, {"--project", c.Project, demoProject}, {"--key", c.Key, ""},
	} {
		if f.value != f.usual {
			b.WriteString(" " + f.name + " " + quote(f.value))
		}
	}
	return b.String()
}

// explain puts a failure of the API into the operator's words.
func (d *partnerDesk) explain(err error) error {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return fmt.Errorf("the server refused: %w", refused)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no server answers on %s: start one with: %s sandbox, or name it with --url", d.flags.URL, d.program.name)
	}
	return err
}

// refused reports whether the server has said that it does not do what was asked.
// A failure of its own leaves that open, and so does a proxy that answers for it.
func refused(err error) bool {
	of, ok := errors.AsType[*client.Error](err)
	return ok && of.HTTP < http.StatusInternalServerError && of.Code != client.CodeUnreadable
}

// busy reports whether the server itself has said that it has done nothing and
// may be asked again.
func busy(err error) bool {
	of, ok := errors.AsType[*client.Error](err)
	return ok && of.HTTP == http.StatusServiceUnavailable && of.Code == client.CodeInternal
}

// show prints a session, or the raw answer where that was asked for.
func (d *partnerDesk) show(s client.Session) error {
	if d.flags.JSON {
		d.program.printf("%s\n", d.answer)
		return nil
	}
	return d.program.table(func(row func(...any)) {
		row("session", s.ID)
		row("status", s.Status)
		if s.NextAction != "" {
			row("next", fmt.Sprintf("%s, with: %s payout %s %s%s", s.NextAction, d.program.name, s.NextAction, s.ID, d.again))
		}
		if s.Error != nil {
			row("error", s.Error.Code+": "+s.Error.Description)
		}
		for _, o := range s.Payouts {
			row("payout", o.ID+" "+o.Status+inWords(o.Amount)+destination(o.Details))
			if o.Error != nil {
				row("error", o.Error.Code+": "+o.Error.Description)
			}
			for i := range o.Refunds {
				r := &o.Refunds[i]
				row("refund", r.ID+" "+r.Status+inWords(r.Amount)+" at "+r.CreatedAt.Format(time.RFC3339))
			}
			if o.Fiscal != nil && o.Fiscal.Taxpayer.Receipt != nil {
				row("receipt", strings.TrimSpace(o.Fiscal.Taxpayer.Receipt.ID+" "+o.Fiscal.Taxpayer.Receipt.Link))
			}
		}
	})
}

// inWords is an amount, with a space before it; "" if there is none, or in a
// currency that is not known.
func inWords(a *client.Amount) string {
	if a == nil {
		return ""
	}
	amount, err := a.Money()
	if err != nil {
		return ""
	}
	return " " + amount.String()
}

// destination says where a payout goes, as answers show it; of the number of an
// account as little as elsewhere.
func destination(d *client.Details) string {
	switch {
	case d == nil:
	case d.Card != nil:
		return fmt.Sprintf(" to card %s••••••%s", d.Card.BIN, d.Card.Last4)
	case d.BankAccount != nil && d.BankAccount.Russian != nil:
		number := d.BankAccount.Russian.Account
		return strings.TrimRight(" to account "+report.Masked(&instrument.Instrument{Account: &instrument.Account{Number: number}}), " ")
	case d.BankAccount != nil && d.BankAccount.FPS != nil:
		return " to phone " + d.BankAccount.FPS.Phone
	case d.Wallet != nil && d.Wallet.YooMoney != nil:
		return " to wallet " + d.Wallet.YooMoney.Account
	}
	return ""
}

type payoutCreateCommand struct {
	Card        client.CardNumber `placeholder:"NUMBER" secret:"" xor:"to" help:"Pay to this card."`
	Account     string            `placeholder:"NUMBER" xor:"to" help:"Pay to this account; with --bik, --full-name and --description."`
	Phone       string            `placeholder:"DIGITS" xor:"to" help:"Pay by FPS to this phone; with --bank-id and --description."`
	Wallet      string            `placeholder:"NUMBER" xor:"to" help:"Pay to this YooMoney wallet."`
	BIK         string            `name:"bik" placeholder:"BIK" help:"Bank of the account."`
	FullName    string            `placeholder:"NAME" help:"Owner of the account."`
	BankID      string            `name:"bank-id" placeholder:"ID" help:"Bank of the phone, as fps/banks lists it."`
	Description string            `placeholder:"TEXT" help:"Purpose of the payment."`
	Amount      string            `required:"" placeholder:"AMOUNT" help:"Amount in major units, such as 150.00."`
	Currency    string            `default:"rub" help:"Currency of the amount."`
	Name        string            `placeholder:"NAME" help:"Name of the recipient (for project demo: Test Recipient)."`

	IdempotencyKey string        `placeholder:"K" help:"The server carries out one request with it (default: a random one)."`
	Replay         bool          `help:"Show the first answer again if the key was used before."`
	Confirm        bool          `help:"Confirm the payout when it awaits it."`
	Wait           bool          `help:"Wait until it awaits confirmation or, with --confirm, for its end."`
	Timeout        time.Duration `default:"1m" help:"How long to wait in all."`
}

// Run fails if it waited for the end and the payout was not made.
func (c *payoutCreateCommand) Run(ctx context.Context, p *program, g *global, flags *grammar) error {
	request, err := c.request(flags.Payout.Project)
	if err != nil {
		return err
	}
	if c.Replay && c.IdempotencyKey == "" {
		return misused("--replay: which request? name its key with --idempotency-key")
	}
	desk, err := flags.Payout.connect(p, g)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()

	key := c.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	options := []client.CallOption{client.WithKey(key)}
	if c.Replay {
		options = append(options, client.WithReplay())
	}
	var sent atomic.Bool
	s, err := desk.InitPayout(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }, // before that nothing is written
	}), request, options...)
	switch {
	case err == nil:
	case refused(err):
		return desk.explain(err)
	case !c.Replay && (!sent.Load() || busy(err)):
		return fmt.Errorf("%w; nothing was done: the same command may be given again, with --idempotency-key %s", desk.explain(err), quote(key))
	default:
		return fmt.Errorf("%w; the payout may have been started: repeat the command with --idempotency-key %s --replay", err, quote(key))
	}
	made := s.ID
	if c.Wait || c.Confirm {
		s, err = desk.WaitFor(ctx, s.ID, func(s client.Session) bool { return client.AwaitsConfirm(s) || client.Finished(s) })
	}
	if err == nil && c.Confirm && client.AwaitsConfirm(s) {
		s, err = desk.Confirm(ctx, s.ID)
		if err == nil && c.Wait {
			s, err = desk.WaitFor(ctx, s.ID, client.Finished)
		}
	}
	if err != nil {
		return fmt.Errorf("session %s: %w", made, desk.explain(err))
	}
	if err := desk.show(s); err != nil {
		return err
	}
	if s.Status == client.SessionCancelled {
		return errors.New("the payout was not made")
	}
	return nil
}

// request puts the flags into the words of the API.
func (c *payoutCreateCommand) request(project string) (client.Request, error) {
	amount, err := money.Parse(c.Amount, c.Currency)
	if err != nil {
		return client.Request{}, misused("--amount: %v; want such as --amount 150.00", err)
	}
	r := client.Request{Amount: client.AmountOf(amount)}
	switch {
	case c.Card != "":
		r.Details = client.ToCard(c.Card)
	case c.Account != "":
		if c.BIK == "" || c.FullName == "" || c.Description == "" {
			return r, misused("--account needs --bik, --full-name and --description")
		}
		r.Details = client.ToAccount(client.RussianAccount{
			BIK: c.BIK, Account: c.Account, FullName: c.FullName, Description: c.Description,
		})
	case c.Phone != "":
		if c.BankID == "" || c.Description == "" {
			return r, misused("--phone needs --bank-id and --description")
		}
		r.Details = client.ToPhone(c.Phone, c.BankID, c.Description)
	case c.Wallet != "":
		r.Details = client.ToWallet(c.Wallet)
	default:
		return r, misused("where to? take one of --card, --account, --phone, --wallet; such as --card 4242424242424242")
	}
	name := c.Name
	if name == "" && project == demoProject && c.Account == "" {
		name = "Test Recipient"
	}
	if name != "" {
		r.Participants = &client.Participants{Recipient: &client.Person{FullName: name}}
	}
	return r, nil
}

type payoutStatusCommand struct {
	Session string `arg:"" help:"Number of the session: ps_ and digits."`
}

func (c *payoutStatusCommand) Run(ctx context.Context, p *program, g *global, flags *grammar) error {
	return flags.Payout.one(p, g, func(d *partnerDesk) (client.Session, error) { return d.Status(ctx, c.Session) })
}

type payoutConfirmCommand struct {
	Session     string `arg:"" help:"Number of the session: ps_ and digits."`
	Information string `placeholder:"FILE" help:"Of a payout from an own account: what the command prints without this flag; - reads standard input."`
}

// Run confirms a payout from the balance at once. Of one from an own account it
// prints what is to be confirmed, and takes only that, from whoever has read it:
// to send back by itself what the bank has just said would confirm nothing.
func (c *payoutConfirmCommand) Run(ctx context.Context, p *program, g *global, flags *grammar) error {
	if c.Information != "" {
		information, err := readInformation(c.Information)
		if err != nil {
			return err
		}
		return flags.Payout.one(p, g, func(d *partnerDesk) (client.Session, error) { return d.ConfirmWith(ctx, c.Session, information) })
	}
	desk, err := flags.Payout.connect(p, g)
	if err != nil {
		return err
	}
	s, err := desk.Status(ctx, c.Session)
	if err != nil {
		return desk.explain(err)
	}
	if s.ConfirmInformation != nil {
		if err := p.printJSON(s.ConfirmInformation); err != nil {
			return err
		}
		return fmt.Errorf("it is not confirmed: write what is printed to a file, check it, then: %s payout confirm %s --information FILE%s",
			p.name, s.ID, desk.again)
	}
	if s, err = desk.Confirm(ctx, c.Session); err != nil {
		return desk.explain(err)
	}
	return desk.show(s)
}

// readInformation reads confirm_information; the server says what is wrong in it.
func readInformation(path string) (json.RawMessage, error) {
	file, err := input(path)
	if err != nil {
		return nil, fmt.Errorf("--information: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("--information: %w", err)
	}
	if !json.Valid(text) {
		return nil, misused("--information %s: it is not JSON", path)
	}
	return text, nil
}

type payoutCancelCommand struct {
	Session string `arg:"" help:"Number of the session: ps_ and digits."`
}

func (c *payoutCancelCommand) Run(ctx context.Context, p *program, g *global, flags *grammar) error {
	return flags.Payout.one(p, g, func(d *partnerDesk) (client.Session, error) { return d.Cancel(ctx, c.Session) })
}

// one makes one call and shows the session that comes back.
func (c *payoutCommand) one(p *program, g *global, call func(*partnerDesk) (client.Session, error)) error {
	desk, err := c.connect(p, g)
	if err != nil {
		return err
	}
	s, err := call(desk)
	if err != nil {
		return desk.explain(err)
	}
	return desk.show(s)
}
