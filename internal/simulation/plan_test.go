package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/rate"
	"github.com/payoutd/payoutd/internal/store"
	"github.com/payoutd/payoutd/internal/vault"
	"github.com/payoutd/payoutd/money"
	"github.com/payoutd/payoutd/sign"
)

// config is what kind of history a seed makes.
type config struct {
	machines int
	alone    bool          // the database has one owner
	shopsN   int           // partners
	perShop  int           // payouts of each
	length   time.Duration // of the busy part
	pace     time.Duration // the longest that the database usually takes
	gapMax   time.Duration // between questions about an unclear payout
	rates    map[string]float64
	jumps    bool // product clocks are moved
	oneHost  bool // all receivers share a host
	offers
}

// offers is what the installation of a history has beside payouts to cards and
// accounts: each is there in about half of them, so that it meets what else may
// be there or not.
type offers struct {
	multi      bool // sessions of several payouts
	taxed      bool // a tax service, and payouts with receipts
	foreign    bool // amounts in dollars
	owned      bool // own accounts of the projects
	phones     bool // a third rail, to phones, which verifies people too
	statements bool // of the rails, taken in while payouts go on
	newYear    bool // it is played across the end of a year
	archives   bool // what has ended is archived while payouts go on
	tokens     bool // in place of open numbers
	keys       bool // those of partners and of the vault are replaced
}

// faults are the kinds of what goes wrong and how often at most. Each history
// leaves out about half of them: what is rare among everything is common alone.
var faults = []struct {
	kind string
	most float64
}{
	{"busy", 0.05},
	{"refused", 0.05},
	{"unknown and lost", 0.04},
	{"unknown and written", 0.04},
	{"lost answer", 0.05},
	{"slow", 0.03},
	{"crash before", 0.01},
	{"crash after", 0.01},
	{"check hangs", 0.2},
	{"check fails", 0.3},
	{"recipient unknown", 0.1},
	{"request lost", 0.3},
	{"request late", 0.3},
	{"answer lost", 0.3},
	{"answer unreadable", 0.2},
	{"rail contradicts itself", 0.15},
	{"rail is mute", 0.1},
	{"rail forgets", 0.1},
	{"query hangs", 0.2},
	{"query fails", 0.3},
	{"told again", 0.3},
	{"comes back", 0.4},
	{"other amount", 0.3},
	{"comes back twice", 0.5},
	{"receiver refuses", 0.3},
	{"receiver hangs", 0.2},
	{"receiver fails", 0.3},
	{"receiver is busy", 0.2},
	{"receiver lies", 0.1},
	{"receiver's answer lost", 0.2},
	{"partner hears nothing", 0.2},
}

// offered are those of what only some histories offer.
var offered = []struct {
	kind string
	most float64
	by   func(*offers) bool
}{
	{"rate fails", 0.3, func(o *offers) bool { return o.foreign }},
	{"rate hangs", 0.1, func(o *offers) bool { return o.foreign }},
	{"question lost", 0.3, func(o *offers) bool { return o.taxed }},
	{"question late", 0.5, func(o *offers) bool { return o.taxed }},
	{"question doubled", 0.3, func(o *offers) bool { return o.taxed }},
	{"message lost", 0.3, func(o *offers) bool { return o.taxed }},
	{"message forgotten", 0.2, func(o *offers) bool { return o.taxed }},
	{"receipt takes its time", 0.4, func(o *offers) bool { return o.taxed }},
	{"answer not fetched", 0.2, func(o *offers) bool { return o.taxed }},
	{"service fails", 0.2, func(o *offers) bool { return o.taxed }},
	{"service fails and registers", 0.4, func(o *offers) bool { return o.taxed }},
	{"service denies what it has", 0.3, func(o *offers) bool { return o.taxed }},
	{"service claims what it has not", 0.1, func(o *offers) bool { return o.taxed }},
	{"consent withdrawn", 0.8, func(o *offers) bool { return o.taxed }},
	{"others earn", 0.3, func(o *offers) bool { return o.taxed }},
	{"line left out", 0.1, func(o *offers) bool { return o.statements }},
	{"line doubled", 0.1, func(o *offers) bool { return o.statements }},
	{"line of another amount", 0.1, func(o *offers) bool { return o.statements }},
	{"line of a stranger", 0.3, func(o *offers) bool { return o.statements }},
	{"sum of a statement is wrong", 0.2, func(o *offers) bool { return o.statements }},
	{"statement sent twice", 0.4, func(o *offers) bool { return o.statements }},
	{"statement issued anew", 0.3, func(o *offers) bool { return o.statements }},
	{"return told otherwise", 0.3, func(o *offers) bool { return o.statements }},
	{"archiving is interrupted", 0.6, func(o *offers) bool { return o.archives }},
	{"archived by two", 0.6, func(o *offers) bool { return o.archives }},
	{"comes back once archived", 0.5, func(o *offers) bool { return o.archives }},
	{"token deleted", 0.8, func(o *offers) bool { return o.tokens }},
	{"button pressed twice", 0.6, func(o *offers) bool { return o.tokens }},
}

func (w *world) draw() config {
	r := w.roll("config")
	c := config{
		machines: 1 + r.IntN(3), shopsN: 2 + r.IntN(3), perShop: 2 + r.IntN(5), length: time.Duration(20+r.IntN(70)) * time.Second,
		pace: time.Duration(1+r.IntN(30)) * time.Millisecond, gapMax: 20 * time.Second, rates: map[string]float64{}, jumps: r.IntN(3) == 0, oneHost: r.IntN(2) == 0,
	}
	if r.IntN(2) == 0 {
		c.gapMax = 5 * time.Minute
	}
	c.alone = c.machines == 1 && r.IntN(2) == 0
	for _, f := range faults {
		if rate := r.Float64() * f.most; r.IntN(2) == 0 {
			c.rates[f.kind] = rate
		}
	}
	if !w.plain {
		c.offers = w.offer(c.jumps)
	}
	for _, f := range offered {
		r := w.roll("rate of " + f.kind)
		if f.by(&c.offers) && r.IntN(2) == 0 {
			c.rates[f.kind] = r.Float64() * f.most
		}
	}
	return c
}

// offer draws what there is. Statements are of days that no clock has jumped
// over, and only a year's end that is passed once is simple enough to foretell.
func (w *world) offer(jumps bool) offers {
	r := w.roll("offers")
	some := func() bool { return r.IntN(2) == 0 }
	return offers{
		multi: some(), taxed: some(), foreign: some(), owned: some(), phones: some(), statements: some() && !jumps, newYear: r.IntN(6) == 0 && !jumps,
		archives: some() && !w.old, tokens: some() && !w.old, keys: some() && !w.old,
	}
}

// numbers are published test numbers, and accounts of the same kind.
var (
	numbers  = []string{"4242424242424242", "2200000000001317", "5555555555554444", "4111111111111111", "5105105105105100"}
	accounts = []string{"40817810500000012345", "40817810500000054321", "40702810500000011111", "40802810500000022222"}

	phoneNumbers = []string{"79990001310", "79990001311", "79990001312"}
	ownAccounts  = []string{"40702810900000000131", "40701810200000000131"}
)

// keys are made once for all histories: no choice depends on them.
var secrets = sync.OnceValue(func() (s struct {
	vault  vault.Keys
	server sign.PrivateKey
},
) {
	var err error
	if s.vault, err = vault.Generate(); err == nil {
		s.server, err = sign.GenerateP256()
	}
	if err != nil {
		panic(err)
	}
	return s
})

// build makes the world and plans what its people will do.
func (w *world) build() {
	w.store = newMemory(w.alone)
	w.nodes = make([]*node, w.machines)
	w.rails = map[string]*simRail{}
	for name, kind := range map[string]instrument.Kind{"cards": instrument.KindCard, "banks": instrument.KindAccount, "phones": instrument.KindFPS} {
		if kind != instrument.KindFPS || w.phones {
			w.rails[name] = &simRail{world: w, name: name, kind: kind, payments: map[string]*payment{}, bankBook: bankBook{until: w.opening}}
		}
	}
	if w.taxed {
		w.openOffice()
	}
	if w.archives {
		w.openCellar()
	}
	if w.tokens {
		w.mint()
	}
	if w.keys {
		w.openSafe()
	}
	w.hooks = &receivers{world: w, came: map[id.Event]int{}, took: map[id.Event]int{}, heard: map[store.EventKey]bool{}, whole: map[id.Event]bool{}}
	w.looked = newChecks()
	for i := range w.shopsN {
		w.open(i)
	}
	for slot := range w.nodes {
		w.boot(slot, 0)
		w.trouble(slot)
	}
	for _, s := range w.shops {
		for _, c := range s.charges {
			w.want(s, c)
		}
	}
	if w.statements {
		for _, name := range slices.Sorted(maps.Keys(w.rails)) {
			w.rails[name].bookkeeping()
		}
	}
}

// open makes a partner with a project and what it wants to pay.
func (w *world) open(i int) {
	name := fmt.Sprintf("shop%d", i+1)
	r := w.roll(name)
	fee := partner.Fee{Fixed: int64(r.IntN(50)), PPM: int64(r.IntN(20_000))}
	host := name + ".example"
	if w.oneHost {
		host = "hooks.example"
	}
	s := &shop{world: w, deposits: map[string]*deposit{}, project: partner.Project{
		ID: id.Project(name), Wallet: fmt.Sprint(40_000 + i), Webhook: "https://" + host + "/" + name, ServerKey: partner.P256,
		RetryShort: r.IntN(8) > 0, SingleRequest: r.IntN(4) == 0, ReturnFee: r.IntN(2) == 0,
		ConfirmTimeout: partner.Duration(time.Duration(5+r.IntN(120)) * time.Second),
		Methods:        instrument.Kinds, Fees: map[instrument.Kind]partner.Fee{instrument.KindCard: fee, instrument.KindAccount: fee},
		Keys: nil, CreatedAt: w.opening,
	}, accounts: map[string]instrument.Source{}}
	s.extras()
	if w.tokens {
		s.owns(i)
	}
	if w.keys {
		s.rekey()
	}
	if s.deaf = r.IntN(8) == 0 && w.may(name+" has a receiver that is down"); s.deaf {
		s.project.RetryShort = true // three days of it take long even here
	}
	if err := w.store.CreateProject(w.t.Context(), s.project); err != nil {
		w.t.Fatal(err)
	}
	w.shops = append(w.shops, s)
	// The money comes while it is being spent, and each transfer is told twice.
	for d := range 2 {
		reference := fmt.Sprintf("%s transfer %d", name, d+1)
		s.deposits[reference] = &deposit{minor: int64(10_000 + r.IntN(60_000))}
		s.transfer(reference, d)
	}
	for _, number := range s.numbers() {
		for d := range 2 {
			reference := fmt.Sprintf("%s transfer to %s %d", name, s.accounts[number], d+1)
			s.deposits[reference] = &deposit{account: number, minor: int64(5_000 + s.roll(reference).IntN(20_000))}
			s.transfer(reference, d)
		}
	}
	for n := range r.IntN(3) {
		op := fmt.Sprintf("%s: replay #%d", name, n+1)
		w.plan(w.between(op, time.Second, w.length), op, func() { s.replay(op) })
	}
	for n := range w.perShop {
		s.charges = append(s.charges, s.charge(fmt.Sprintf("%s pay%d", name, n+1), true))
	}
}

// transfer plans money that comes in, which is told three times.
func (s *shop) transfer(reference string, d int) {
	for n := range 3 {
		op := fmt.Sprintf("%s, told #%d", reference, n+1)
		s.plan(s.between(op, time.Duration(d*10)*time.Second+200*time.Millisecond, time.Duration(n+1+d*20)*time.Second), op, func() { s.pay(reference, op) })
	}
}

// extras is what a partner has agreed on where the installation offers it.
func (s *shop) extras() {
	r, p := s.roll("extras of "+string(s.project.ID)), &s.project
	fee := p.Fees[instrument.KindCard]
	if s.phones {
		p.Fees[instrument.KindFPS] = fee
	}
	if s.foreign {
		p.Rates = map[money.Currency]rate.Terms{money.USD: {}}
		p.RateLock = partner.Duration(time.Duration(3+r.IntN(90)) * time.Second)
	}
	if s.taxed {
		p.SelfEmployed, p.KeepReceipts = true, r.IntN(4) == 0
	}
	for n, source := range instrument.Sources {
		if s.owned && r.IntN(4) > 0 {
			number := ownAccounts[n][:19] + p.Wallet[4:]
			s.accounts[number] = source
			s.store.open(store.AccountKey{Project: p.ID, Number: number}, partner.Owner{Type: source, Name: "ООО Ромашка", BIK: "044000131"}, s.opening)
		}
	}
}

// numbers are those of its own accounts, in order.
func (s *shop) numbers() []string { return slices.Sorted(maps.Keys(s.accounts)) }

func (s *shop) charge(label string, keyed bool) *charge {
	one, r := s.item(label)
	c := &charge{shop: s, label: label, items: []*item{one}}
	one.charge = c
	if keyed && r.IntN(4) > 0 {
		// Keys of different partners may well be the same.
		c.key = "key " + label[len("shop1 "):]
	}
	if !s.plain {
		c.shape()
	}
	s.labels[label] = c
	for _, i := range c.items {
		s.recipients[i.label] = i
	}
	return c
}

// item is a payout in roubles to a card or an account, with what else may be
// drawn for it.
func (s *shop) item(label string) (*item, *rand.Rand) {
	r := s.roll("charge of " + label)
	i := &item{
		label: label, kind: instrument.KindCard, destination: numbers[r.IntN(len(numbers))], minor: int64(100 + r.IntN(20_000)), currency: money.RUB,
	}
	if r.IntN(2) == 0 {
		i.kind, i.destination = instrument.KindAccount, accounts[r.IntN(len(accounts))]
	}
	return i, r
}

// want plans how a partner goes about a payout.
func (w *world) want(s *shop, c *charge) {
	r := w.roll("ways of " + c.label)
	begin := time.Duration(r.Int64N(int64(w.length * 7 / 10)))
	at := func(name string, most time.Duration, do func(name string)) {
		name = c.label + ": " + name
		w.plan(begin+w.between(name, 0, most), name, func() { do(name) })
	}
	create := c.steps(r.IntN(4) == 0)
	at("ask", time.Millisecond, func(name string) { c.ask(create, name, false) })
	if create {
		at("start", 2*time.Second, func(name string) { c.act("start", name) })
		at("start again", 8*time.Second, func(name string) { c.act("start", name) })
	}
	for n := range r.IntN(4) {
		if c.key != "" {
			at(fmt.Sprintf("ask again #%d", n+1), 6*time.Second, func(name string) { c.ask(create, name, w.roll(name).IntN(2) == 0) })
			continue
		}
		// Without a key another request is another payout.
		twin := s.charge(fmt.Sprintf("%s twin%d", c.label, n+1), false)
		if alone := twin.steps(false); alone {
			at(fmt.Sprintf("start twin #%d", n+1), 9*time.Second, func(name string) { twin.act("start", name) })
		}
		at(fmt.Sprintf("ask for twin #%d", n+1), 6*time.Second, func(name string) { twin.ask(twin.steps(false), name, false) })
		at(fmt.Sprintf("confirm twin #%d", n+1), 9*time.Second, func(name string) { twin.act("confirm", name) })
	}
	for n := range r.IntN(4) {
		at(fmt.Sprintf("confirm #%d", n+1), 4*time.Second, func(name string) { c.act("confirm", name) })
	}
	if r.IntN(3) == 0 {
		for n := range 1 + r.IntN(2) {
			at(fmt.Sprintf("cancel #%d", n+1), 4*time.Second, func(name string) { c.act("cancel", name) })
		}
	}
	if r.IntN(3) == 0 {
		at("status", 20*time.Second, func(name string) { c.act("status", name) })
	}
	if c.items[0].fiscal != nil && w.roll("receipt of "+c.label).IntN(2) == 0 {
		at("cancel the receipt", 20*time.Second, func(name string) { c.act("cancel the receipt", name) })
	}
	if r.IntN(4) == 0 {
		by := w.shops[r.IntN(len(w.shops))]
		if by != s {
			at("pried into", 5*time.Second, func(name string) { c.pry(by, name) })
		}
	}
}

// trouble plans what becomes of a machine beside crashes.
func (w *world) trouble(slot int) {
	name := fmt.Sprintf("n%d", slot+1)
	r := w.roll("trouble of " + name)
	when := func() time.Duration { return time.Duration(r.Int64N(int64(w.length))) }
	for i := range r.IntN(3) {
		w.plan(when(), fmt.Sprintf("%s is stopped #%d", name, i+1), func() { w.nodes[slot].stop() })
	}
	for i := range r.IntN(2) {
		d := time.Duration(1+r.IntN(25)) * time.Second
		w.plan(when(), fmt.Sprintf("%s is paused #%d", name, i+1), func() {
			w.tell("%s is paused for %v", name, d)
			w.nodes[slot].frozen = time.Now().Add(d)
		})
	}
	for i := range r.IntN(2) {
		d := time.Duration(1+r.IntN(20)) * time.Second
		w.plan(when(), fmt.Sprintf("%s is cut off #%d", name, i+1), func() {
			n := w.nodes[slot]
			w.tell("%s is cut off from the database for %v", name, d)
			n.cut.Store(true)
			w.after(d, name+" is back", func() { n.sees() })
		})
	}
	if w.jumps {
		for i := range 1 + r.IntN(2) {
			d := time.Duration(r.Int64N(int64(3*time.Hour))) - time.Hour
			w.plan(when(), fmt.Sprintf("the clock of %s jumps #%d", name, i+1), func() { w.jump(w.nodes[slot], d) })
		}
	}
}

// sees ends that a machine can't reach the database.
func (n *node) sees() {
	if n.cut.Swap(false) {
		n.sighted = time.Now()
	}
}

// jump moves the product's clock of a machine.
func (w *world) jump(n *node, d time.Duration) {
	w.tell("the clock of %s jumps by %v", n.name, d)
	w.jumped = true
	n.offset.Add(int64(d))
	if e := n.serves(); e != nil {
		e.Wake()
	}
}

// heal ends all trouble, so that only the work is left.
func (w *world) heal() {
	w.healed = true
	most := int64(0)
	for _, n := range w.nodes {
		n.frozen = time.Time{}
		n.sees()
		most = max(most, n.offset.Load())
	}
	for _, n := range w.nodes {
		n.offset.Store(most)
	}
}

// drain lets everything come to its end. Where only time is missing, the
// product's clocks are moved on to the next thing that is due.
func (w *world) drain() {
	for range 3_000 {
		w.run(time.Now().Add(15*time.Second), w.idle)
		if w.failed() != nil {
			return
		}
		if w.ended() {
			w.audit()
			if w.failed() == nil {
				w.final()
			}
			return
		}
		if next, ok := w.nextDue(); ok && w.allUp() {
			// Breakers and leases go by the real time, which must not stand still
			// beside the other.
			w.run(time.Now().Add(min(next.Sub(w.nodes[0].now()), w.patience())), w.never)
			if d := next.Sub(w.nodes[0].now()); d > 0 {
				w.tell("-- the clocks are moved on by %v", d)
				w.leap(d)
			}
		}
	}
	w.breaks("drain", "after %v: %s", time.Since(w.opening), w.unfinished())
}

// patience is how long the drain waits for in real time: the longest that a
// breaker stays open, where a receiver is down.
func (w *world) patience() time.Duration {
	for _, s := range w.shops {
		if s.deaf && !w.oneHost {
			return 5*time.Minute + time.Second
		}
	}
	return 20 * time.Second
}

func (w *world) never() bool { return false }

// leap moves all clocks.
func (w *world) leap(d time.Duration) {
	w.leaped += d
	for _, n := range w.nodes {
		n.offset.Add(int64(d))
		if e := n.serves(); e != nil {
			e.Wake()
		}
	}
}
