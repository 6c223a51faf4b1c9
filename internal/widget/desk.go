package widget

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/instrument"
)

// Desk is the back end as the widgets see it. Each call names the public token
// that the partner's page was given; errors are fault.NotFound for a token that
// nobody issued, TokenExpired, TokenUsed, TooMany after more attempts than one
// token has, and Unauthorized where the token does not open the widget.
type Desk interface {
	// Open says what a token opens. A token that is used up or past its end is
	// no error here: the page has to say so to the person, in a frame that only
	// the project's origins may show. It costs the token no attempt.
	Open(ctx context.Context, token string) (Grant, error)
	// Card seals a card number and uses the token up: fault.Invalid if it is no
	// card number, which costs an attempt. The number is the caller's memory,
	// wiped after the call.
	Card(ctx context.Context, token string, number []byte) (Card, error)
	// Account does the same for a Russian bank account.
	Account(ctx context.Context, token, bik, account string) (Account, error)
	// Link asks the tax service to link the self-employed person whom the token
	// names: fault.Invalid if person is not that INN, nor a phone number.
	Link(ctx context.Context, token, person string) (LinkState, error)
	// LinkState asks the tax service how the request stands. The first answer
	// Linked uses the token up.
	LinkState(ctx context.Context, token string) (LinkState, error)
}

// Grant is what a public token opens.
type Grant struct {
	// Origins are the pages that may show the widget, as browsers write them:
	// "https://shop.example", without a path. In a sandbox a port may be "*".
	Origins []string
	EndsAt  time.Time

	Tokenize     Door
	SelfEmployed Door
	Acquiring    Door
	// Person is the INN that the token links, "" without that widget.
	Person string
}

// Expired reports whether a token has come to its end.
func (g *Grant) Expired(now time.Time) bool { return !now.Before(g.EndsAt) }

// Door is whether a token opens one widget.
type Door int

// The doors.
const (
	Shut Door = iota // never did
	Open
	Used // its one operation is done, or its attempts are
)

// Card is a tokenized card: what the partner gets, and what the person may see.
type Card struct {
	NumberHash string // 64 hex digits, for encrypted_card.number_hash
	Brand      instrument.Brand
	Last4      string
}

// Account is a tokenized bank account.
type Account struct {
	Token  string // 64 hex digits, for bank_account.ru.token
	Masked string // "40817***2345"
}

// LinkState is how a request to link a self-employed person stands.
type LinkState string

// The states of linking.
const (
	LinkNone     LinkState = "none"      // nothing was asked
	LinkSent     LinkState = "requested" // the person has to confirm in the tax service's app
	Linked       LinkState = "linked"
	LinkRejected LinkState = "rejected" // by the person
)
