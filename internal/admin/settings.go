package admin

import (
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/webhook"
	"github.com/payoutd/payoutd/money"
)

// Settings are those of a project in the words of the command line. In a
// request, what is nil stays as it is; in an answer all are set.
type Settings struct {
	Webhook              *string `json:"webhook,omitempty"` // URL; "" sends none
	AllowPrivateWebhooks *bool   `json:"allow_private_webhooks,omitempty"`
	Retry                *string `json:"retry,omitempty"`         // "standard" or "short"
	WebhookNames         *string `json:"webhook_names,omitempty"` // "auto", "v1" or "v2"
	ServerKey            *string `json:"server_key,omitempty"`    // "rsa" or "p256"

	SingleRequest  *bool             `json:"single_request,omitempty"`
	ConfirmTimeout *partner.Duration `json:"confirm_timeout,omitempty"` // whole seconds, 1 s to 30 days

	Methods *[]string `json:"methods,omitempty"` // of instrument.Kinds; "all" stands for each
	// Fees by method, in the form of partner.ParseFee; in a request, those of
	// other methods stay.
	Fees     map[string]string `json:"fees,omitempty"`
	ShowFees *bool             `json:"show_fees,omitempty"`
	// ReturnFee is "keep" or "return": what becomes of our fee when the
	// recipient's bank gives the money back.
	ReturnFee *string `json:"return_fee,omitempty"`
	// ReturnWindow is whole seconds, 1h to 365 days, or 0 for the usual.
	ReturnWindow *partner.Duration `json:"return_window,omitempty"`
	Credit       *string           `json:"credit,omitempty"` // roubles

	// Rates by currency, in the form of rate.ParseTerms; in a request, those of
	// other currencies stay, and "none" takes one away.
	Rates     map[string]string `json:"rates,omitempty"`
	RateLock  *partner.Duration `json:"rate_lock,omitempty"` // whole seconds, 1m to 24h
	ShowRates *bool             `json:"show_rates,omitempty"`

	// RateLimit is requests a second, 1 to partner.RateLimitMax, "usual" for the
	// server's, or "none" for no limit.
	RateLimit *string `json:"rate_limit,omitempty"`

	Contract *string `json:"contract,omitempty"` // number of the agreement, one line; "" for none

	ControlKey    *string `json:"control_key,omitempty"` // "off", "warn" or "reject", as the next two
	INNCheck      *string `json:"inn_check,omitempty"`
	AccountPrefix *string `json:"account_prefix,omitempty"`

	// Partner shares its tokens among its projects; "" is the project itself.
	Partner         *string           `json:"partner,omitempty"`
	PublicTokenLife *partner.Duration `json:"public_token_life,omitempty"` // whole seconds, 1m to 30 days
	TokenLife       *partner.Duration `json:"token_life,omitempty"`        // whole seconds, 1h to 100 years; 0 is ten years
	CardIDs         *bool             `json:"card_ids,omitempty"`
	AccountTokens   *bool             `json:"account_tokens,omitempty"`
	Elements        *bool             `json:"tokenize_elements,omitempty"`
	SelfEmployed    *bool             `json:"self_employed,omitempty"`
	StrictReceipts  *bool             `json:"strict_receipts,omitempty"`
	KeepReceipts    *bool             `json:"keep_receipts,omitempty"`

	// WidgetOrigins are the pages that may show its widgets, in the form of
	// partner.CheckOrigin.
	WidgetOrigins *[]string `json:"widget_origins,omitempty"`
}

// Bounds of the confirm time-out. The upper one keeps holds from being
// forgotten for good.
const (
	confirmTimeoutMin = time.Second
	confirmTimeoutMax = 30 * 24 * time.Hour
)

// Bounds of the window of returns, but for 0.
const (
	returnWindowMin = time.Hour
	returnWindowMax = 365 * 24 * time.Hour
)

// Bounds of the lock of a rate. The upper one bounds what a moving rate can cost.
const (
	rateLockMin = time.Minute
	rateLockMax = 24 * time.Hour
)

// Bounds of the lives of tokens.
const (
	publicLifeMin = time.Minute
	publicLifeMax = 30 * 24 * time.Hour
	tokenLifeMin  = time.Hour
	tokenLifeMax  = 100 * 365 * 24 * time.Hour
)

// contractBytesMax bounds the number of an agreement.
const contractBytesMax = 100

// LogValue names the settings that are changed. A webhook URL may carry a
// secret, so no value is logged.
func (s Settings) LogValue() slog.Value {
	var names []string
	for _, c := range s.changes() {
		if c.set {
			names = append(names, c.name)
		}
	}
	return slog.StringValue(strings.Join(names, " "))
}

// A change is one setting and how it is put into a project.
type change struct {
	name string
	set  bool
	put  func(*partner.Project) error
}

// changes lists all settings in the order in which they are checked, so that
// two faults always give the same message.
func (s Settings) changes() []change {
	return []change{
		{"allow_private_webhooks", s.AllowPrivateWebhooks != nil, func(p *partner.Project) error {
			p.AllowPrivateWebhooks = *s.AllowPrivateWebhooks
			return nil
		}},
		{"webhook", s.Webhook != nil, func(p *partner.Project) error {
			p.Webhook = *s.Webhook
			return nil
		}},
		{"retry", s.Retry != nil, func(p *partner.Project) error {
			short, err := word("retry", *s.Retry, map[string]bool{"standard": false, "short": true})
			p.RetryShort = short
			return err
		}},
		{"webhook_names", s.WebhookNames != nil, func(p *partner.Project) error {
			names, err := word("webhook names", *s.WebhookNames, map[string]int8{"auto": 0, "v1": 1, "v2": 2})
			p.WebhookNames = names
			return err
		}},
		{"server_key", s.ServerKey != nil, func(p *partner.Project) error {
			key, err := word("server key", *s.ServerKey, map[string]partner.KeyType{"rsa": partner.RSA, "p256": partner.P256})
			p.ServerKey = key
			return err
		}},
		{"single_request", s.SingleRequest != nil, func(p *partner.Project) error {
			p.SingleRequest = *s.SingleRequest
			return nil
		}},
		{"confirm_timeout", s.ConfirmTimeout != nil, func(p *partner.Project) error {
			d := time.Duration(*s.ConfirmTimeout)
			if d < confirmTimeoutMin || d > confirmTimeoutMax || d%time.Second != 0 {
				return fault.New(fault.Invalid, "confirm time-out %s: want whole seconds, 1s to 720h", d)
			}
			p.ConfirmTimeout = *s.ConfirmTimeout
			return nil
		}},
		{"methods", s.Methods != nil, func(p *partner.Project) (err error) {
			p.Methods, err = methods(*s.Methods)
			return err
		}},
		{"fees", len(s.Fees) > 0, func(p *partner.Project) error { return fees(p, s.Fees) }},
		{"show_fees", s.ShowFees != nil, func(p *partner.Project) error {
			p.ShowFees = *s.ShowFees
			return nil
		}},
		{"return_fee", s.ReturnFee != nil, func(p *partner.Project) (err error) {
			p.ReturnFee, err = word("return fee", *s.ReturnFee, map[string]bool{"keep": false, "return": true})
			return err
		}},
		{"return_window", s.ReturnWindow != nil, func(p *partner.Project) error {
			d := time.Duration(*s.ReturnWindow)
			if d != 0 && (d < returnWindowMin || d > returnWindowMax || d%time.Second != 0) {
				return fault.New(fault.Invalid, "window of returns %s: want whole seconds, 1h to 8760h, or 0 for the usual", d)
			}
			p.ReturnWindow = *s.ReturnWindow
			return nil
		}},
		{"credit", s.Credit != nil, func(p *partner.Project) error {
			a, err := money.Parse(*s.Credit, string(money.RUB))
			if err != nil || a.Minor < 0 || a.Minor > money.MinorMax {
				return fault.New(fault.Invalid, "credit %q: want roubles such as 5000.00, or 0", *s.Credit)
			}
			p.Credit = a.Minor
			return nil
		}},
		{"rates", len(s.Rates) > 0, func(p *partner.Project) error { return rates(p, s.Rates) }},
		{"rate_lock", s.RateLock != nil, func(p *partner.Project) error {
			d := time.Duration(*s.RateLock)
			if d < rateLockMin || d > rateLockMax || d%time.Second != 0 {
				return fault.New(fault.Invalid, "rate lock %s: want whole seconds, 1m to 24h", d)
			}
			p.RateLock = *s.RateLock
			return nil
		}},
		{"show_rates", s.ShowRates != nil, func(p *partner.Project) error {
			p.ShowRates = *s.ShowRates
			return nil
		}},
		{"control_key", s.ControlKey != nil, func(p *partner.Project) error { return mode(&p.ControlKey, "control key", *s.ControlKey) }},
		{"inn_check", s.INNCheck != nil, func(p *partner.Project) error { return mode(&p.INNCheck, "INN check", *s.INNCheck) }},
		{"account_prefix", s.AccountPrefix != nil, func(p *partner.Project) error {
			return mode(&p.AccountPrefix, "account prefix", *s.AccountPrefix)
		}},
		{"partner", s.Partner != nil, func(p *partner.Project) error {
			if *s.Partner != "" {
				if _, err := id.ParsePartner(*s.Partner); err != nil {
					return fault.Wrap(fault.Invalid, err, "%v", err)
				}
			}
			p.Partner = id.Partner(*s.Partner)
			return nil
		}},
		{"public_token_life", s.PublicTokenLife != nil, func(p *partner.Project) error {
			d := time.Duration(*s.PublicTokenLife)
			if d < publicLifeMin || d > publicLifeMax || d%time.Second != 0 {
				return fault.New(fault.Invalid, "life of public tokens %s: want whole seconds, 1m to 720h", d)
			}
			p.PublicTokenLife = *s.PublicTokenLife
			return nil
		}},
		{"token_life", s.TokenLife != nil, func(p *partner.Project) error {
			d := time.Duration(*s.TokenLife)
			if d != 0 && (d < tokenLifeMin || d > tokenLifeMax || d%time.Second != 0) {
				return fault.New(fault.Invalid, "life of tokens %s: want whole seconds, 1h to 876000h, or 0 for ten years", d)
			}
			p.TokenLife = *s.TokenLife
			return nil
		}},
		{"contract", s.Contract != nil, func(p *partner.Project) error {
			if len(*s.Contract) > contractBytesMax || strings.ContainsFunc(*s.Contract, func(r rune) bool { return !unicode.IsPrint(r) }) {
				return fault.New(fault.Invalid, "contract: want at most %d bytes in one line", contractBytesMax)
			}
			p.Contract = *s.Contract
			return nil
		}},
		{"rate_limit", s.RateLimit != nil, func(p *partner.Project) (err error) {
			p.RateLimit, err = parseRateLimit(*s.RateLimit)
			return err
		}},
		{"card_ids", s.CardIDs != nil, func(p *partner.Project) error {
			p.CardIDs = *s.CardIDs
			return nil
		}},
		{"account_tokens", s.AccountTokens != nil, func(p *partner.Project) error {
			p.AccountTokens = *s.AccountTokens
			return nil
		}},
		{"tokenize_elements", s.Elements != nil, func(p *partner.Project) error {
			p.Elements = *s.Elements
			return nil
		}},
		{"self_employed", s.SelfEmployed != nil, func(p *partner.Project) error {
			p.SelfEmployed = *s.SelfEmployed
			return nil
		}},
		{"strict_receipts", s.StrictReceipts != nil, func(p *partner.Project) error {
			p.StrictReceipts = *s.StrictReceipts
			return nil
		}},
		{"keep_receipts", s.KeepReceipts != nil, func(p *partner.Project) error {
			p.KeepReceipts = *s.KeepReceipts
			return nil
		}},
		{"widget_origins", s.WidgetOrigins != nil, func(p *partner.Project) error {
			for _, o := range *s.WidgetOrigins {
				if err := partner.CheckOrigin(o); err != nil {
					return fault.Wrap(fault.Invalid, err, "widget origin %q: %v", o, err)
				}
			}
			p.WidgetOrigins = *s.WidgetOrigins
			return nil
		}},
	}
}

// apply puts the settings that are there into p. fault.Invalid if one of them
// cannot be right; p is then of no use.
func (s Settings) apply(p *partner.Project) error {
	for _, c := range s.changes() {
		if !c.set {
			continue
		}
		if err := c.put(p); err != nil {
			return err
		}
	}
	// A URL and the right to private addresses are only right together.
	if p.Webhook != "" && (s.Webhook != nil || s.AllowPrivateWebhooks != nil) {
		return webhook.CheckURL(p.Webhook, p.AllowPrivateWebhooks)
	}
	return nil
}

// word finds what a word stands for.
func word[T any](what, said string, meanings map[string]T) (T, error) {
	meaning, ok := meanings[said]
	if !ok {
		words := make([]string, 0, len(meanings))
		for w := range meanings {
			words = append(words, w)
		}
		slices.Sort(words)
		return meaning, fault.New(fault.Invalid, "%s %q: want one of %s", what, said, strings.Join(words, ", "))
	}
	return meaning, nil
}

func mode(m *partner.Mode, what, said string) (err error) {
	*m, err = word(what, said, map[string]partner.Mode{"off": partner.Off, "warn": partner.Warn, "reject": partner.Reject})
	return err
}

// methods reads a list of methods and puts it in the usual order.
func methods(said []string) ([]instrument.Kind, error) {
	var asked []instrument.Kind
	for _, s := range said {
		if s == "all" {
			asked = append(asked, instrument.Kinds...)
			continue
		}
		k, err := kind(s)
		if err != nil {
			return nil, err
		}
		asked = append(asked, k)
	}
	var list []instrument.Kind
	for _, k := range instrument.Kinds {
		if slices.Contains(asked, k) {
			list = append(list, k)
		}
	}
	return list, nil
}

func kind(s string) (instrument.Kind, error) {
	if k := instrument.Kind(s); slices.Contains(instrument.Kinds, k) {
		return k, nil
	}
	names := make([]string, len(instrument.Kinds))
	for i, k := range instrument.Kinds {
		names[i] = string(k)
	}
	return "", fault.New(fault.Invalid, "method %q: want one of %s", s, strings.Join(names, ", "))
}

func fees(p *partner.Project, said map[string]string) error {
	all := map[instrument.Kind]partner.Fee{}
	for k, f := range p.Fees {
		all[k] = f
	}
	for method, text := range said {
		k, err := kind(method)
		if err != nil {
			return err
		}
		f, err := partner.ParseFee(text)
		if err != nil {
			return fault.Wrap(fault.Invalid, err, "%v", err)
		}
		if f == (partner.Fee{}) {
			delete(all, k)
			continue
		}
		all[k] = f
	}
	p.Fees = all
	return nil
}

// rates puts rates by currency into a project.
func rates(p *partner.Project, said map[string]string) error {
	all := map[money.Currency]rate.Terms{}
	maps.Copy(all, p.Rates)
	for _, code := range slices.Sorted(maps.Keys(said)) {
		c, err := money.ParseCurrency(code)
		if err != nil || c == money.RUB {
			return fault.New(fault.Invalid, "rate of %q: want a foreign currency such as usd or eur", code)
		}
		if said[code] == "none" {
			delete(all, c)
			continue
		}
		if all[c], err = rate.ParseTerms(said[code]); err != nil {
			return fault.Wrap(fault.Invalid, err, "rate of %s: %q: want roubles such as 81.25, or daily, or none", c.Lower(), said[code])
		}
	}
	p.Rates = all
	return nil
}

// settingsOf says a project's settings, defaults included.
func settingsOf(p *partner.Project) Settings {
	said := func(word, otherwise string) *string {
		if word == "" {
			word = otherwise
		}
		return &word
	}
	retry := "standard"
	if p.RetryShort {
		retry = "short"
	}
	returnFee := "keep"
	if p.ReturnFee {
		returnFee = "return"
	}
	names := [...]string{"auto", "v1", "v2"}[p.WebhookNames]
	timeout := partner.Duration(p.Timeout())
	methods := make([]string, len(p.Methods))
	for i, k := range p.Methods {
		methods[i] = string(k)
	}
	fees := map[string]string{}
	for k, f := range p.Fees {
		fees[string(k)] = f.String()
	}
	rates := map[string]string{}
	for c, t := range p.Rates {
		rates[c.Lower()] = t.String()
	}
	lock := partner.Duration(p.RateEnd(time.Time{}).Sub(time.Time{}))
	credit := roubles(p.Credit)
	owner, publicLife := string(p.Owner()), partner.Duration(p.PublicTokenEnd(time.Time{}).Sub(time.Time{}))
	origins := append([]string{}, p.WidgetOrigins...)
	return Settings{
		Webhook: &p.Webhook, AllowPrivateWebhooks: &p.AllowPrivateWebhooks, Retry: &retry, WebhookNames: &names,
		ServerKey: said(string(p.ServerKey), string(partner.RSA)), SingleRequest: &p.SingleRequest, ConfirmTimeout: &timeout,
		Methods: &methods, Fees: fees, ShowFees: &p.ShowFees, ReturnFee: &returnFee, ReturnWindow: &p.ReturnWindow, Credit: &credit,
		Partner: &owner, PublicTokenLife: &publicLife, TokenLife: &p.TokenLife, CardIDs: &p.CardIDs, AccountTokens: &p.AccountTokens, Elements: &p.Elements,
		SelfEmployed: &p.SelfEmployed, StrictReceipts: &p.StrictReceipts, KeepReceipts: &p.KeepReceipts,
		Rates: rates, RateLock: &lock, ShowRates: &p.ShowRates,
		RateLimit: rateLimit(p.RateLimit), Contract: &p.Contract,
		ControlKey:    said(string(p.ControlKey), string(partner.Off)),
		INNCheck:      said(string(p.INNCheck), string(partner.Off)),
		AccountPrefix: said(string(p.AccountPrefix), string(partner.Off)),
		WidgetOrigins: &origins,
	}
}

// The words of a limit that is no number.
const (
	limitUsual = "usual"
	limitNone  = "none"
)

func parseRateLimit(text string) (int, error) {
	switch text {
	case limitUsual:
		return 0, nil
	case limitNone:
		return partner.RateUnlimited, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > partner.RateLimitMax {
		return 0, fault.New(fault.Invalid, "rate limit: want requests a second, 1 to %d, or %s, or %s", partner.RateLimitMax, limitUsual, limitNone)
	}
	return n, nil
}

func rateLimit(n int) *string {
	text := strconv.Itoa(n)
	switch n {
	case 0:
		text = limitUsual
	case partner.RateUnlimited:
		text = limitNone
	}
	return &text
}

// Empty reports whether nothing is to be changed.
func (s Settings) Empty() bool {
	return !slices.ContainsFunc(s.changes(), func(c change) bool { return c.set })
}

// Check tells what of the settings cannot be right for any project:
// fault.Invalid.
func (s Settings) Check() error {
	return s.apply(&partner.Project{AllowPrivateWebhooks: true})
}
