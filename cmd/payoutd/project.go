package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/payoutd/payoutd/internal/admin"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/webhook"
)

type projectCommand struct {
	Create projectCreateCommand `cmd:"" help:"Make a project with its first public key."`
	List   projectListCommand   `cmd:"" help:"List all projects."`
	Show   projectShowCommand   `cmd:"" help:"Show a project: settings, keys, balances."`
	Set    projectSetCommand    `cmd:"" help:"Change settings of a project; they hold at once."`
	Key    projectKeyCommand    `cmd:"" help:"Public keys that may sign for a project."`

	Account projectAccountCommand `cmd:"" help:"Accounts of a project's own that it pays from."`
}

// settingFlags are the settings of a project; a flag that is left out changes
// nothing.
type settingFlags struct {
	Webhook              *string           `placeholder:"URL" help:"Where webhooks go."`
	AllowPrivateWebhooks *bool             `negatable:"" help:"Let webhooks go to private addresses."`
	SingleRequest        *bool             `negatable:"" help:"Pay without waiting for confirm."`
	ConfirmTimeout       *time.Duration    `placeholder:"TIME" help:"How long a payout awaits confirm (new projects: 240m)."`
	Method               []string          `placeholder:"LIST" help:"Methods that may be used: card, bank_account, fps, wallet; all; none."`
	Fee                  map[string]string `placeholder:"METHOD=SPEC" help:"Fee of a method, such as card=10.00+1.5%>=30.00; none for no fee. Other methods keep theirs."`
	ShowFees             *bool             `negatable:"" help:"Show the fee in payouts."`
	ReturnFee            *string           `placeholder:"POLICY" help:"Our fee when the recipient's bank gives the money back: keep, return."`
	ReturnWindow         *time.Duration    `placeholder:"TIME" help:"How long a payout may come back without an alarm; 0 for 5 days or 7 business days."`
	Credit               *string           `placeholder:"ROUBLES" help:"How far the balance may go below zero."`
	Rate                 map[string]string `placeholder:"CURRENCY=RATE" help:"Let payouts be asked for in a foreign currency, such as usd=81.25 by agreement, or usd=daily by the server's --rates; none takes it away. Other currencies keep theirs."`
	RateLock             *time.Duration    `placeholder:"TIME" help:"How long a quoted rate is kept for confirm (new projects: 30m)."`
	ShowRates            *bool             `negatable:"" help:"Show amount, rate and its source in payouts in foreign currency."`
	ControlKey           *string           `placeholder:"MODE" help:"Control key of accounts: off, warn, reject."`
	INNCheck             *string           `name:"inn-check" placeholder:"MODE" help:"Check digits of an INN: off, warn, reject."`
	AccountPrefix        *string           `placeholder:"MODE" help:"Kind of account: off, warn, reject."`
	WidgetOrigin         []string          `placeholder:"LIST" help:"Origins whose pages may show its widgets, such as https://shop.example; none."`
	ServerKey            *string           `placeholder:"TYPE" help:"Key that signs its webhooks: rsa, p256."`
	Retry                *string           `placeholder:"SCHEDULE" help:"Of webhooks: standard (72 h), short (30 min)."`
	WebhookNames         *string           `placeholder:"VERSION" help:"Names in webhooks: auto, v1, v2."`
	Partner              *string           `placeholder:"NAME" help:"Partner whose projects share their tokens (new projects: the project itself)."`
	PublicTokenLife      *time.Duration    `placeholder:"TIME" help:"How long a public token opens widgets (new projects: 24h)."`
	TokenLife            *time.Duration    `placeholder:"TIME" help:"How long other tokens can be used; 0 for ten years."`
	RateLimit            *string           `placeholder:"N" help:"Requests a second that it may send; usual for the server's --project-rate, none for any number."`
	Contract             *string           `placeholder:"NUMBER" help:"Number of the agreement with the partner, for reports."`
	CardIDs              *bool             `name:"card-ids" negatable:"" help:"Show card_id in cards."`
	AccountTokens        *bool             `negatable:"" help:"Give a token of each account that was paid to."`
	TokenizeElements     *bool             `negatable:"" help:"Let card numbers be tokenized by the partner's own systems (PCI DSS)."`
	SelfEmployed         *bool             `negatable:"" help:"Let the tax service be asked about self-employed people."`
	StrictReceipts       *bool             `negatable:"" help:"Refuse services of a receipt that do not make the amount of its payout."`
	KeepReceipts         *bool             `negatable:"" help:"Leave the receipt of a payout that came back as it is."`
}

// settings puts the flags into the words of package admin.
func (f *settingFlags) settings() (admin.Settings, error) {
	s := admin.Settings{
		Webhook: f.Webhook, AllowPrivateWebhooks: f.AllowPrivateWebhooks, Retry: f.Retry, WebhookNames: f.WebhookNames,
		ServerKey: f.ServerKey, SingleRequest: f.SingleRequest, ConfirmTimeout: (*partner.Duration)(f.ConfirmTimeout),
		Fees: f.Fee, ShowFees: f.ShowFees, ReturnFee: f.ReturnFee, ReturnWindow: (*partner.Duration)(f.ReturnWindow), Credit: f.Credit,
		Rates: f.Rate, RateLock: (*partner.Duration)(f.RateLock), ShowRates: f.ShowRates,
		Partner: f.Partner, PublicTokenLife: (*partner.Duration)(f.PublicTokenLife), TokenLife: (*partner.Duration)(f.TokenLife),
		RateLimit: f.RateLimit, Contract: f.Contract, CardIDs: f.CardIDs, AccountTokens: f.AccountTokens, Elements: f.TokenizeElements,
		SelfEmployed: f.SelfEmployed, StrictReceipts: f.StrictReceipts, KeepReceipts: f.KeepReceipts,
		ControlKey: f.ControlKey, INNCheck: f.INNCheck, AccountPrefix: f.AccountPrefix,
	}
	switch {
	case slices.Equal(f.Method, []string{"none"}):
		s.Methods = &[]string{}
	case len(f.Method) > 0:
		s.Methods = &f.Method
	}
	switch {
	case slices.Equal(f.WidgetOrigin, []string{"none"}):
		s.WidgetOrigins = &[]string{}
	case len(f.WidgetOrigin) > 0:
		s.WidgetOrigins = &f.WidgetOrigin
	}
	if err := s.Check(); err != nil {
		return s, misused("%s", message(err))
	}
	return s, nil
}

// explain tells which flag lets webhooks go to a private address.
func (f *settingFlags) explain(err error) error {
	if f.Webhook != nil && f.AllowPrivateWebhooks == nil && fault.CodeOf(err) == fault.Invalid && webhook.CheckURL(*f.Webhook, false) != nil {
		return fmt.Errorf("%w; --allow-private-webhooks allows them", err)
	}
	return err
}

type projectCreateCommand struct {
	ID        string `arg:"" help:"Name of the project, as it stands in X-PARTNER-PROJECT."`
	PublicKey string `required:"" placeholder:"FILE" help:"The partner's public key in PEM: RSA of 2048 bits or more, or P-256."`
	settingFlags
}

func (c *projectCreateCommand) Run(ctx context.Context, p *program, g *global) error {
	name, err := parseProject(c.ID)
	if err != nil {
		return err
	}
	settings, err := c.settings()
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(c.PublicKey)
	if err != nil {
		return fmt.Errorf("--public-key: %w", err)
	}
	desk, f, err := p.connect(ctx, g, mayMake)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	made, err := desk.Create(ctx, admin.CreateRequest{Project: name, PublicKey: string(pem), Settings: settings})
	if err != nil {
		return c.explain(err)
	}
	p.printf("project %s is made; its key is %s (%s)\n", made.ID, made.Keys[0].ID, made.Keys[0].Type)
	p.printf("the partner verifies webhooks by the server's public key: %s\n", shown(f.path(serverKeyFiles[partner.KeyType(*made.Settings.ServerKey)].public)))
	p.printf("next: %s deposit %s 1000.00 rub%s\n", p.name, made.ID, g.flags())
	return nil
}

type projectListCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *projectListCommand) Run(ctx context.Context, p *program, g *global) error {
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	projects, err := desk.Projects(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return p.printJSON(projects)
	}
	if len(projects) == 0 {
		p.printf("no projects; make one with: %s project create ID --public-key FILE%s\n", p.name, g.flags())
		return nil
	}
	return p.table(func(row func(...any)) {
		row("PROJECT", "AVAILABLE", "HELD", "KEYS", "WEBHOOK")
		for _, q := range projects {
			active := 0
			for _, k := range q.Keys {
				if k.RetiredAt == nil {
					active++
				}
			}
			row(q.ID, q.Balance.Available, q.Balance.Held, active, orNone(*q.Settings.Webhook))
		}
	})
}

type projectShowCommand struct {
	ID   string `arg:"" help:"Name of the project."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (c *projectShowCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withProject(ctx, g, c.ID, func(desk *admin.Client, name id.Project) error {
		q, err := desk.Project(ctx, name)
		if err != nil {
			return err
		}
		if c.JSON {
			return p.printJSON(q)
		}
		return p.showProject(q)
	})
}

type projectSetCommand struct {
	ID        string `arg:"" help:"Name of the project."`
	NoWebhook bool   `help:"Send no webhooks."`
	settingFlags
}

func (c *projectSetCommand) Run(ctx context.Context, p *program, g *global) error {
	if c.NoWebhook {
		if c.Webhook != nil {
			return misused("--webhook and --no-webhook: want one of them")
		}
		c.Webhook = new(string)
	}
	settings, err := c.settings()
	if err != nil {
		return err
	}
	if settings.Empty() {
		return misused("project set: nothing to change; such as: %s project set %s --single-request", p.name, c.ID)
	}
	return p.withProject(ctx, g, c.ID, func(desk *admin.Client, name id.Project) error {
		q, err := desk.Set(ctx, admin.SetRequest{Project: name, Settings: settings})
		if err != nil {
			return c.explain(err)
		}
		return p.showProject(q)
	})
}

type projectKeyCommand struct {
	Add    projectKeyAddCommand    `cmd:"" help:"Add a public key; the others stay."`
	Retire projectKeyRetireCommand `cmd:"" help:"Stop a key from being accepted, for good."`
}

type projectKeyAddCommand struct {
	ID        string `arg:"" help:"Name of the project."`
	PublicKey string `required:"" placeholder:"FILE" help:"The public key in PEM."`
}

func (c *projectKeyAddCommand) Run(ctx context.Context, p *program, g *global) error {
	pem, err := os.ReadFile(c.PublicKey)
	if err != nil {
		return fmt.Errorf("--public-key: %w", err)
	}
	return p.withProject(ctx, g, c.ID, func(desk *admin.Client, name id.Project) error {
		done, err := desk.AddKey(ctx, name, string(pem))
		if err != nil {
			return err
		}
		if done.Changed {
			p.printf("project %s: key %s is accepted from now on\n", name, done.KeyID)
		} else {
			p.printf("project %s: key %s was there before; nothing changed\n", name, done.KeyID)
		}
		return nil
	})
}

type projectKeyRetireCommand struct {
	ID  string `arg:"" help:"Name of the project."`
	Key string `arg:"" help:"ID of the key, as project show prints it."`
}

func (c *projectKeyRetireCommand) Run(ctx context.Context, p *program, g *global) error {
	return p.withProject(ctx, g, c.ID, func(desk *admin.Client, name id.Project) error {
		done, err := desk.RetireKey(ctx, name, c.Key)
		if err != nil {
			return err
		}
		if done.Changed {
			p.printf("project %s: key %s is retired\n", name, done.KeyID)
		} else {
			p.printf("project %s: key %s was retired before; nothing changed\n", name, done.KeyID)
		}
		if !slices.ContainsFunc(done.Project.Keys, func(k admin.Key) bool { return k.RetiredAt == nil }) {
			p.warn("project %s has no key left: all its requests are refused", name)
		}
		return nil
	})
}

// withProject does something with a project at the operator's desk, and tells
// how to make a project that is not there.
func (p *program) withProject(ctx context.Context, g *global, name string, do func(*admin.Client, id.Project) error) error {
	project, err := parseProject(name)
	if err != nil {
		return err
	}
	desk, _, err := p.connect(ctx, g, mustExist)
	if err != nil {
		return err
	}
	defer func() { _ = desk.Close() }()
	err = do(desk, project)
	if fault.CodeOf(err) == fault.NotFound && strings.HasPrefix(message(err), "no project") {
		return fmt.Errorf("%w; make it with: %s project create %s --public-key FILE%s", err, p.name, project, g.flags())
	}
	return err
}

func parseProject(name string) (id.Project, error) {
	project, err := id.ParseProject(name)
	if err != nil {
		return "", misused("%v", err)
	}
	return project, nil
}

func (p *program) showProject(q admin.Project) error {
	s := q.Settings
	fees := make([]string, 0, len(s.Fees))
	for _, method := range slices.Sorted(maps.Keys(s.Fees)) {
		fees = append(fees, method+"="+s.Fees[method])
	}
	rates := make([]string, 0, len(s.Rates))
	for _, currency := range slices.Sorted(maps.Keys(s.Rates)) {
		rates = append(rates, currency+"="+s.Rates[currency])
	}
	return p.table(func(row func(...any)) {
		row("project", q.ID)
		row("wallet", q.Wallet)
		row("created", q.CreatedAt.Format(time.RFC3339))
		for _, k := range q.Keys {
			state := "active"
			if k.RetiredAt != nil {
				state = "retired " + k.RetiredAt.Format(time.RFC3339)
			}
			row("key", k.ID+" "+k.Type+" "+state)
		}
		row("available", q.Balance.Available+" rub")
		row("held", q.Balance.Held+" rub")
		row("clearing", q.Balance.Clearing+" rub")
		row("fees taken", q.Balance.Fees+" rub")
		row("suspense", q.Balance.Suspense+" rub")
		for _, a := range q.Accounts {
			row(a.Type+" account", a.Number+" "+a.Balance.Available+" rub, "+a.Balance.Held+" rub held")
		}
		row("--webhook", orNone(*s.Webhook))
		row("--allow-private-webhooks", *s.AllowPrivateWebhooks)
		row("--retry", *s.Retry)
		row("--webhook-names", *s.WebhookNames)
		row("--server-key", *s.ServerKey)
		row("--single-request", *s.SingleRequest)
		row("--confirm-timeout", time.Duration(*s.ConfirmTimeout))
		row("--method", orNone(strings.Join(*s.Methods, ","))+" (a sandbox lets all be used)")
		row("--fee", orNone(strings.Join(fees, " ")))
		row("--show-fees", *s.ShowFees)
		row("--return-fee", *s.ReturnFee)
		row("--return-window", orUsual(time.Duration(*s.ReturnWindow)))
		row("--credit", *s.Credit+" rub")
		row("--rate", orNone(strings.Join(rates, " "))+" (a sandbox adds usd and eur)")
		row("--rate-lock", time.Duration(*s.RateLock))
		row("--show-rates", *s.ShowRates)
		row("--partner", *s.Partner)
		row("--public-token-life", time.Duration(*s.PublicTokenLife))
		row("--token-life", orTenYears(time.Duration(*s.TokenLife)))
		row("--rate-limit", *s.RateLimit)
		row("--contract", orNone(*s.Contract))
		row("--card-ids", *s.CardIDs)
		row("--account-tokens", *s.AccountTokens)
		row("--tokenize-elements", *s.Elements)
		row("--self-employed", *s.SelfEmployed)
		row("--strict-receipts", *s.StrictReceipts)
		row("--keep-receipts", *s.KeepReceipts)
		row("--control-key", *s.ControlKey)
		row("--inn-check", *s.INNCheck)
		row("--account-prefix", *s.AccountPrefix)
		row("--widget-origin", orNone(strings.Join(*s.WidgetOrigins, ",")))
	})
}

func orUsual(d time.Duration) string {
	if d == 0 {
		return "5 days or 7 business days"
	}
	return d.String()
}

func orTenYears(d time.Duration) string {
	if d == 0 {
		return "ten years"
	}
	return d.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// table prints rows with their columns under each other.
func (p *program) table(fill func(row func(...any))) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fill(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
