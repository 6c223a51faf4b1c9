package partner_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/partner"
)

func TestTimeout(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  time.Duration
		want time.Duration
	}{
		{"default", 0, 240 * time.Minute},
		{"set", time.Minute, time.Minute},
		{"impossible", -time.Minute, 240 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := partner.Project{ConfirmTimeout: partner.Duration(tt.set)}
			if got := p.Timeout(); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// A project may use nothing that it was not given.
func TestAllows(t *testing.T) {
	none, some := partner.Project{}, partner.Project{Methods: []instrument.Kind{instrument.KindFPS}}
	for _, k := range append([]instrument.Kind{""}, instrument.Kinds...) {
		if none.Allows(k) {
			t.Errorf("a new project may use %q", k)
		}
		if got := some.Allows(k); got != (k == instrument.KindFPS) {
			t.Errorf("%q: %t", k, got)
		}
	}
}

// What is stored reads back as it was, and a default takes no room.
func TestProjectJSON(t *testing.T) {
	p := partner.Project{
		ID: "acme", ConfirmTimeout: partner.Duration(90 * time.Minute),
		Fees: map[instrument.Kind]partner.Fee{instrument.KindCard: {Fixed: 1000, PPM: 15000}},
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var got partner.Project
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Timeout() != 90*time.Minute || got.Fees[instrument.KindCard] != p.Fees[instrument.KindCard] {
		t.Errorf("%s reads as %+v", text, got)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	if members["confirm_timeout"] != "1h30m0s" {
		t.Errorf("timeout written as %v", members["confirm_timeout"])
	}
	for _, name := range []string{"webhook", "single_request", "control_key", "credit"} {
		if _, ok := members[name]; ok {
			t.Errorf("%s was written", name)
		}
	}
}

func TestDurationRefuses(t *testing.T) {
	for _, text := range []string{`{"confirm_timeout":"soon"}`, `{"confirm_timeout":"5"}`, `{"confirm_timeout":5}`} {
		var p partner.Project
		if err := json.Unmarshal([]byte(text), &p); err == nil {
			t.Errorf("%s reads as %v", text, p.Timeout())
		}
	}
}
