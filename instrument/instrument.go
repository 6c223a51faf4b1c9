// Package instrument describes what money can be paid to: a bank card, a
// Russian bank account, a phone in the faster payment system (FPS, СБП) or a
// YooMoney wallet, with the published checks on each. It holds no card number:
// only what may be shown of one, and the name of its sealed form.
package instrument

import (
	"github.com/payoutd/payoutd/internal/id"
)

// Kind is the method of a payout; settings, fees and rails go by it.
type Kind string

// The methods.
const (
	KindCard    Kind = "card"
	KindAccount Kind = "bank_account"
	KindFPS     Kind = "fps"
	KindWallet  Kind = "wallet"
)

// Kinds lists all methods in the order in which people read them.
var Kinds = []Kind{KindCard, KindAccount, KindFPS, KindWallet}

// Instrument is where a payout goes; exactly one member is set. Its JSON form
// is for storage, not the wire's.
type Instrument struct {
	Card    *Card    `json:"card,omitempty"`
	Account *Account `json:"bank_account,omitempty"`
	FPS     *FPS     `json:"fps,omitempty"`
	Wallet  *Wallet  `json:"wallet,omitempty"`
}

// Kind says which member is set; "" if none.
func (i Instrument) Kind() Kind {
	switch {
	case i.Card != nil:
		return KindCard
	case i.Account != nil:
		return KindAccount
	case i.FPS != nil:
		return KindFPS
	case i.Wallet != nil:
		return KindWallet
	}
	return ""
}

// Card is what may be shown of a card (PCI DSS 3.4.1) and the sealed number:
// either one of its own, or what a token of the partner stands for.
type Card struct {
	BIN     string     `json:"bin"` // first six digits
	Last4   string     `json:"last4"`
	Brand   Brand      `json:"brand"`
	CardID  string     `json:"card_id,omitempty"` // the same for the same card; "" unless the project asks for it
	Sealed  id.Card    `json:"sealed"`            // the number, in the vault
	Token   id.Token   `json:"token,omitempty"`   // what stands for it in the vault, in place of Sealed
	Partner id.Partner `json:"partner,omitempty"` // owner of Token
}

// Account is an account at a Russian bank. One that was named by a token has
// that in place of BIK and number, which are sealed.
type Account struct {
	BIK    string `json:"bik"`     // 9 digits
	Number string `json:"account"` // 20 digits
	// Token is what the partner sent, to be echoed; the wire shows it in every
	// answer (wire reference, extensions §2.2).
	Token       string     `json:"token,omitempty"`
	Sealed      id.Token   `json:"sealed,omitempty"`
	Partner     id.Partner `json:"partner,omitempty"` // owner of Sealed
	FullName    string     `json:"full_name"`
	Description string     `json:"description"` // purpose, at most 210 characters
	INN         string     `json:"inn,omitempty"`
	KPP         string     `json:"kpp,omitempty"`
	Fast        bool       `json:"is_fast,omitempty"` // urgent, by BESP
	// FastSent says that the request carried is_fast, so that it is echoed.
	FastSent bool `json:"is_fast_sent,omitempty"`
}

// FPS is a phone at a member bank of the faster payment system.
type FPS struct {
	Phone       string `json:"phone"`   // digits, international, no plus
	BankID      string `json:"bank_id"` // 12 digits
	Description string `json:"description,omitempty"`
	// Verify says that no money moves: only whether the phone is known.
	Verify bool `json:"verify,omitempty"`
}

// Wallet is a YooMoney wallet.
type Wallet struct {
	Account     string `json:"account"` // 11 to 20 digits
	Description string `json:"description,omitempty"`
}
