package main

import "testing"

func TestUnfold(t *testing.T) {
	for _, row := range []struct {
		name  string
		in    string
		depth int
		want  string
	}{
		{"one level", `{"a":1,"b":{"c":[2]}}`, 1, "{\n  \"a\": 1,\n  \"b\": {\"c\":[2]}\n}\n"},
		{"two levels", `{"b":{"c":[2]}}`, 2, "{\n  \"b\": {\n    \"c\": [2]\n  }\n}\n"},
		{"no object", `[1]`, 1, "[1]\n"},
		{"nothing", ``, 1, "\n"},
		{"not JSON", `<html>`, 1, "<html>\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := unfold([]byte(row.in), "", row.depth); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestMasked(t *testing.T) {
	const in = `{"number":"4242424242424242","id":"ps_118051775807213568"}`
	const want = `{"number":"424242••••••4242","id":"ps_118051775807213568"}`
	if got := string(masked([]byte(in))); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestIsInbox(t *testing.T) {
	for url, want := range map[string]bool{
		"http://127.0.0.1:8131/sandbox/inbox/demo":   true,
		"http://[::1]:9000/sandbox/inbox/demo":       true,
		"http://127.0.0.1:8131/sandbox/inbox/mine":   false,
		"https://partner.example/sandbox/inbox/demo": false,
		"https://partner.example/hook":               false,
		"":                                           false,
		"://":                                        false,
	} {
		if got := isInbox(url); got != want {
			t.Errorf("%q: %v, want %v", url, got, want)
		}
	}
}
