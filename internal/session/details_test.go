package session

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/money"
)

func TestDetailsOver(t *testing.T) {
	account := func(name string) *instrument.Instrument {
		return &instrument.Instrument{Account: &instrument.Account{FullName: name}}
	}
	card := &instrument.Instrument{Card: &instrument.Card{Last4: "4242"}}
	one, two := &money.Amount{Minor: 1, Currency: money.RUB}, &money.Amount{Minor: 2, Currency: money.RUB}
	anna, sender, meta := json.RawMessage(`{"recipient":{"full_name":"Anna"}}`), json.RawMessage(`{"sender":{"city":"Perm"}}`), json.RawMessage(`1`)
	tests := []struct {
		name          string
		create, start Details
		want          Details
	}{
		{"nothing", Details{}, Details{}, Details{}},
		{
			"all from create",
			Details{Instrument: card, Amount: one, Recipient: "Anna", Participants: anna, Customer: meta, Metadata: meta},
			Details{},
			Details{Instrument: card, Amount: one, Recipient: "Anna", Participants: anna, Customer: meta, Metadata: meta},
		},
		{
			"all from start",
			Details{Instrument: account("Boris"), Amount: one, Customer: meta, Metadata: meta},
			Details{Instrument: card, Amount: two, Recipient: "Anna", Participants: anna, Customer: json.RawMessage(`2`), Metadata: json.RawMessage(`{}`)},
			Details{Instrument: card, Amount: two, Recipient: "Anna", Participants: anna, Customer: json.RawMessage(`2`), Metadata: json.RawMessage(`{}`)},
		},
		{"the name goes with its participants", Details{Recipient: "Anna", Participants: anna}, Details{Participants: sender}, Details{Participants: sender}},
		{"the holder of the account", Details{Instrument: account("Boris")}, Details{}, Details{Instrument: account("Boris"), Recipient: "Boris"}},
		{"the holder of the account that is paid", Details{Instrument: account("Boris")}, Details{Instrument: account("Clara")}, Details{Instrument: account("Clara"), Recipient: "Clara"}},
		{"a recipient before the holder", Details{Instrument: account("Boris")}, Details{Recipient: "Anna", Participants: anna}, Details{Instrument: account("Boris"), Recipient: "Anna", Participants: anna}},
		{"a sender is no recipient", Details{Participants: sender}, Details{Instrument: account("Clara")}, Details{Instrument: account("Clara"), Participants: sender, Recipient: "Clara"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.start.Over(test.create); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}
