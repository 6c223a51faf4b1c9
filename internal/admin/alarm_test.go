package admin

import (
	"reflect"
	"testing"

	"github.com/payoutd/payoutd/internal/store"
)

func TestAlarms(t *testing.T) {
	h, _, s := newDeskOn(t)
	c := connect(t, place(t, h))
	made(t, c)
	changes := &store.Changes{Batch: 1, Alarms: []store.Alarm{
		{ID: 1, Project: "acme", Session: 1, Payout: 2, Kind: "payout_unclear", Text: "not known for 24h", At: noon},
		{ID: 2, Project: "acme", Session: 1, Kind: "webhook_given_up", Text: "event ev_7 was tried 20 times", At: noon},
		{ID: 3, Project: "acme", Kind: "statement_extra", Text: "a line", At: noon},
	}}
	if err := s.Commit(t.Context(), store.Reads{}, func(*store.Rows) (*store.Changes, error) { return changes, nil }); err != nil {
		t.Fatal(err)
	}
	all := []Alarm{
		{noon, "statement_extra", "acme", "", "", "a line"},
		{noon, "webhook_given_up", "acme", "ps_1", "", "event ev_7 was tried 20 times"},
		{noon, "payout_unclear", "acme", "ps_1", "po_2", "not known for 24h"},
	}
	for limit, want := range map[int][]Alarm{0: all[:1], 2: all[:2], 1000: all} {
		got, err := c.Alarms(t.Context(), AlarmsRequest{Limit: limit})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("limit %d: %+v, %v; want %+v", limit, got, err, want)
		}
	}
}
