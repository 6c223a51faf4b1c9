package client_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/payoutd/payoutd/client"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// A card payout in two steps: start it, look at what the bank has checked, then
// release it.
func Example() {
	file, err := os.ReadFile("private.pem")
	if err != nil {
		log.Fatal(err)
	}
	key, err := sign.ParsePrivateKey(file)
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New("http://127.0.0.1:8131", "demo", key)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	amount, err := money.Parse("2450.00", "rub")
	if err != nil {
		log.Fatal(err)
	}
	s, err := c.InitPayout(ctx, client.Request{
		Details:      client.ToCard("2200000000001317"),
		Amount:       client.AmountOf(amount),
		Participants: &client.Participants{Recipient: &client.Person{FullName: "Соколова Марина Игоревна"}},
		Metadata:     map[string]string{"order": "PX-20931"},
	}, client.WithKey("PX-20931"), client.WithReplay())
	if err != nil {
		log.Fatal(err)
	}
	if s, err = c.WaitFor(ctx, s.ID, func(s client.Session) bool {
		return client.AwaitsConfirm(s) || client.Finished(s)
	}); err != nil {
		log.Fatal(err)
	}
	if client.AwaitsConfirm(s) {
		if _, err := c.Confirm(ctx, s.ID); err != nil {
			log.Fatal(err)
		}
		if s, err = c.WaitFor(ctx, s.ID, client.Finished); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(s.ID, s.Status)
}

// A handler of webhooks: checked over the raw body, kept, then answered.
func ExampleParseWebhook() {
	file, err := os.ReadFile("server-public.pem")
	if err != nil {
		log.Fatal(err)
	}
	server, err := sign.ParsePublicKey(file)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /hook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "unreadable", http.StatusBadRequest)
			return
		}
		event, err := client.ParseWebhook(body, r.Header.Get(sign.HeaderSign), server)
		if err != nil {
			http.Error(w, "not of the bank", http.StatusForbidden)
			return
		}
		log.Println(event.Type, event.Session.ID, event.Session.Status)
	})
}
