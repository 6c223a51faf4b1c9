package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/console"
	"github.com/payoutd/payoutd/internal/sandbox"
	"github.com/payoutd/payoutd/money"
)

// tourTimeout bounds the main scenario, which takes about a second.
const tourTimeout = 30 * time.Second

// tourCard is a published test number; the sandbox pays it at once.
const tourCard = "4242424242424242"

// Colours of a terminal.
const (
	bold  = "\x1b[1m"
	cyan  = "\x1b[36m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	plain = "\x1b[0m"
)

// tour is what the sandbox shows on the screen: one payout from the partner's
// side, with the public client over HTTP, and what to try next.
type tour struct {
	*program
	server   *server
	demo     *demo
	folder   string // flags that lead another command to the same folder
	coloured bool
	step     int
	last     client.Exchange
	webhooks chan sandbox.Delivery
}

func newTour(p *program, g *global, s *server, d *demo) *tour {
	t := &tour{
		program: p, server: s, demo: d, folder: g.flags(), coloured: p.colourful(newEnvironment(p.environ)),
		webhooks: make(chan sandbox.Delivery, 16),
	}
	if !d.played {
		s.inbox.OnReceive(func(d sandbox.Delivery) {
			select {
			case t.webhooks <- d:
			default: // the tour is over, nobody reads
			}
		})
	}
	return t
}

// show plays the scenario, if it was not shown before, and ends with what to
// try next. The server goes on whatever comes of it.
func (t *tour) show(ctx context.Context) {
	t.printf("%s\n", t.colour(bold, "payoutd sandbox is ready on "+t.server.url))
	t.printf("data in %s, log in %s\n", shown(t.server.dir), shown(t.server.path("payoutd.log")))
	if t.demo.played {
		t.printf("The main scenario was shown before; it is played once for each data folder.\n")
		t.next()
		return
	}
	short, cancel := context.WithTimeout(ctx, tourTimeout)
	defer cancel()
	if err := t.play(short); ctx.Err() != nil {
		return // ended by the user
	} else if err != nil {
		t.warn("the scenario broke off: %v", err)
	} else if err := t.server.store.PutSetting(short, settingPlayed, []byte("1")); err != nil {
		t.warn("the scenario will be played again at the next start: %v", err)
	}
	t.next()
}

// play makes one payout through the main scenario.
func (t *tour) play(ctx context.Context) error {
	c, err := client.New(t.server.url, demoProject, t.demo.key, client.WithTrace(func(e client.Exchange) { t.last = e }))
	if err != nil {
		return err
	}
	t.printf("One payout from beginning to end; answers and webhooks are shown in part.\n")

	t.headline("The partner asks for the balance")
	if _, err := c.Balance(ctx); err != nil {
		return err
	}
	t.exchange()

	t.headline("The partner asks for a payout of 150.00 RUB to a card")
	s, err := c.InitPayout(ctx, client.Request{
		Details:      client.ToCard(tourCard),
		Amount:       client.AmountOf(money.Amount{Minor: 150_00, Currency: money.RUB}),
		Participants: &client.Participants{Recipient: &client.Person{FullName: "Ivan Ivanov"}},
	}, client.WithKey("sandbox-scenario-"+fmt.Sprint(t.server.clock.Now().UnixMicro())))
	if err != nil {
		return err
	}
	t.exchange()

	t.headline("The card is checked and the amount is held; then the partner's word is awaited")
	if s, err = c.WaitFor(ctx, s.ID, client.AwaitsConfirm); err != nil {
		return err
	}
	t.exchange()
	if err := t.webhook(ctx, s.ID, client.ReadyToConfirm); err != nil {
		return err
	}

	t.headline("The partner confirms, and the money goes out")
	if s, err = c.Confirm(ctx, s.ID); err != nil {
		return err
	}
	t.exchange()
	if err := t.webhook(ctx, s.ID, client.PaymentFinished); err != nil {
		return err
	}

	t.headline("The balance afterwards")
	if _, err := c.Balance(ctx); err != nil {
		return err
	}
	t.exchange()
	return nil
}

func (t *tour) headline(text string) {
	t.step++
	t.printf("\n%s\n", t.colour(bold, fmt.Sprintf("%d. %s", t.step, text)))
}

// exchange prints the last request and its answer.
func (t *tour) exchange() {
	t.printf("%s\n%s", t.colour(cyan, "→ "+t.last.Method+" "+t.last.Path), unfold(masked(t.last.Request), "  ", 1))
	t.printf("%s\n%s", t.colour(cyan, fmt.Sprintf("← %d", t.last.Status)), unfold(shortened(t.last.Response), "  ", 2))
}

// webhook waits for one and prints it. The inbox has checked its signature with
// the server's public key, as a partner does.
func (t *tour) webhook(ctx context.Context, session, kind string) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no webhook %s came: %w", kind, context.Cause(ctx))
		case d := <-t.webhooks:
			if d.SessionID != session || d.Type != kind {
				continue
			}
			signature := t.colour(green, "(signature ok)")
			if !d.Verified {
				signature = t.colour(red, "(WRONG SIGNATURE)")
			}
			t.printf("%s %s\n%s", t.colour(cyan, "⇐ webhook "+kind), signature, unfold(shortened(d.Body), "  ", 2))
			return nil
		}
	}
}

// next says what to try, in lines that can be pasted as they are.
func (t *tour) next() {
	url, key := t.server.url, t.server.path(demoProject, "private.pem")
	at := t.folder
	if url != "http://127.0.0.1:8131" {
		at += " --url " + url
	}
	t.printf(`
%s
A signed request with openssl and curl:

  body='{"payout_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":"%s"}}},"amount_details":{"amount":15000,"currency":"rub"},"participant_details":{"recipient":{"full_name":"Ivan Ivanov"}}}'
  curl -sS %s/api/v2/session/init/payout -H 'Content-Type: application/json' -H 'X-PARTNER-PROJECT: %s' -H "X-PARTNER-SIGN: $(printf %%s "$body" | openssl dgst -sha256 -sign %s -binary | openssl base64 -A)" --data-binary "$body"

The same by one command, and the proof of the books:

  %s payout create --card %s --amount 150.00 --confirm --wait%s
  %s check%s

Demo page      %s/demo/
Console        %s%s
Widgets        %s
Test values    %s/sandbox/values
Webhooks       %s/sandbox/inbox
Clock          %s/sandbox/clock
Keys           %s
Documents      README.md, docs/wire.md, docs/sandbox.md, docs/widgets.md

Ctrl-C ends the sandbox.
`, t.colour(bold, "What to try next"), tourCard, url, demoProject, quote(key),
		t.name, tourCard, at, t.name, t.folder, url, url, t.consoleAs(), t.server.widgetURL, url, url, url, shown(t.server.path(demoProject)))
}

// consoleAs is the console's path, and who gets in.
func (t *tour) consoleAs() string {
	if t.demo.password == "" {
		return console.Root
	}
	return fmt.Sprintf("%s  (name %s, password %s)", console.Root, demoOperator, t.demo.password)
}

func (t *tour) colour(code, text string) string {
	if !t.coloured {
		return text
	}
	return code + text + plain
}

// masked hides the middle of card numbers.
func masked(text []byte) []byte {
	return []byte(strings.ReplaceAll(instrument.MaskText(string(text)), "*", "•"))
}

// shortened keeps of an answer or a webhook what tells the story.
func shortened(body []byte) []byte {
	var story struct {
		Type    string          `json:"type,omitempty"`
		Status  string          `json:"status,omitempty"`
		Wallets json.RawMessage `json:"wallets,omitempty"`
		Session *struct {
			ID         string `json:"id"`
			Status     string `json:"status"`
			NextAction string `json:"next_action,omitempty"`
			Payouts    []struct {
				ID          string          `json:"id"`
				Status      string          `json:"status"`
				Amount      json.RawMessage `json:"amount_details,omitempty"`
				Transaction json.RawMessage `json:"transaction_info,omitempty"`
				Error       json.RawMessage `json:"error,omitempty"`
			} `json:"payout_list,omitempty"`
		} `json:"session,omitempty"`
	}
	if json.Unmarshal(body, &story) != nil {
		return body
	}
	short, err := json.Marshal(story)
	if err != nil {
		return body
	}
	return short
}

// unfold prints a JSON object with each member on a line of its own, and so the
// objects in it down to depth; deeper ones stay in one line.
func unfold(raw []byte, indent string, depth int) string {
	var b strings.Builder
	b.WriteString(indent)
	unfoldInto(&b, raw, indent, depth)
	b.WriteByte('\n')
	return b.String()
}

func unfoldInto(b *strings.Builder, raw json.RawMessage, indent string, depth int) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); depth == 0 || err != nil || open != json.Delim('{') {
		b.Write(raw)
		return
	}
	b.WriteByte('{')
	for first := true; d.More(); first = false {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return // not JSON after all
		}
		if !first {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "\n%s  %q: ", indent, name)
		unfoldInto(b, value, indent+"  ", depth-1)
	}
	b.WriteString("\n" + indent + "}")
}
