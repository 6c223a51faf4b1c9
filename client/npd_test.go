package client_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/payoutd/payoutd/client"
)

func TestNPDRequests(t *testing.T) {
	const inn = "772912345698"
	for _, tt := range []struct {
		name         string
		call         func(context.Context, *client.Client) (any, error)
		path         string
		body, answer string
		want         any
	}{
		{
			"check", func(ctx context.Context, c *client.Client) (any, error) { return c.NPDCheck(ctx, inn) },
			"npd/check", `{"tax_reference":"772912345698"}`, `,"request_id":"npd-1"`, "npd-1",
		},
		{"person", func(ctx context.Context, c *client.Client) (any, error) {
			return c.NPDCheckPerson(ctx, client.NPDPerson{INN: inn, LastName: "Orlov", FirstName: "Pavel", Phone: "79990001310"})
		}, "npd/taxpayer/check_personal_info", `{"tax_reference":"772912345698","last_name":"Orlov","first_name":"Pavel","phone":"79990001310"}`, `,"request_id":"npd-2"`, "npd-2"},
		{
			"linked", func(ctx context.Context, c *client.Client) (any, error) { return c.NPDStatus(ctx, "npd-1") },
			"npd/request/status", `{"request_id":"npd-1"}`, `,"is_professional_income_taxpayer":true,"is_linked":true`,
			client.NPDAnswer{SelfEmployed: true, Linked: true},
		},
		{
			"nobody", func(ctx context.Context, c *client.Client) (any, error) { return c.NPDStatus(ctx, "npd-1") },
			"npd/request/status", `{"request_id":"npd-1"}`, `,"is_professional_income_taxpayer":false`,
			client.NPDAnswer{},
		},
		{
			"mismatched", func(ctx context.Context, c *client.Client) (any, error) { return c.NPDStatus(ctx, "npd-2") },
			"npd/request/status", `{"request_id":"npd-2"}`, `,"mismatched_fields":["phone"]`,
			client.NPDAnswer{Mismatched: []string{"phone"}},
		},
		{
			"count", func(ctx context.Context, c *client.Client) (any, error) {
				return c.NPDCountNotifications(ctx, inn, "1")
			},
			"npd/notifications/count", `{"tax_references":["772912345698","1"]}`, `,"notifications":[{"tax_reference":"772912345698","count":2},{"tax_reference":"1"}]`,
			map[string]int{inn: 2, "1": 0},
		},
		{
			"read", func(ctx context.Context, c *client.Client) (any, error) { return c.NPDReadNotifications(ctx, inn) },
			"npd/notifications/read", `{"tax_references":["772912345698"]}`,
			`,"notifications":[{"tax_reference":"772912345698","notifications":[{"id":"n-1","title":"A","message":"B","status":"NEW","created_at":"2026-06-02T07:00:00.000000Z"}]}]`,
			map[string][]client.Notification{inn: {{ID: "n-1", Title: "A", Message: "B", Status: "NEW", CreatedAt: time.Date(2026, 6, 2, 7, 0, 0, 0, time.UTC)}}},
		},
		{
			"shown", func(ctx context.Context, c *client.Client) (any, error) {
				return nil, c.NPDMarkDelivered(ctx, map[string][]string{inn: {"n-1"}, "1": {"n-2", "n-3"}})
			}, "npd/notifications/mark_as_delivered",
			`{"notifications":[{"tax_reference":"1","message_id_list":["n-2","n-3"]},{"tax_reference":"772912345698","message_id_list":["n-1"]}]}`, ``, nil,
		},
		{
			"read by them", func(ctx context.Context, c *client.Client) (any, error) { return nil, c.NPDMarkRead(ctx, nil) },
			"npd/notifications/update", `{"notifications":[]}`, ``, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, last := serve(t, 200, `{"status":"ok"`+tt.answer+`}`)
			got, err := tt.call(t.Context(), open(t, url))
			if err != nil {
				t.Fatal(err)
			}
			if r := last(); r.method != "POST" || r.path != "/api/v1/"+tt.path || r.body != tt.body {
				t.Errorf("%s %s\n%s\nwant /api/v1/%s\n%s", r.method, r.path, r.body, tt.path, tt.body)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestNPDWithoutAnAnswer(t *testing.T) {
	url, _ := serve(t, 200, `{"status":"pending"}`)
	if _, err := open(t, url).NPDStatus(t.Context(), "npd-1"); !errors.Is(err, client.ErrPending) {
		t.Errorf("pending: %v", err)
	}
	url, _ = serve(t, 200, `{"status":"error","error":{"code":"npd_service_internal_error","description":"no"}}`)
	if _, err := open(t, url).NPDStatus(t.Context(), "npd-1"); errors.Is(err, client.ErrPending) || code(err) != "npd_service_internal_error" {
		t.Errorf("refused: %v", err)
	}
	url, _ = serve(t, 200, `{"status":"ok"}`)
	c := open(t, url)
	for name, call := range map[string]func() error{
		"check":  func() error { _, err := c.NPDCheck(t.Context(), "1"); return err },
		"status": func() error { _, err := c.NPDStatus(t.Context(), "npd-1"); return err },
		"count":  func() error { _, err := c.NPDCountNotifications(t.Context(), "1"); return err },
	} {
		if err := call(); code(err) != client.CodeUnreadable {
			t.Errorf("%s: %v", name, err)
		}
	}
	url, _ = serve(t, 202, `{"status":"pending"}`)
	if _, err := open(t, url).NPDStatus(t.Context(), "npd-1"); code(err) != client.CodeUnreadable {
		t.Errorf("pending with another status: %v", err)
	}
}

// code is that of a refusal.
func code(err error) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Code
	}
	return ""
}
