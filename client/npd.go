package client

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"
)

// ErrPending says that the tax service has not answered yet: ask again later.
var ErrPending = errors.New("the tax service has not answered yet")

// NPDPerson is whom the tax service is to compare with what it knows: a name in
// parts, or whole with the last name first.
type NPDPerson struct {
	INN        string `json:"tax_reference"` // 12 digits
	LastName   string `json:"last_name,omitempty"`
	FirstName  string `json:"first_name,omitempty"`
	MiddleName string `json:"middle_name,omitempty"`
	FullName   string `json:"full_name,omitempty"`
	Phone      string `json:"phone"` // 11 digits, the first is 7
}

// NPDAnswer is what the tax service says of a person (wire reference, extensions
// §3.2 and §3.5).
type NPDAnswer struct {
	SelfEmployed bool     // of NPDCheck, as the next one
	Linked       bool     // income may be registered for them
	Mismatched   []string // of NPDCheckPerson: members that are not as the service knows them
}

// NPDCheck asks whether the person of an INN, 12 digits, is self-employed and
// linked. It returns the request under which NPDStatus has the answer, for 24
// hours.
func (c *Client) NPDCheck(ctx context.Context, inn string) (string, error) {
	return c.npdAsk(ctx, "npd/check", map[string]string{"tax_reference": inn})
}

// NPDCheckPerson asks whether the tax service knows the person by this name and
// phone. It returns the request under which NPDStatus has the answer.
func (c *Client) NPDCheckPerson(ctx context.Context, p NPDPerson) (string, error) {
	return c.npdAsk(ctx, "npd/taxpayer/check_personal_info", p)
}

func (c *Client) npdAsk(ctx context.Context, op string, body any) (string, error) {
	a, err := c.call(ctx, http.MethodPost, "/api/v1/"+op, body, nil)
	if err == nil && a.Request == "" {
		err = &Error{CodeUnreadable, op + ": an answer without a request", http.StatusOK}
	}
	return a.Request, err
}

// NPDStatus fetches the answer to a request: ErrPending is in the error as long
// as there is none. What the tax service refuses is an *Error with its code.
func (c *Client) NPDStatus(ctx context.Context, request string) (NPDAnswer, error) {
	a, err := c.call(ctx, http.MethodPost, "/api/v1/npd/request/status", map[string]string{"request_id": request}, nil)
	switch {
	case err != nil:
		return NPDAnswer{}, err
	case a.SelfEmployed == nil && a.Mismatched == nil:
		return NPDAnswer{}, &Error{CodeUnreadable, "npd/request/status: an answer without an answer", http.StatusOK}
	}
	found := NPDAnswer{Linked: a.Linked, Mismatched: a.Mismatched}
	found.SelfEmployed = a.SelfEmployed != nil && *a.SelfEmployed
	return found, nil
}

// Notification is what the tax service has to tell a person; whoever is linked
// to them must pass it on.
type Notification struct {
	ID        string    `json:"id"`
	Title     string    `json:"title"`
	Message   string    `json:"message"`
	Status    string    `json:"status"` // NEW, ACKNOWLEDGED or ARCHIVED
	CreatedAt time.Time `json:"created_at"`
}

// NPDCountNotifications tells how many notifications each person has not read,
// by INN.
func (c *Client) NPDCountNotifications(ctx context.Context, inns ...string) (map[string]int, error) {
	list, err := notifications[struct {
		INN   string `json:"tax_reference"`
		Count int    `json:"count"`
	}](ctx, c, "count", inns)
	counts := map[string]int{}
	for _, n := range list {
		counts[n.INN] = n.Count
	}
	return counts, err
}

// NPDReadNotifications reads the notifications that each person has not read, by
// INN.
func (c *Client) NPDReadNotifications(ctx context.Context, inns ...string) (map[string][]Notification, error) {
	list, err := notifications[struct {
		INN           string         `json:"tax_reference"`
		Notifications []Notification `json:"notifications"`
	}](ctx, c, "read", inns)
	texts := map[string][]Notification{}
	for _, n := range list {
		texts[n.INN] = n.Notifications
	}
	return texts, err
}

// notifications asks about people.
func notifications[T any](ctx context.Context, c *Client, op string, inns []string) (list []T, err error) {
	op = "npd/notifications/" + op
	a, err := c.call(ctx, http.MethodPost, "/api/v1/"+op, map[string][]string{"tax_references": append([]string{}, inns...)}, nil)
	if err == nil && json.Unmarshal(a.Notifications, &list) != nil {
		err = &Error{CodeUnreadable, op + ": an answer without notifications", http.StatusOK}
	}
	return list, err
}

// NPDMarkDelivered reports that notifications were shown: their identifiers by
// the person's INN.
func (c *Client) NPDMarkDelivered(ctx context.Context, ids map[string][]string) error {
	return c.mark(ctx, "mark_as_delivered", ids)
}

// NPDMarkRead reports that the people have read notifications.
func (c *Client) NPDMarkRead(ctx context.Context, ids map[string][]string) error {
	return c.mark(ctx, "update", ids)
}

func (c *Client) mark(ctx context.Context, op string, ids map[string][]string) error {
	type marked struct {
		INN string   `json:"tax_reference"`
		IDs []string `json:"message_id_list"`
	}
	list := []marked{} // an empty array, not null
	for _, inn := range slices.Sorted(maps.Keys(ids)) {
		list = append(list, marked{inn, ids[inn]})
	}
	_, err := c.call(ctx, http.MethodPost, "/api/v1/npd/notifications/"+op, map[string]any{"notifications": list}, nil)
	return err
}
