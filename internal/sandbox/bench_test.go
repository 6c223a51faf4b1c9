package sandbox

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/payoutd/payoutd/instrument"
)

// BenchmarkSend shows what the witness costs: calls that come together share
// one transaction.
func BenchmarkSend(b *testing.B) {
	w, err := Open(b.TempDir(), &Clock{})
	if err != nil {
		b.Fatal(err)
	}
	defer shut(b, w)
	r := w.Rails()[instrument.KindCard]
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o, opener := payTo(instrument.KindCard, ordinary[instrument.KindCard])
			o.Reference = fmt.Sprintf("po_%d", n.Add(1))
			if out, err := r.Send(b.Context(), o, opener); err != nil {
				b.Errorf("%+v, error %v", out, err)
			}
		}
	})
}
