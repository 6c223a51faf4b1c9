package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/payout"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
)

// A route is one path below /api/v1/ or /api/v2/.
type route struct {
	path     string
	versions []session.Version
	verbs    []string // HTTP methods, sorted: they are the Allow header
	op       wire.Op  // what the body is read as; "" where the path is not offered
	run      func(context.Context, payout.Call, wire.Request) (payout.Answer, error)
}

// routes is every path of the API (wire reference, core §1.2 and §3,
// extensions §6).
func routes(e Engine) []route {
	var (
		both  = []session.Version{1, 2}
		v1    = []session.Version{1}
		post  = []string{http.MethodPost}
		reads = []string{http.MethodGet, http.MethodPost}

		balance = func(ctx context.Context, c payout.Call, _ wire.Request) (payout.Answer, error) {
			return e.Balance(ctx, c)
		}
		banks = func(context.Context, payout.Call, wire.Request) (payout.Answer, error) {
			return payout.Answer{Body: wire.Banks()}, nil
		}
	)
	all := []route{
		{"session/create", both, post, wire.OpCreate, e.Create},
		{"session/start/payout", both, post, wire.OpStart, e.Start},
		{"session/start", both, post, wire.OpStart, e.Start}, // in published samples; core §7 no. 20
		{"session/init/payout", both, post, wire.OpInit, e.Init},
		{"session/status", both, post, wire.OpStatus, e.Status},
		{"session/confirm", both, post, wire.OpConfirm, e.Confirm},
		{"session/cancel", both, post, wire.OpCancel, e.Cancel},
		{"fps/customer_verification", both, post, wire.OpVerify, e.Verify},
		{"fps/banks", both, reads, wire.OpBanks, banks}, // GET in the SDK, POST in older samples; core §7 no. 21
		{"wallet/balance", v1, post, wire.OpBalance, balance},
		{"token", v1, post, wire.OpToken, e.PublicToken},
		{"token/info", v1, post, wire.OpInfo, e.TokenInfo},
		{"tokenize", v1, post, wire.OpTokenize, e.Tokenize},
		{"tokenize/elements", v1, post, wire.OpElements, e.TokenizeElements},
		{"calculate", v1, post, wire.OpCalculate, e.Calculate},
		{"npd/check", v1, post, wire.OpNPDCheck, e.NPDAsk},
		{"npd/taxpayer/check", v1, post, wire.OpNPDCheck, e.NPDAsk}, // in newer documents; extensions §8 no. 10
		{"npd/taxpayer/check_personal_info", v1, post, wire.OpNPDPerson, e.NPDAsk},
		{"npd/request/status", v1, post, wire.OpNPDStatus, e.NPDStatus},
		{"npd/notifications/count", v1, post, wire.OpNotices, e.NPDNotices},
		{"npd/notifications/read", v1, post, wire.OpRead, e.NPDNotices},
		{"npd/notifications/mark_as_delivered", v1, post, wire.OpDelivered, e.NPDNotices},
		{"npd/notifications/update", v1, post, wire.OpUpdate, e.NPDNotices},
		{"session/start/payout/fiscalization", both, post, wire.OpStartFiscal, e.Start},
		{"session/init/payout/fiscalization", both, post, wire.OpInitFiscal, e.Init},
		{"fiscalization", v1, post, wire.OpFiscal, e.Start},
		{"fiscalization/cancel", v1, post, wire.OpFiscalCancel, e.CancelReceipt}, // ours: its path was not recovered; extensions §3.9
		// v2 where the reference lists it; core §1.2.
		{"session/multi/init", []session.Version{2}, post, wire.OpMulti, e.MultiInit},
		{"session/create/rko", v1, post, wire.OpCreateRKO, e.Create},
		{"session/start/payout/rko", v1, post, wire.OpStartRKO, e.Start},
		{"session/init/payout/rko", both, post, wire.OpInitRKO, e.Init},
		{"session/create/nominal", v1, post, wire.OpCreateNominal, e.Create},
		{"session/start/payout/nominal", v1, post, wire.OpStartNominal, e.Start},
		{"session/init/payout/nominal", both, post, wire.OpInitNominal, e.Init},
		{"report/account_balance", v1, reads, wire.OpAccountBalance, e.AccountBalance}, // both methods are in use; extensions §7.2, §8 no. 33
		{"account_balance", v1, reads, wire.OpAccountBalance, e.AccountBalance},
		{"report/account_statement", v1, reads, wire.OpStatement, e.AccountStatement},
	}
	for _, path := range notOffered {
		all = append(all, route{path: path, versions: both, verbs: post})
	}
	return all
}

// notOffered are operations of the reference that this server knows by name
// and answers with authorization_error, on either version.
var notOffered = []string{
	"session/init/payment", "session/init/payment/sync", "session/start/payment",
	"session/capture", "session/refund", "session/chargeback",
	"session/multi/create/nominal", "session/multi/init/payment/nominal", "session/multi/start/payment/nominal",
	"session/multi/create/rko", "session/multi/init/payment/rko", "session/multi/start/payment/rko",
	"recurrent/status", "recurrent/disable",
	"subscription/cancel", "subscription/restore",
	"sberpay/push",
	"bpa/session/init/payment", "cash/payout/session/init",
}

// index makes the routes findable by path.
func index(all []route) map[string]*route {
	byPath := make(map[string]*route, len(all))
	for i := range all {
		byPath[all[i].path] = &all[i]
	}
	return byPath
}

// match finds the route of a request: fault.NoRoute if the path or the version
// does not exist. The route comes with fault.BadVerb, for its Allow header.
func (s *Server) match(r *http.Request) (*route, session.Version, error) {
	rest, ok := below(r.URL.Path)
	if !ok {
		return nil, 0, fault.New(fault.NoRoute, "no such path; the API is below /api/v1/ and /api/v2/")
	}
	major, path, _ := strings.Cut(rest, "/")
	var v session.Version
	switch major {
	case "v1":
		v = 1
	case "v2":
		v = 2
	default:
		return nil, 0, fault.New(fault.NoRoute, "no such version of the API; there are v1 and v2")
	}
	found := s.routes[strings.TrimSuffix(path, "/")]
	switch {
	case found == nil:
		return nil, v, fault.New(fault.NoRoute, "no such operation")
	case !slices.Contains(found.versions, v):
		return nil, v, fault.New(fault.NoRoute, "%s is not in v%d of the API", found.path, v)
	case !slices.Contains(found.verbs, r.Method):
		return found, v, fault.New(fault.BadVerb, "%s takes %s only", found.path, strings.Join(found.verbs, " or "))
	}
	return found, v, nil
}

// below returns what follows /api/ in a path. Doubled slashes count as one:
// integrators exist who send them (wire reference, core §1.1). Dot segments
// have no meaning here.
func below(path string) (string, bool) {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return strings.CutPrefix(path, "/api/")
}
