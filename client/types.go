package client

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/payoutd/payoutd/money"
)

// Statuses of a session (wire reference, core §2.2). Error means that the
// outcome is not known yet: it is not final.
const (
	SessionCreated    = "created"
	SessionInProgress = "in_progress"
	SessionAccepted   = "accepted"
	SessionCancelled  = "cancelled"
	SessionError      = "error"
)

// Statuses of a payout (wire reference, core §2.3).
const (
	PayoutInProgress = "in_progress"
	PayoutPending    = "pending" // awaits Confirm or Cancel
	PayoutSucceeded  = "succeeded"
	PayoutFailed     = "failed"
)

// NextConfirm is Session.NextAction while the bank waits for Confirm or Cancel.
const NextConfirm = "confirm"

// Session is a payout session (wire reference, core §2.2). It reads from the
// names of either version.
type Session struct {
	ID         string     `json:"id"`
	Status     string     `json:"status"`
	CreatedAt  time.Time  `json:"created_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	Payouts    []Payout   `json:"payout_list,omitempty"`
	// Payments are incoming payments, which this client does not make.
	Payments   []json.RawMessage `json:"payment_list,omitempty"`
	NextAction string            `json:"next_action,omitempty"`
	Error      *Failure          `json:"error,omitempty"`

	// ConfirmInformation stands beside the session on the wire: what
	// ConfirmWith has to send back, where the bank asks for it.
	ConfirmInformation json.RawMessage `json:"-"`
	// Replayed tells that the answer is of an earlier call with the same key.
	Replayed bool `json:"-"`
}

// UnmarshalJSON reads the names of version 1 too.
func (s *Session) UnmarshalJSON(b []byte) error {
	type plain Session
	both := struct {
		*plain
		Payouts1  []Payout          `json:"payments"`
		Payments1 []json.RawMessage `json:"acquiring_payments"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(b, &both); err != nil {
		return err
	}
	if s.Payouts == nil {
		s.Payouts = both.Payouts1
	}
	if s.Payments == nil {
		s.Payments = both.Payments1
	}
	return nil
}

// Payout is one payout of a session (wire reference, core §2.3). It reads from
// the names of either version.
type Payout struct {
	ID           string           `json:"id"`
	Status       string           `json:"status"`
	CreatedAt    time.Time        `json:"created_at"`
	FinishedAt   *time.Time       `json:"finished_at,omitempty"`
	Customer     *Customer        `json:"customer,omitempty"`
	Details      *Details         `json:"payout_details,omitempty"` // card numbers are masked
	Amount       *Amount          `json:"amount_details,omitempty"` // nil of an FPS verification
	Amounts      *Amounts         `json:"amounts,omitempty"`
	Conversion   *Conversion      `json:"exchange,omitempty"` // of an amount in foreign currency
	Participants *Participants    `json:"participant_details,omitempty"`
	Fiscal       *Fiscalization   `json:"fiscalization_details,omitempty"`
	Interaction  json.RawMessage  `json:"customer_interaction,omitempty"`
	Transaction  *TransactionInfo `json:"transaction_info,omitempty"`
	Refunds      []Refund         `json:"refunds,omitempty"`
	Metadata     json.RawMessage  `json:"metadata,omitempty"` // as it was sent
	Error        *Failure         `json:"error,omitempty"`
}

// UnmarshalJSON reads the names of version 1 too.
func (p *Payout) UnmarshalJSON(b []byte) error {
	type plain Payout
	both := struct {
		*plain
		Details1 *Details `json:"payment_method"`
	}{plain: (*plain)(p)}
	if err := json.Unmarshal(b, &both); err != nil {
		return err
	}
	if p.Details == nil {
		p.Details = both.Details1
	}
	return nil
}

// Request is what a payout is asked to be; Create takes a part of it, or none.
type Request struct {
	Details      *Details // from ToCard, ToAccount, ToPhone or ToWallet
	Amount       *Amount
	Participants *Participants // a card needs the recipient's name
	Customer     *Customer
	// Fiscal is of StartPayoutWithReceipt and its like; other calls are refused
	// with it.
	Fiscal *Fiscalization
	// Metadata is any value that can be written as JSON; it comes back in
	// every answer and webhook.
	Metadata any
}

// Amount is money as the wire writes it: minor units, and the code of the
// currency in any letter case.
type Amount struct {
	Minor    int64  `json:"amount"`
	Currency string `json:"currency"`
}

// AmountOf is a as the wire writes it.
func AmountOf(a money.Amount) *Amount { return &Amount{a.Minor, a.Currency.Lower()} }

// Money is the amount with a currency that is known; money.ErrUnknown if not.
func (a Amount) Money() (money.Amount, error) {
	c, err := money.ParseCurrency(a.Currency)
	if err != nil {
		return money.Amount{}, err
	}
	return money.Amount{Minor: a.Minor, Currency: c}, nil
}

// Amounts tells fees, where the project is shown them.
type Amounts struct {
	Net   *Amount `json:"net,omitempty"`   // what the recipient gets
	Gross *Amount `json:"gross,omitempty"` // what leaves the balance
	Fee   *Fee    `json:"fee,omitempty"`
}

// Conversion is how a payout that was asked for in foreign currency became
// roubles, where the project is shown it. It is payoutd's own.
type Conversion struct {
	Source      *Amount   `json:"source"`      // as it was asked for
	Destination *Amount   `json:"destination"` // roubles
	Rate        string    `json:"fx_rate"`     // roubles for one unit, a decimal number
	RateSource  string    `json:"rate_source"`
	RateTime    time.Time `json:"rate_time"`
	ReservedTo  time.Time `json:"reserved_to"` // the rate is locked until then
}

// Fee is what the payout costs the project.
type Fee struct {
	Merchant *Amount `json:"merchant_fee,omitempty"`
}

// TransactionInfo is what the payment system tells of a finished payout.
type TransactionInfo struct {
	RRN                       string `json:"rrn,omitempty"`
	ARN                       string `json:"arn,omitempty"`
	AuthCode                  string `json:"auth_code,omitempty"`
	FPMessageID               string `json:"fp_message_id,omitempty"`
	ExternalSubscriptionToken string `json:"external_subscription_token,omitempty"`
	BankAccountToken          string `json:"bank_account_ru_token,omitempty"`
}

// Refund is a return of a paid payout by the recipient's bank.
type Refund struct {
	ID          string           `json:"id"`
	Status      string           `json:"status"` // accepted, in_progress, declined or error
	CreatedAt   time.Time        `json:"created_at"`
	FinishedAt  *time.Time       `json:"finished_at,omitempty"`
	Amount      *Amount          `json:"amount_details,omitempty"`
	Chargeback  bool             `json:"is_chargeback,omitempty"`
	Metadata    json.RawMessage  `json:"metadata,omitempty"`
	Amounts     *Amounts         `json:"amounts,omitempty"`
	Transaction *TransactionInfo `json:"transaction_info,omitempty"`
}

// Failure is why a request, a session or a payout failed.
type Failure struct {
	Code          string         `json:"code"`
	Description   string         `json:"description"`
	RejectReasons []RejectReason `json:"reject_reasons,omitempty"`
}

// RejectReason names the rule of an anti-fraud refusal.
type RejectReason struct {
	Rule       string `json:"rule_alias,omitempty"`
	List       string `json:"list_alias,omitempty"`
	Expiration string `json:"expiration_date,omitempty"`
}

// Details say where a payout goes (wire reference, core §4). In answers a card
// is shown by its first and last digits, everything else as it was sent.
type Details struct {
	Type        string       `json:"type"` // card, bank_account, wallet or recurrent
	Card        *Card        `json:"card,omitempty"`
	BankAccount *BankAccount `json:"bank_account,omitempty"`
	Wallet      *Wallet      `json:"wallet,omitempty"`
	Recurrent   *Token       `json:"recurrent,omitempty"`
}

// ToCard pays to a card by its open number, 14 to 19 digits.
func ToCard(number CardNumber) *Details {
	return &Details{Type: "card", Card: &Card{Type: "bank_card", BankCard: &BankCard{Number: number}}}
}

// ToCardToken pays to a card by a token.
func ToCardToken(token string) *Details {
	return &Details{Type: "card", Card: &Card{Type: "tokenized_card", TokenizedCard: &Token{Token: token}}}
}

// ToCardHash pays to a card by the hash that the card widget has given.
func ToCardHash(hash string) *Details {
	return &Details{Type: "card", Card: &Card{Type: "encrypted_card", EncryptedCard: &EncryptedCard{Number: hash}}}
}

// ToRecurrent pays to a card by the token of its recurrent payments.
func ToRecurrent(token string) *Details {
	return &Details{Type: "recurrent", Recurrent: &Token{Token: token}}
}

// ToAccount pays to an account at a Russian bank, by its number or a token.
func ToAccount(a RussianAccount) *Details {
	return &Details{Type: "bank_account", BankAccount: &BankAccount{SystemType: "ru", Russian: &a}}
}

// ToPhone pays by the faster payment system: a phone, digits without a plus, at
// a member bank, 12 digits, and the purpose, at most 140 characters.
func ToPhone(phone, bankID, purpose string) *Details {
	return &Details{Type: "bank_account", BankAccount: &BankAccount{
		SystemType: "faster_payment_system", FPS: &Phone{Phone: phone, BankID: bankID, Description: purpose},
	}}
}

// ToWallet pays to a YooMoney wallet, 11 to 20 digits.
func ToWallet(account string) *Details {
	return &Details{Type: "wallet", Wallet: &Wallet{Type: "yoomoney", YooMoney: &YooMoney{Account: account}}}
}

// Card is a card: one of the first three members in requests, the others in
// answers.
type Card struct {
	Type          string         `json:"type,omitempty"` // requests only
	BankCard      *BankCard      `json:"bank_card,omitempty"`
	EncryptedCard *EncryptedCard `json:"encrypted_card,omitempty"`
	TokenizedCard *Token         `json:"tokenized_card,omitempty"`

	Last4   string `json:"last4,omitempty"`
	Brand   string `json:"brand,omitempty"`
	BIN     string `json:"bin,omitempty"` // first six digits
	CardID  string `json:"card_id,omitempty"`
	Country string `json:"country_iso3,omitempty"`
}

// BankCard is an open card number.
type BankCard struct {
	Number CardNumber `json:"number"`
}

// CardNumber is an open card number. It is written to JSON, since it must be
// sent, but prints as "[secret]".
type CardNumber string

// Format keeps the number out of every verb of fmt.
func (CardNumber) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// EncryptedCard is a card by the hashes of the card-entry widget.
type EncryptedCard struct {
	Number       string `json:"number_hash"`
	Expiration   string `json:"expiration_date_hash,omitempty"`
	SecurityCode string `json:"security_code_hash,omitempty"`
	Cardholder   string `json:"cardholder_name_hash,omitempty"`
}

// Token stands for payment details that the server keeps.
type Token struct {
	Token string `json:"token"`
}

// BankAccount is an account or a phone at a bank; exactly one is set, and
// SystemType names it.
type BankAccount struct {
	SystemType   string          `json:"system_type"`
	Russian      *RussianAccount `json:"ru,omitempty"`
	FPS          *Phone          `json:"faster_payment_system,omitempty"`
	Verification *Phone          `json:"faster_payment_system_verification,omitempty"`
}

// RussianAccount is an account at a Russian bank (wire reference, core §4.2).
type RussianAccount struct {
	BIK         string `json:"bik,omitempty"`     // 9 digits
	Account     string `json:"account,omitempty"` // 20 digits
	Token       string `json:"token,omitempty"`   // in place of both
	FullName    string `json:"full_name"`
	Description string `json:"description"` // purpose, at most 210 characters
	INN         string `json:"inn,omitempty"`
	KPP         string `json:"kpp,omitempty"`
	Fast        bool   `json:"is_fast,omitempty"` // urgent, by BESP
}

// Phone is a phone at a member bank of the faster payment system.
type Phone struct {
	Phone       string `json:"phone"`   // digits, without a plus
	BankID      string `json:"bank_id"` // 12 digits
	Description string `json:"description,omitempty"`
}

// Wallet is an electronic wallet.
type Wallet struct {
	Type     string    `json:"type"`
	YooMoney *YooMoney `json:"yoomoney,omitempty"`
}

// YooMoney is a wallet of that name.
type YooMoney struct {
	Account     string `json:"account"`
	Description string `json:"description,omitempty"`
}

// Customer is the recipient in the partner's own terms.
type Customer struct {
	Reference string    `json:"reference"`
	Contacts  []Contact `json:"contacts,omitempty"`
}

// Contact is an e-mail address, a phone or both.
type Contact struct {
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
}

// Participants are who sends and who receives.
type Participants struct {
	Sender    *Person `json:"sender,omitempty"`
	Recipient *Person `json:"recipient,omitempty"`
}

// Person is a person or a company (wire reference, core §2.8).
type Person struct {
	FullName            string    `json:"full_name,omitempty"`
	FirstName           string    `json:"first_name,omitempty"`
	LastName            string    `json:"last_name,omitempty"`
	MiddleName          string    `json:"middle_name,omitempty"`
	CompanyName         string    `json:"company_name,omitempty"`
	Reference           string    `json:"reference,omitempty"`
	TaxReference        string    `json:"tax_reference,omitempty"`
	CountryISO2         string    `json:"country_iso2,omitempty"`
	CountryISO3         string    `json:"country_iso3,omitempty"`
	CitizenshipISO3     string    `json:"citizenship_country_iso_3,omitempty"`
	City                string    `json:"city,omitempty"`
	State               string    `json:"state,omitempty"`
	PostalCode          string    `json:"postal_code,omitempty"`
	Street              string    `json:"street,omitempty"`
	Building            string    `json:"building,omitempty"`
	Flat                string    `json:"flat,omitempty"`
	AddressLine         string    `json:"address_line,omitempty"`
	IPv4                string    `json:"ipv4,omitempty"`
	IPv6                string    `json:"ipv6,omitempty"`
	Document            string    `json:"document,omitempty"`
	IdentityDocument    *Identity `json:"identity_document,omitempty"`
	DateOfBirth         string    `json:"date_of_birth,omitempty"` // YYYY-MM-DD
	Account             string    `json:"account,omitempty"`       // 20 digits
	Currency            string    `json:"currency,omitempty"`
	BankName            string    `json:"bank_name,omitempty"`
	SwiftBIC            string    `json:"swift_bic_code,omitempty"`
	Code                string    `json:"code,omitempty"`
	RegistrationNumber  string    `json:"registration_number,omitempty"`
	DateOfIncorporation string    `json:"date_of_incorporation,omitempty"`
	MSISDN              string    `json:"msisdn,omitempty"`
	Email               string    `json:"email,omitempty"`
	Description         string    `json:"description,omitempty"`
	BeneficiaryID       string    `json:"beneficiary_id,omitempty"` // INN
	WalletID            string    `json:"wallet_id,omitempty"`
}

// Identity is an identity document; dates are YYYY-MM-DD.
type Identity struct {
	Type         string `json:"id_type,omitempty"`
	Number       string `json:"id_number,omitempty"`
	Expires      string `json:"id_expiration_date,omitempty"`
	Issued       string `json:"issue_date,omitempty"`
	DivisionCode string `json:"division_code,omitempty"`
	IssuedBy     string `json:"issued_by,omitempty"`
}

// Balance is one balance of the project at the bank; it may be zero.
type Balance struct {
	ID     string `json:"id"`
	Amount Amount `json:"amount_details"`
}

// Bank is a member of the faster payment system.
type Bank struct {
	ID  string `json:"id"` // 12 digits
	Eng string `json:"eng_name"`
	Rus string `json:"ru_name"`
}
