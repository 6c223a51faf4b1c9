package bench

import (
	"context"
	"sync"
	"time"
)

const (
	// pileTimeDefault bounds the time until all payouts of a pile are confirmed.
	pileTimeDefault = 10 * time.Minute
	// sampleGap is how often the memory of the server is looked at.
	sampleGap = 20 * time.Millisecond
)

// pile brings as many payouts as are wanted in flight to where they may be
// confirmed, and then confirms them all; the rail pays each a second after it
// has accepted it. The memory that counts is the most from the moment when all
// await their confirmation until all have been confirmed.
func (l *load) pile(ctx context.Context) (*Report, error) {
	began, before := now(), l.meters()
	var stop, release context.CancelFunc
	l.over, stop = context.WithTimeout(ctx, l.pileTime)
	l.cut, release = context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	go l.watch(stop, release)

	orders := make([]*order, l.InFlight)
	for i := range orders {
		orders[i] = l.order(began)
		orders[i].card = cardLate
	}
	l.all(orders, (*order).await)
	most := l.sample()
	l.all(orders, (*order).release)
	memory := most()
	l.all(orders, (*order).end)
	took := now().Sub(began)
	stop()
	r, err := l.report(took, before)
	if err != nil {
		return nil, err
	}
	r.InFlightMemory = megabytes(memory)
	return r, nil
}

// all takes each order that is still on its way through a stage.
func (l *load) all(orders []*order, stage func(*order) error) {
	_ = parallel(len(orders), l.Clients, func(i int) error { // errors are counted, and end nothing
		if w := orders[i]; !w.left {
			err := stage(w)
			l.note(err)
			w.left = w.left || err != nil
		}
		return nil
	})
}

// await brings a payout to where it may be confirmed.
func (w *order) await() error {
	w.begun = now()
	w.asked = w.begun
	if w.over.Err() != nil {
		w.left = true
		return nil
	}
	if err := w.begin("create", w.createBody()); err != nil {
		return err
	}
	return w.prepare()
}

// release confirms it, or cancels it if the run was interrupted.
func (w *order) release() error {
	if w.over.Err() != nil {
		w.left = true
		return w.cancel()
	}
	return w.confirm()
}

// end waits for its last webhook.
func (w *order) end() error {
	defer w.inbox.forget(w.session)
	return w.finish()
}

// sample looks at the memory of the server until the function returned is
// called, which returns the most that was seen, in bytes.
func (l *load) sample() (most func() int64) {
	var (
		peak   int64
		ended  = make(chan struct{})
		looked sync.WaitGroup
	)
	look := func() {
		resident, _ := memory(l.process.pid)
		peak = max(peak, resident)
	}
	looked.Go(func() {
		ticks := time.NewTicker(sampleGap)
		defer ticks.Stop()
		for {
			look()
			select {
			case <-ticks.C:
			case <-ended:
				look()
				return
			}
		}
	})
	return func() int64 {
		close(ended)
		looked.Wait()
		return peak
	}
}
