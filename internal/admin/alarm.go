package admin

import (
	"context"
	"time"

	"github.com/payoutd/payoutd/internal/id"
)

// AlarmsRequest asks for the newest alarms.
type AlarmsRequest struct {
	Limit int `json:"limit"`
}

// Alarm calls for people: what it tells of does not go away by itself.
type Alarm struct {
	At      time.Time  `json:"at"`
	Kind    string     `json:"kind"` // snake_case, stable
	Project id.Project `json:"project"`
	Session string     `json:"session,omitempty"`
	Payout  string     `json:"payout,omitempty"`
	Text    string     `json:"text"`
}

func (d *desk) alarms(ctx context.Context, in AlarmsRequest) ([]Alarm, error) {
	raised, err := d.store.Alarms(ctx, limited(in.Limit))
	if err != nil {
		return nil, err
	}
	list := []Alarm{}
	for _, a := range raised {
		shown := Alarm{At: a.At, Kind: a.Kind, Project: a.Project, Text: a.Text}
		if a.Session != 0 {
			shown.Session = a.Session.String()
		}
		if a.Payout != 0 {
			shown.Payout = a.Payout.String()
		}
		list = append(list, shown)
	}
	return list, nil
}

// Alarms lists the newest alarms of all projects, newest first.
func (c *Client) Alarms(ctx context.Context, r AlarmsRequest) ([]Alarm, error) {
	return call[[]Alarm](ctx, c, opAlarms, r)
}
