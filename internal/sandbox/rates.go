package sandbox

import (
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/money"
)

// prices are those of the simulated world. They stand still, so that a payout's
// roubles can be known beforehand.
var prices = map[money.Currency]rate.Price{
	money.USD: 80_50_000_000, // 80.50 roubles
	money.EUR: 93_75_000_000, // 93.75 roubles
}

// Rates is the simulated world's source of exchange rates.
func Rates(clock *Clock) rate.Source {
	return rate.Table{Name: "sandbox", Prices: prices, Now: clock.Now}
}

// KindRate is the Kind of a currency in which payouts may be asked for.
const KindRate = "rate"

// RateValues lists the currencies that every project has, by code.
func RateValues() []Value {
	var all []Value
	for _, c := range []money.Currency{money.EUR, money.USD} {
		all = append(all, Value{Kind: KindRate, Value: c.Lower(), Description: "one costs " + prices[c].String() + " roubles"})
	}
	return all
}
