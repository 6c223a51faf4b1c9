package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Widgets are what a public token opens; at least one is set (wire reference,
// extensions §1).
type Widgets struct {
	Tokenize     *TokenizeWidget     `json:"tokenize_widget,omitempty"`
	SelfEmployed *SelfEmployedWidget `json:"self_employed_widget,omitempty"`
	Acquiring    *AcquiringWidget    `json:"acquiring_widget,omitempty"`
}

// TokenizeWidget turns a card into a hash, or an account into a token.
type TokenizeWidget struct {
	Access bool   `json:"access"` // must be true
	Locale string `json:"locale,omitempty"`
}

// SelfEmployedWidget links one self-employed person.
type SelfEmployedWidget struct {
	INN string `json:"tax_reference"` // 12 digits
}

// AcquiringWidget takes an incoming payment into a session. payoutd issues the
// token and takes no payments.
type AcquiringWidget struct {
	Session               string `json:"session_id"`
	SuccessURL            string `json:"success_return_url,omitempty"`
	FailureURL            string `json:"failure_return_url,omitempty"`
	ShowRecurrentCheckbox bool   `json:"show_recurrent_checkbox,omitempty"`
	SuccessOnHold         bool   `json:"success_on_hold,omitempty"`
	Locale                string `json:"locale,omitempty"`
}

// ForCardOrAccount opens the widget in which a person enters a card or an account.
func ForCardOrAccount() Widgets { return Widgets{Tokenize: &TokenizeWidget{Access: true}} }

// ForSelfEmployed opens the widget in which the person of an INN, 12 digits, is
// linked.
func ForSelfEmployed(inn string) Widgets {
	return Widgets{SelfEmployed: &SelfEmployedWidget{INN: inn}}
}

// Token issues a public token, 64 hexadecimal digits, for one person's browser.
// Each of the widgets takes it for one operation, for 24 hours unless the
// project has another term. The call knows no idempotency key: a repeat issues
// another token.
func (c *Client) Token(ctx context.Context, w Widgets) (string, error) {
	a, err := c.call(ctx, http.MethodPost, "/api/v1/token", w, nil)
	if err == nil && a.PublicToken == "" {
		err = &Error{CodeUnreadable, "token: an answer without a token", http.StatusOK}
	}
	return a.PublicToken, err
}

// TokenQuery names a hash or token to ask about.
type TokenQuery struct {
	Type           string `json:"type"` // names the member that is set
	Card           *Card  `json:"card,omitempty"`
	PublicToken    *Token `json:"public_token,omitempty"`
	RecurrentToken *Token `json:"recurrent_token,omitempty"`
	Account        *Token `json:"bank_account_ru,omitempty"`
}

// AboutCardHash asks about a hash of the card widget.
func AboutCardHash(hash string) TokenQuery {
	return TokenQuery{Type: "card", Card: ToCardHash(hash).Card}
}

// AboutCardToken asks about a card token of TokenizeElements.
func AboutCardToken(token string) TokenQuery {
	return TokenQuery{Type: "card", Card: ToCardToken(token).Card}
}

// AboutPublicToken asks whether a public token can still be used.
func AboutPublicToken(token string) TokenQuery {
	return TokenQuery{Type: "public_token", PublicToken: &Token{token}}
}

// AboutRecurrentToken asks about the token of a saved paying card.
func AboutRecurrentToken(token string) TokenQuery {
	return TokenQuery{Type: "recurrent_token", RecurrentToken: &Token{token}}
}

// AboutAccountToken asks about an account token.
func AboutAccountToken(token string) TokenQuery {
	return TokenQuery{Type: "bank_account_ru", Account: &Token{token}}
}

// TokenInfo is what may be shown of a hash or token (wire reference, extensions
// §2.6). Which members are set depends on its kind.
type TokenInfo struct {
	Type       string `json:"type,omitempty"` // "card" of a card
	Token      string `json:"token,omitempty"`
	NumberHash string `json:"number_hash,omitempty"`

	Brand   string `json:"brand,omitempty"` // of a card, as the next two
	Last4   string `json:"last4,omitempty"`
	Country string `json:"country_iso3,omitempty"`

	MaskedAccount string `json:"masked_account,omitempty"` // as in 40817***4567

	CreatedAt  *time.Time `json:"created_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"` // when it ends or ended
	Active     *bool      `json:"is_active,omitempty"`   // of public and recurrent tokens
	Initiator  string     `json:"initiator,omitempty"`   // of recurrent tokens
}

// TokenInfo reads what a hash or token stands for, as far as it may be shown.
// CodeInvalid refuses those that are unknown, another partner's, deleted or
// expired.
func (c *Client) TokenInfo(ctx context.Context, q TokenQuery) (TokenInfo, error) {
	a, err := c.call(ctx, http.MethodPost, "/api/v1/token/info", q, nil)
	if err == nil && a.Info == nil {
		err = &Error{CodeUnreadable, "token/info: an answer without info", http.StatusOK}
	}
	if err != nil {
		return TokenInfo{}, err
	}
	return *a.Info, nil
}

// AccountToken stands for an account at a Russian bank, in
// RussianAccount.Token, for any number of payouts.
type AccountToken struct {
	Token  string
	Masked string // as in 40817***4567
}

// Tokenize issues a token of an account, 20 digits, at the bank of a BIK, 9
// digits.
func (c *Client) Tokenize(ctx context.Context, bik, account string) (AccountToken, error) {
	const kind = "bank_account_ru"
	body := struct {
		Type    string         `json:"type"`
		Account map[string]any `json:"bank_account_ru"`
	}{kind, map[string]any{"bik": bik, "account": account}}
	a, err := c.call(ctx, http.MethodPost, "/api/v1/tokenize", body, nil)
	if err != nil {
		return AccountToken{}, err
	}
	var data struct {
		Masked string `json:"masked_account"`
	}
	if a.Token == "" || json.Unmarshal(a.Data, &data) != nil {
		return AccountToken{}, &Error{CodeUnreadable, "tokenize: an answer without a token", http.StatusOK}
	}
	return AccountToken{a.Token, data.Masked}, nil
}

// CardToken stands for a card, in ToCardToken, for any number of payouts.
type CardToken struct {
	Token string        `json:"token"`
	Info  CardTokenInfo `json:"info"`
}

// CardTokenInfo is what may be shown of a card that was tokenized.
type CardTokenInfo struct {
	Masked  string `json:"masked_card_number"` // first six and last four digits
	Network string `json:"card_network"`       // such as "mir"
	Type    string `json:"card_type,omitempty"`
}

// TokenizeElements issues tokens of card numbers, at most 100, for partners who
// may hold those by PCI DSS and whose project allows it. Each number is named
// by the partner's own reference, 1 to 64 characters, and so is its token.
func (c *Client) TokenizeElements(ctx context.Context, numbers map[string]CardNumber) (map[string]CardToken, error) {
	type element struct {
		Ref    string     `json:"ref"`
		Type   string     `json:"type"`
		Number CardNumber `json:"card_number"`
	}
	body := struct {
		Elements []element `json:"elements"`
	}{[]element{}} // an empty array, not null
	for ref, number := range numbers {
		body.Elements = append(body.Elements, element{ref, "card_number", number})
	}
	a, err := c.call(ctx, http.MethodPost, "/api/v1/tokenize/elements", body, nil)
	if err != nil {
		return nil, err
	}
	var tokens map[string]CardToken
	if json.Unmarshal(a.Data, &tokens) != nil {
		return nil, &Error{CodeUnreadable, "tokenize/elements: an answer without tokens", http.StatusOK}
	}
	for ref := range numbers {
		if tokens[ref].Token == "" {
			return nil, &Error{CodeUnreadable, "tokenize/elements: an answer without the token of " + ref, http.StatusOK}
		}
	}
	return tokens, nil
}
