package wire

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/payoutd/payoutd/internal/session"
)

// Members of a request that change nothing here: they are checked as far as the
// wire reference gives them a shape (core §2.10; extensions §6 and §6.1) and kept.
const (
	customRouting   = "custom_routing"
	paymentOptions  = "payment_options"
	paymentMetadata = "payment_metadata"
	revenueSplit    = "revenue_split_info"
)

func (d *document) extra(of ref) session.Extra {
	var e session.Extra
	if at := d.member(of, customRouting); at != absent && d.object(at) {
		d.each(d.member(at, "tags"), func(tag ref) {
			d.required(tag, "root_tag", textForm)
			d.each(d.member(tag, "values"), nil)
		})
		e.Routing = d.echo(at)
	}
	if at := d.member(of, paymentOptions); at != absent && d.object(at) {
		d.optional(at, "return_url", textForm)
		d.flag(at, "recurrent")
		if platform := d.member(at, "platform_details"); platform != absent && d.object(platform) {
			for _, name := range []string{"type", "os", "browser"} {
				d.optional(platform, name, textForm)
			}
		}
		e.Options = d.echo(at)
	}
	e.Metadata = d.kept(of, paymentMetadata)
	if at := d.member(of, revenueSplit); at != absent {
		d.each(at, func(share ref) { d.required(share, "contractor_alias", textForm) })
		e.Split = d.echo(at)
	}
	return e
}

// each reads an array, if it is there: of objects, each of which goes to read, or
// without read of anything.
func (d *document) each(at ref, read func(ref)) {
	if at == absent {
		return
	}
	if d.nodes[at].kind != jsontext.KindBeginArray {
		d.refuse(at, "must be an array")
		return
	}
	for at := d.nodes[at].first; at != absent && read != nil; at = d.nodes[at].next {
		if d.object(at) {
			read(at)
		}
	}
}
