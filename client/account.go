package client

import (
	"context"
	"net/http"
	"time"
)

// Source is the kind of an account of the project's own that a payout is paid
// from in place of its balance.
type Source string

// The sources (wire reference, extensions §6).
const (
	FromSettlement Source = "rko"
	FromEscrow     Source = "nominal"
)

// CreateFrom is Create for a payout from an own account, which
// Participants.Sender.Account names; StartPayoutFrom starts it. Both are of
// version 1 always. The payout awaits ConfirmWith.
func (c *Client) CreateFrom(ctx context.Context, s Source, r Request, options ...CallOption) (Session, error) {
	return c.sessionAt(ctx, "/api/v1/session/create/"+string(s), c.named(1, "", r), options)
}

// StartPayoutFrom is StartPayout for a session that CreateFrom has made.
func (c *Client) StartPayoutFrom(ctx context.Context, s Source, session string, r Request, options ...CallOption) (Session, error) {
	return c.sessionAt(ctx, "/api/v1/session/start/payout/"+string(s), c.named(1, session, r), options)
}

// InitPayoutFrom is InitPayout from an own account.
func (c *Client) InitPayoutFrom(ctx context.Context, s Source, r Request, options ...CallOption) (Session, error) {
	return c.session(ctx, "session/init/payout/"+string(s), c.body("", r), options)
}

// InitPayouts creates a session and starts several payouts in it, which are
// confirmed or cancelled together; it is of version 2 always. It should carry an
// idempotency key, as InitPayout.
func (c *Client) InitPayouts(ctx context.Context, payouts []Request, options ...CallOption) (Session, error) {
	body := struct {
		Payouts []requestBody `json:"payout_list"`
	}{}
	for _, r := range payouts {
		body.Payouts = append(body.Payouts, c.named(2, "", r))
	}
	return c.sessionAt(ctx, "/api/v2/session/multi/init", body, options)
}

// Statement is one day of an own account (wire reference, extensions §7.3).
// Amounts are kopecks.
type Statement struct {
	Turnover struct {
		Debit  int64 `json:"debet"` // as the wire spells it
		Credit int64 `json:"credit"`
	} `json:"total_turnover"`
	Balance struct {
		Opening int64 `json:"opening"`
		Closing int64 `json:"closing"`
	} `json:"total_balance"`
	Transactions []Transaction `json:"transactions"`
}

// Transaction is a movement on an own account.
type Transaction struct {
	Amount       int64         `json:"amount"` // above zero
	Currency     string        `json:"currency"`
	Type         string        `json:"type"`         // TransactionCredit or TransactionDebit
	Date         string        `json:"payment_date"` // YYYY-MM-DD
	ID           string        `json:"bank_system_id"`
	Payout       string        `json:"transaction_id,omitempty"`
	Session      string        `json:"session_id,omitempty"`
	Purpose      string        `json:"purpose"`
	CounterParty *CounterParty `json:"counter_party,omitempty"`
}

// The types of transactions.
const (
	TransactionCredit = "credit"
	TransactionDebit  = "debet"
)

// CounterParty is the other side of a transaction.
type CounterParty struct {
	Name    string `json:"name,omitempty"`
	Account string `json:"account_number,omitempty"`
	Bank    string `json:"bank_code,omitempty"`
	INN     string `json:"inn,omitempty"`
	KPP     string `json:"kpp,omitempty"`
}

// reportBody is the body of the reports on own accounts.
type reportBody struct {
	Account string `json:"account_number"`
	From    string `json:"date_from,omitempty"`
	To      string `json:"date_to,omitempty"`
}

// AccountBalance reads what is on an own account, in kopecks, with what is held
// for payouts under way.
func (c *Client) AccountBalance(ctx context.Context, account string) (int64, error) {
	const path = "/api/v1/report/account_balance"
	a, err := c.call(ctx, http.MethodPost, path, reportBody{Account: account}, nil)
	if err == nil && a.Balance == nil {
		err = &Error{CodeUnreadable, path + ": an answer without a balance", http.StatusOK}
	}
	if err != nil {
		return 0, err
	}
	return a.Balance.Current, nil
}

// AccountStatement reads one day of an own account, as it is in the location of
// day; banks count days in Moscow.
func (c *Client) AccountStatement(ctx context.Context, account string, day time.Time) (Statement, error) {
	const path = "/api/v1/report/account_statement"
	date := day.Format(time.DateOnly)
	a, err := c.call(ctx, http.MethodPost, path, reportBody{account, date, date}, nil)
	if err == nil && a.Method == nil {
		err = &Error{CodeUnreadable, path + ": an answer without a statement", http.StatusOK}
	}
	if err != nil {
		return Statement{}, err
	}
	return *a.Method, nil
}
