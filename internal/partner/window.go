package partner

import "time"

// The window of returns: five days are usual, seven business days are borne
// (wire reference, extensions §8 no. 20).
const (
	returnWindowDefault = 5 * 24 * time.Hour
	returnDaysDefault   = 7
)

// moscow is the zone of the banks' days.
var moscow = time.FixedZone("MSK", 3*60*60)

// LateReturn reports whether a payout came back later than it should. Public
// holidays are not known here and count as business days.
func (p *Project) LateReturn(paid, back time.Time) bool {
	if p.ReturnWindow > 0 {
		return back.Sub(paid) > time.Duration(p.ReturnWindow)
	}
	end := paid.In(moscow)
	for left := returnDaysDefault; left > 0; {
		end = end.AddDate(0, 0, 1)
		if day := end.Weekday(); day != time.Saturday && day != time.Sunday {
			left--
		}
	}
	return back.Sub(paid) > returnWindowDefault && back.After(end)
}
