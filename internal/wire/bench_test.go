package wire

import (
	"testing"

	"github.com/payoutd/payoutd/internal/session"
)

func BenchmarkParseInit(b *testing.B) {
	body := example(b, "start.request")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(OpInit, 1, nil, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	r, err := Parse(OpInit, 1, nil, example(b, "start.request"))
	if err != nil {
		b.Fatal(err)
	}
	s := exampleSession(7300451, "09:15:04.120031", "09:15:11.377002", session.Payout{
		ID: 4100982, State: session.Awaiting, Details: r.Details, CreatedAt: at("09:15:09.790225"),
	})
	b.ReportAllocs()
	for b.Loop() {
		Answer(s, 2, nil)
	}
}
