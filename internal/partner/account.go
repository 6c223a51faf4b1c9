package partner

import "github.com/payoutd/payoutd/instrument"

// Owner is whose an account is that a project pays from, as the bank of a
// recipient is told (wire reference, extensions §4.3). It is written once.
type Owner struct {
	Type instrument.Source `json:"type"`
	Name string            `json:"name"`
	INN  string            `json:"inn,omitempty"`
	KPP  string            `json:"kpp,omitempty"`
	// The bank that has the account.
	BIK           string `json:"bik"`
	BankName      string `json:"bank_name,omitempty"`
	Correspondent string `json:"correspondent,omitempty"` // its account with the Bank of Russia
}
