package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/payoutd/payoutd/instrument"
	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/id"
	"github.com/payoutd/payoutd/internal/ledger"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/store"
)

func projects(b *bed) {
	empty, err := b.Projects(b.ctx)
	b.must(err)
	same(b, "projects of an empty store", len(empty), 0)
	zero, err := b.ProjectsRevision(b.ctx)
	b.must(err)

	retired := noon.Add(time.Hour)
	second := partner.Project{
		ID: "second", Wallet: "40001", Webhook: "https://partner.example/hook?a=1&b=<2>", AllowPrivateWebhooks: true, RetryShort: true,
		Keys:         []partner.Key{{ID: "00112233aabbccdd", PEM: "-----BEGIN PUBLIC KEY-----\n"}, {ID: "ff", RetiredAt: &retired}},
		WebhookNames: 1, ServerKey: partner.P256, SingleRequest: true, ConfirmTimeout: partner.Duration(time.Minute),
		Methods: []instrument.Kind{instrument.KindCard}, Fees: map[instrument.Kind]partner.Fee{instrument.KindCard: {Fixed: 1, PPM: 2, Minimum: 3}},
		ShowFees: true, Credit: 1<<53 + 1, ControlKey: partner.Warn, INNCheck: partner.Reject, AccountPrefix: partner.Off, CreatedAt: noon,
	}
	b.must(b.CreateProject(b.ctx, second))
	created, err := b.ProjectsRevision(b.ctx)
	b.must(err)
	if created == zero {
		b.Error("the revision of the projects stands still when one is created")
	}
	first := partner.Project{ID: "first", Wallet: "40002", CreatedAt: noon.Add(999)} // below a microsecond
	b.must(b.CreateProject(b.ctx, first))

	got, err := b.Projects(b.ctx)
	b.must(err)
	first.CreatedAt = noon
	first.Revision, second.Revision = got[0].Revision, got[1].Revision
	same(b, "projects", got, []partner.Project{first, second})
	same(b, "book of a new project", b.book("second").Balance, ledger.Accounts{})
	same(b, "its credit", b.book("second").Credit, second.Credit)

	changed := second
	changed.Webhook, changed.Keys, changed.SingleRequest, changed.Credit = "", nil, false, 0
	b.must(b.UpdateProject(b.ctx, changed))
	updated, err := b.ProjectsRevision(b.ctx)
	b.must(err)
	if updated == created {
		b.Error("the revision of the projects stands still when one is updated")
	}
	got, err = b.Projects(b.ctx)
	b.must(err)
	if got[1].Revision <= second.Revision {
		b.Errorf("revision %d after an update at %d", got[1].Revision, second.Revision)
	}
	changed.Revision = got[1].Revision
	same(b, "projects after an update", got, []partner.Project{first, changed})
	same(b, "its credit after an update", b.book("second").Credit, 0)
}

func projectRefusals(b *bed) {
	b.project("p", 0)
	b.deposit("p", 5)
	before := b.dump()
	revision, err := b.ProjectsRevision(b.ctx)
	b.must(err)

	b.refused(b.CreateProject(b.ctx, partner.Project{ID: "p", Credit: 9}), fault.Invalid, "a project that exists")
	b.refused(b.CreateProject(b.ctx, partner.Project{ID: "q", Credit: -1}), fault.Invalid, "a negative credit")
	p := before.Projects[0]
	p.Wallet = "2"
	p.Revision--
	b.refused(b.UpdateProject(b.ctx, p), fault.Busy, "an older revision")
	p.Revision += 2
	b.refused(b.UpdateProject(b.ctx, p), fault.Busy, "a newer revision")
	p.Revision, p.Credit = before.Projects[0].Revision, -1
	b.refused(b.UpdateProject(b.ctx, p), fault.Invalid, "an update to a negative credit")

	same(b, "content", b.dump(), before)
	after, err := b.ProjectsRevision(b.ctx)
	b.must(err)
	same(b, "revision of the projects", after, revision)
	_, err = b.Book(b.ctx, "q")
	b.refused(err, fault.NotFound, "the book of a project that was refused")
}

// creditMovesTheLine uses some of the credit: the line can't rise above what
// is used.
func creditMovesTheLine(b *bed) {
	b.project("p", 10_00)
	b.commit(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) {
		b.must(post(c, rows.Books["p"], ledger.Hold(8_00, 0)))
	})
	set := func(credit int64) error {
		all, err := b.Projects(b.ctx)
		b.must(err)
		all[0].Credit = credit
		return b.UpdateProject(b.ctx, all[0])
	}
	b.refused(set(7_99), fault.Invalid, "a credit below what is used")
	same(b, "credit", b.book("p").Credit, 10_00)
	b.must(set(8_00))
	same(b, "credit", b.book("p").Credit, 8_00)
	err := b.try(store.Reads{Books: []id.Project{"p"}}, func(rows *store.Rows, c *store.Changes) error {
		return post(c, rows.Books["p"], ledger.Hold(1, 0))
	})
	if err == nil {
		b.Error("a hold went below the new line")
	}
	b.must(set(9_00))

	book := b.book("p") // read before the line moves, written after
	b.must(set(8_00))
	if moved := b.book("p"); moved.Revision <= book.Revision {
		b.Errorf("the book has revision %d after its line moved, and had %d", moved.Revision, book.Revision)
	}
	err = b.try(store.Reads{}, func(_ *store.Rows, c *store.Changes) error { return post(c, book, ledger.Hold(1_00, 0)) })
	b.refused(err, fault.Internal, "a hold by the old line")
	same(b, "available", b.book("p").Balance.Available, -8_00)
}

func settings(b *bed) {
	for name, value := range map[string][]byte{"text": []byte("value"), "bytes": {0, 0xff, 0, 1}, "a longer one": make69k()} {
		b.must(b.PutSetting(b.ctx, name, []byte("before")))
		b.must(b.PutSetting(b.ctx, name, value))
		got, err := b.Setting(b.ctx, name)
		b.must(err)
		same(b, name, got, value)
	}
	b.must(b.PutSetting(b.ctx, "empty", nil))
	got, err := b.Setting(b.ctx, "empty")
	b.must(err)
	same(b, "empty", len(got), 0)
}

// addedSettingStays lets several add the same setting at once, as the nodes of
// a new installation do.
func addedSettingStays(b *bed) {
	const racers = 8
	got := make([]string, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			value, err := b.AddSetting(b.ctx, "name", []byte{byte('a' + i)})
			if err != nil {
				b.Errorf("racer %d: %v", i, err)
			}
			got[i] = string(value)
		})
	}
	all.Wait()
	stands, err := b.Setting(b.ctx, "name")
	b.must(err)
	for i := range racers {
		same(b, fmt.Sprintf("what racer %d was told", i), got[i], string(stands))
	}
	b.must(b.PutSetting(b.ctx, "name", []byte("put")))
	value, err := b.AddSetting(b.ctx, "name", []byte("late"))
	b.must(err)
	same(b, "what was put", string(value), "put")
}

// oneOfSwapsWins lets several change the same setting at once, from what each has
// read.
func oneOfSwapsWins(b *bed) {
	const racers = 8
	b.must(b.PutSetting(b.ctx, "name", []byte("old")))
	won := make(chan string, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			value := string(rune('a' + i))
			switch err := b.SwapSetting(b.ctx, "name", []byte("old"), []byte(value)); {
			case err == nil:
				won <- value
			case fault.CodeOf(err) != fault.Busy:
				b.Errorf("racer %d: %v, want %s", i, err, fault.Busy)
			}
		})
	}
	all.Wait()
	close(won)
	first, second := <-won, <-won
	stands, err := b.Setting(b.ctx, "name")
	b.must(err)
	if string(stands) != first || second != "" {
		b.Errorf("%q stands; %q and %q were told that they won", stands, first, second)
	}
	b.must(b.SwapSetting(b.ctx, "name", []byte("old"), stands)) // as if the answer had been lost
	b.must(b.SwapSetting(b.ctx, "name", stands, []byte{0, 0xff}))
	b.refused(b.SwapSetting(b.ctx, "none", nil, []byte("new")), fault.Busy, "one that is not there")
	stands, err = b.Setting(b.ctx, "name")
	b.must(err)
	same(b, "swapped", stands, []byte{0, 0xff})
}
