package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/payoutd/payoutd/internal/fault"
	"github.com/payoutd/payoutd/internal/partner"
	"github.com/payoutd/payoutd/internal/session"
	"github.com/payoutd/payoutd/internal/wire"
	"github.com/payoutd/payoutd/sign"
)

// A trial is what the rules of this file need to know of a path to try it.
type trial struct {
	// bodies are right requests. In braces stands what belongs to a project and
	// may be named by nobody else; see product.fill.
	bodies []string
	// alone says why nothing of another project can be named, where no body has
	// braces.
	alone string
	// twice is the code of a repeat with the same idempotency key, and again of
	// one without a key; "" where it is answered.
	twice, again fault.Code
	// project may send it, where not all may; acme may send everything but what
	// takes an account of the project's own.
	project string
	// own says that it takes one: kale has them.
	own bool
}

// owner is the project whose things a stranger names.
func (t trial) owner() string {
	if t.own {
		return "kale"
	}
	return "acme"
}

// sender is a project that may send it, with a key of P-256, which signs faster.
func (t trial) sender() string {
	if t.own {
		return t.owner()
	}
	return cmp.Or(t.project, "hazel")
}

// stranger is one that may send it too, and shares nothing with acme.
func (t trial) stranger() string { return cmp.Or(t.project, "birch") }

const (
	readOnly   = "reads only what is the project's own, and takes no name of it"
	whoever    = "asks the tax service about a person by the number that the person has given"
	strangers  = "takes a person with whom the project has nothing to do for one who is not linked"
	namedLater = "keeps the number of an account that is looked for when the payout is started"
	givesNew   = "makes a new token of what stands in the request"
)

// trials has every path that is offered: a new one is tried as soon as it has
// its row here.
var trials = map[string]trial{
	"session/create": {
		bodies: []string{
			`{"metadata":{"order":"7"},"customer":{"reference":"courier-5512","contacts":[{"email":"anna@bank.example"}]}}`,
			`{"payout_details":{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"{hash}","security_code_hash":"` + strings.Repeat("a", 64) + `"}}}}`,
			`{"payment_method":{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"bik":"044525974","account":"40817810900001234567",` +
				`"inn":"7700000136","kpp":"770001001","full_name":"Anna Berg","description":"Pay"}}}}`,
			everything,
		},
		twice: fault.KeyExists,
	},
	"session/start/payout": {bodies: []string{payTo(`"session_id":"{created}",`, byAccount)}, twice: fault.KeyExists, again: fault.WrongState},
	"session/start":        {bodies: []string{payTo(`"session_id":"{created}",`, byHash)}, twice: fault.KeyExists, again: fault.WrongState},
	"session/init/payout": {
		bodies: []string{payTo("", byNumber), payTo("", byHash), payTo("", byToken), payTo("", byAccount), payTo("", byAccountToken)},
		twice:  fault.KeyExists,
	},
	"session/status":  {bodies: []string{`{"session_id":"{created}"}`, `{"session_id":"{awaiting}"}`}},
	"session/confirm": {bodies: []string{`{"session_id":"{awaiting}"}`, `{"session_id":"{awaiting}","confirm_information":{"order":"7"}}`}, twice: fault.KeyExists, again: fault.WrongState},
	"session/cancel":  {bodies: []string{`{"session_id":"{created}"}`, `{"session_id":"{awaiting}"}`}, twice: fault.KeyExists, again: fault.WrongState},
	"fps/customer_verification": {
		bodies: []string{`{"session_id":"{created}","payment_method":{"type":"bank_account","bank_account":{"system_type":"faster_payment_system_verification",` +
			`"faster_payment_system_verification":{"phone":"79990001310","bank_id":"100000000131"}}},` +
			`"participant_details":{"recipient":{"first_name":"Марина","last_name":"Соколова"}}}`},
		twice: fault.KeyExists, again: fault.WrongState,
	},
	"fps/banks":      {bodies: []string{`{}`}, alone: "the list is the same for all"},
	"wallet/balance": {bodies: []string{`{"request_datetime":"2026-03-02T12:20:00+03:00"}`}, alone: readOnly},
	"token": {bodies: []string{
		`{"acquiring_widget":{"session_id":"{created}","success_return_url":"https://shop.example/","failure_return_url":"https://shop.example/","locale":"ru"}}`,
		`{"tokenize_widget":{"access":true,"locale":"ru"},"self_employed_widget":{"tax_reference":"772912345698"}}`,
	}},
	"token/info": {bodies: []string{
		`{"type":"public_token","public_token":{"token":"{public}"}}`,
		`{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"{hash}"}}}`,
		`{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"{token}"}}}`,
		`{"type":"bank_account_ru","bank_account_ru":{"token":"{account}"}}`,
	}},
	"tokenize": {bodies: []string{`{"type":"bank_account_ru","bank_account_ru":{"bik":"044525974","account":"40817810900001234567"}}`}, alone: givesNew},
	"tokenize/elements": {
		bodies: []string{`{"elements":[{"ref":"number","type":"card_number","card_number":"4242424242424242"}]}`}, alone: givesNew,
	},
	"npd/check":          {bodies: []string{`{"tax_reference":"771310005300"}`}, alone: whoever, project: "elm"},
	"npd/taxpayer/check": {bodies: []string{`{"tax_reference":"771310005300"}`}, alone: whoever, project: "elm"},
	"npd/taxpayer/check_personal_info": {
		bodies: []string{`{"tax_reference":"771310005300","last_name":"Orlov","first_name":"Pavel","middle_name":"I","phone":"79990001310"}`}, alone: whoever, project: "elm",
	},
	"npd/request/status":                  {bodies: []string{`{"request_id":"{request}"}`}, project: "elm"},
	"npd/notifications/count":             {bodies: []string{`{"tax_references":["771310005942"]}`}, alone: strangers, project: "elm"},
	"npd/notifications/read":              {bodies: []string{`{"tax_references":["771310005942"]}`}, alone: strangers, project: "elm"},
	"npd/notifications/mark_as_delivered": {bodies: []string{notices}, alone: strangers, project: "elm"},
	"npd/notifications/update":            {bodies: []string{notices}, alone: strangers, project: "elm"},
	"session/start/payout/fiscalization": {
		bodies: []string{payTo(`"session_id":"{created}",`+taxed, byAccount)}, twice: fault.KeyExists, again: fault.WrongState, project: "elm",
	},
	"session/init/payout/fiscalization": {
		bodies: []string{payTo(taxed, byNumber), payTo(taxed, byToken), payTo(taxed, byAccountToken)}, twice: fault.KeyExists, project: "elm",
	},
	"fiscalization": {
		bodies: []string{`{"session_id":"{created}",` + taxed + `"metadata":7}`}, twice: fault.KeyExists, again: fault.WrongState, project: "elm",
	},
	"fiscalization/cancel": {bodies: []string{`{"session_id":"{receipt}"}`}, twice: fault.KeyExists, again: fault.WrongState, project: "elm"},
	"session/multi/init": {
		bodies: []string{`{"payout_list":[` + payTo("", byHash) + `,` + payTo("", byNumber) + `,` + payTo("", byAccountToken) + `]}`}, twice: fault.KeyExists,
	},
	"session/create/rko":           {bodies: []string{payFrom("", "40702810900000000131")}, alone: namedLater, twice: fault.KeyExists, own: true},
	"session/start/payout/rko":     {bodies: []string{payFrom(`"session_id":"{started by rko}",`, "{rko}")}, twice: fault.KeyExists, again: fault.WrongState, own: true},
	"session/init/payout/rko":      {bodies: []string{payFrom("", "{rko}")}, twice: fault.KeyExists, own: true},
	"session/create/nominal":       {bodies: []string{payFrom("", "40701810200000000131")}, alone: namedLater, twice: fault.KeyExists, own: true},
	"session/start/payout/nominal": {bodies: []string{payFrom(`"session_id":"{started by nominal}",`, "{nominal}")}, twice: fault.KeyExists, again: fault.WrongState, own: true},
	"session/init/payout/nominal":  {bodies: []string{payFrom("", "{nominal}")}, twice: fault.KeyExists, own: true},
	"report/account_balance":       {bodies: []string{`{"account_number":"{rko}"}`}, own: true},
	"account_balance":              {bodies: []string{`{"account_number":"{nominal}"}`}, own: true},
	"report/account_statement":     {bodies: []string{`{"account_number":"{rko}","date_from":"1999-12-31","date_to":"1999-12-31"}`}, own: true},
	"calculate": {
		bodies: []string{`{"amounts":{"source":{"amount":1000,"currency":"rub"},"destination":{"amount":null,"currency":"usd"}}}`},
		alone:  "answers by rates alone", project: "ivy",
	},
}

// everything has all that may be said of a payout to a card.
const everything = `{"session_id":"ps_1","payout_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":"4242424242424242",` +
	`"expiration_month":"12","expiration_year":"39","security_code":"123","cardholder_name":"ANNA BERG"}}},"amount_details":{"amount":12345,"currency":"rub"},` +
	`"participant_details":{"sender":{"full_name":"Anna Berg"},"recipient":` + somebody + `},` +
	`"customer":{"reference":"courier-5512","contacts":[{"email":"anna@bank.example","phone":"79990001310"}]},"request_datetime":"2026-03-02T12:20:00+03:00",` +
	`"custom_routing":{"tags":[{"root_tag":"north","values":["a"]}]},"payment_options":{"return_url":"https://shop.example/","recurrent":false,` +
	`"platform_details":{"type":"web","os":"linux","browser":"firefox"}},"payment_metadata":{"a":"b"},"revenue_split_info":[{"contractor_alias":"shop"}],"metadata":{"order":"7"}}`

// somebody is a participant of whom all is known.
const somebody = `{"full_name":"Anna Berg","first_name":"Anna","last_name":"Berg","middle_name":"I","company_name":"Berg","reference":"5512","tax_reference":"7700000136",` +
	`"country_iso2":"ru","country_iso3":"rus","citizenship_country_iso_3":"rus","city":"Kazan","state":"16","postal_code":"420000","street":"Baumana","building":"1",` +
	`"flat":"2","address_line":"Baumana 1","ipv4":"192.0.2.1","ipv6":"2001:db8::1","document":"passport","date_of_birth":"1990-01-31","account":"40817810900001234567",` +
	`"currency":"rub","bank_name":"Bank","swift_bic_code":"BANKRUMM","code":"1","registration_number":"2","date_of_incorporation":"2001-01-31","msisdn":"79990001310",` +
	`"email":"anna@bank.example","description":"a courier","beneficiary_id":"770000013100","wallet_id":"4478","identity_document":{"id_type":"passport",` +
	`"id_number":"9200000001","id_expiration_date":"2039-01-31","issue_date":"2019-01-31","division_code":"160-001","issued_by":"UVD"}}`

const notices = `{"notifications":[{"tax_reference":"771310005942","message_id_list":["n-1"]}]}`

// taxed asks for a receipt.
const taxed = `"fiscalization_details":{"professional_income_taxpayer":{"tax_reference":"771310005300",` +
	`"payer_type":"legal","payer_tax_number":"7700000136","payer_name":"Berg","services":[{"name":"Courier","quantity":1,"amount_details":{"amount":12345,"currency":"rub"}}]}},`

// The instruments of a payout.
const (
	byNumber       = `{"type":"card","card":{"type":"bank_card","bank_card":{"number":"4242424242424242"}}}`
	byHash         = `{"type":"card","card":{"type":"encrypted_card","encrypted_card":{"number_hash":"{hash}"}}}`
	byToken        = `{"type":"card","card":{"type":"tokenized_card","tokenized_card":{"token":"{token}"}}}`
	byAccount      = `{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"bik":"044525974","account":"40817810900001234567","full_name":"Anna Berg","description":"Pay"}}}`
	byAccountToken = `{"type":"bank_account","bank_account":{"system_type":"ru","ru":{"token":"{account}","full_name":"Anna Berg","description":"Pay"}}}`
)

func payTo(first, instrument string) string {
	return `{` + first + `"payout_details":` + instrument + `,"amount_details":{"amount":12345,"currency":"rub"},` +
		`"participant_details":{"recipient":{"full_name":"Anna Berg","city":"Kazan"}},"metadata":{"order":"7"}}`
}

// payFrom is payTo an account from one of the project's own.
func payFrom(first, own string) string {
	return strings.NewReplacer(
		`"participant_details":{`, `"participant_details":{"sender":{"account":"`+own+`","beneficiary_id":"7700000136"},`,
		`"recipient":{`, `"recipient":{"beneficiary_id":"770000013100",`,
	).Replace(payTo(first, byAccount))
}

// eachRoute calls try for every path and version that is served.
func eachRoute(t *testing.T, try func(t *testing.T, path string, v session.Version, r route)) {
	for _, r := range routes(newFakeEngine()) {
		for _, v := range r.versions {
			path := fmt.Sprintf("/api/v%d/%s", v, r.path)
			t.Run(path, func(t *testing.T) { try(t, path, v, r) })
		}
	}
}

func TestEveryPathHasItsTrial(t *testing.T) {
	left := maps.Clone(trials)
	for _, r := range routes(newFakeEngine()) {
		if r.op == "" {
			continue
		}
		row, ok := trials[r.path]
		delete(left, r.path)
		named := strings.Contains(strings.Join(row.bodies, ""), `"{`)
		switch {
		case !ok || len(row.bodies) == 0:
			t.Errorf("%s has no row in trials: give it right bodies, with what belongs to a project in braces", r.path)
		case named == (row.alone != ""):
			t.Errorf("%s: either a body names something of the project, or the row says why none can", r.path)
		}
	}
	for path := range left {
		t.Errorf("%s is in trials and no path of the API", path)
	}
}

// TestTrialsNameEveryMember reads the source of package wire: whatever member it
// asks for stands in a body of trials, so that what tries all of them forgets none.
func TestTrialsNameEveryMember(t *testing.T) {
	left := map[string]bool{
		"payment_list": true, // refused, whatever it holds
		"initiator":    true, // of recurrent tokens, which pay nothing
	}
	var bodies strings.Builder
	for _, row := range trials {
		bodies.WriteString(strings.Join(row.bodies, "\n"))
	}
	constants, asked := map[string]string{}, map[string]bool{}
	ask := func(name ast.Expr) {
		switch name := name.(type) {
		case *ast.BasicLit:
			asked[must(strconv.Unquote(name.Value))] = true
		case *ast.Ident:
			if text, ok := constants[name.Name]; ok {
				asked[text] = true
			}
		}
	}
	var parsed []*ast.File
	for _, name := range must(filepath.Glob("../wire/*.go")) {
		if !strings.HasSuffix(name, "_test.go") {
			parsed = append(parsed, must(parser.ParseFile(token.NewFileSet(), name, nil, 0)))
		}
	}
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			if n, ok := n.(*ast.ValueSpec); ok && len(n.Values) == len(n.Names) {
				for i := range n.Names {
					if text, ok := n.Values[i].(*ast.BasicLit); ok && text.Kind == token.STRING {
						constants[n.Names[i].Name] = must(strconv.Unquote(text.Value))
					}
				}
			}
			return true
		})
	}
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"member", "required", "optional", "kept"}, f.Sel.Name) {
					ask(n.Args[1])
				}
			case *ast.CompositeLit:
				if m, ok := n.Type.(*ast.MapType); ok && fmt.Sprint(m.Value) == "check" {
					for _, pair := range n.Elts {
						ask(pair.(*ast.KeyValueExpr).Key)
					}
				}
			}
			return true
		})
	}
	if len(asked) < 80 {
		t.Errorf("only %d members were found in the source", len(asked))
	}
	for name := range asked {
		if !left[name] && !strings.Contains(bodies.String(), `"`+name+`":`) {
			t.Errorf("%s stands in no body of trials", name)
		}
	}
}

// TestOnlyTheSignerGetsIn tries every path with all that is not a signature of
// this body by an active key of this project: nothing reaches the engine.
func TestOnlyTheSignerGetsIn(t *testing.T) {
	eachRoute(t, func(t *testing.T, path string, v session.Version, r route) {
		body := "{}"
		if row := trials[r.path]; len(row.bodies) > 0 {
			body = row.bodies[0]
		}
		for _, c := range []struct {
			name, project, signature string
			code                     fault.Code
		}{
			{"no project", "", signed("acme", body), fault.Unidentified},
			{"an unknown project", "ghost", signed("acme", body), fault.Unidentified},
			{"no signature", "acme", "", fault.Unauthenticated},
			{"over nothing", "acme", signed("acme", ""), fault.Unauthenticated},
			{"over other bytes", "acme", signed("acme", body+" "), fault.Unauthenticated},
			{"over the path as well", "acme", signed("acme", path+body), fault.Unauthenticated},
			{"by another project", "acme", signed("birch", body), fault.Unauthenticated},
			{"of another project", "birch", signed("acme", body), fault.Unauthenticated},
			{"by nobody", "acme", signed("nobody", body), fault.Unauthenticated},
			{"by a retired key beside active ones", "cedar", signed("cedar-retired", body), fault.Unauthenticated},
			{"by a retired key alone", "dune", signed("dune-retired", body), fault.Unauthenticated},
		} {
			for _, verb := range r.verbs {
				h := newServer(t)
				q := post(path, body)
				q.Method = verb
				q.Header.Set(sign.HeaderProject, c.project)
				q.Header.Set(sign.HeaderSign, c.signature)
				w := h.do(q)
				if wire := fault.Lookup(c.code).Wire; w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"code":"`+string(wire)+`"`) {
					t.Errorf("%s by %s: answered %d %s", c.name, verb, w.Code, w.Body)
				}
				if len(h.engine.calls) != 0 {
					t.Errorf("%s by %s reached the engine", c.name, verb)
				}
			}
		}
	})
}

// onProduct runs a test before a whole product.
func onProduct(t *testing.T, test func(t *testing.T, p *product)) {
	t.Helper()
	keys()
	serverKeys()
	vaultKeys()
	emptyDatabase()
	hooks := newReceiver(t)
	synctest.Test(t, func(t *testing.T) {
		p := newProduct(t, hooks)
		defer p.close()
		p.addAccounts()
		test(t, p)
	})
}

// ask sends a request of a project and returns its answer.
func (p *product) ask(project, path, body, key string) (status int, answer string) {
	p.t.Helper()
	return p.askBy(project, project, path, body, key)
}

// askBy sends a request in a project's name that somebody else may have signed.
func (p *product) askBy(project, signer, path, body, key string) (status int, answer string) {
	p.t.Helper()
	head := fmt.Sprintf("POST %s\nX-PARTNER-PROJECT: %s\nX-PARTNER-SIGN: %s\n", path, project, signed(signer, body))
	if key != "" {
		head += "X-PARTNER-IDEMPOTENCY-KEY: " + key + "\n"
	}
	r := p.send(http.MethodPost, message(head, []byte(body)))
	return r.StatusCode, readAll(p.t, r.Body)
}

// fill puts what belongs to a project in place of braces, each made for this
// once: a session that is created, awaits confirm or has a receipt, a question to
// the tax service, a public token, the hash and the token of a card, the token of an
// account.
func (p *product) fill(project, body string) string {
	p.t.Helper()
	must := func(path, body string) string {
		status, answer := p.ask(project, path, body, "")
		if status != http.StatusOK {
			p.t.Fatalf("%s: %s", path, answer)
		}
		settle()
		return answer
	}
	for name, made := range map[string]func() string{
		"{created}":  func() string { return sessionOf(0, []byte(must("/api/v2/session/create", "{}"))) },
		"{awaiting}": func() string { return sessionOf(0, []byte(must("/api/v2/session/init/payout", payTo("", byNumber)))) },
		"{public}":   func() string { return tokenIn(must("/api/v1/token", `{"tokenize_widget":{"access":true}}`)) },
		"{hash}":     func() string { return p.tokens("issue", []string{project, "card_hash", "4242424242424242"}) },
		"{token}":    func() string { return p.tokens("issue", []string{project, "card_token", "4242424242424242"}) },
		"{request}": func() string {
			return requestNumber.FindString(must("/api/v1/npd/check", trials["npd/check"].bodies[0]))
		},
		"{account}":            func() string { return tokenIn(must("/api/v1/tokenize", trials["tokenize"].bodies[0])) },
		"{rko}":                func() string { return accounts[0].Number },
		"{nominal}":            func() string { return accounts[1].Number },
		"{started by rko}":     func() string { return sessionOf(0, []byte(must("/api/v1/session/create/rko", "{}"))) },
		"{started by nominal}": func() string { return sessionOf(0, []byte(must("/api/v1/session/create/nominal", "{}"))) },
		"{receipt}": func() string {
			session := sessionOf(0, []byte(must("/api/v2/session/create", "{}")))
			must("/api/v1/fiscalization", strings.ReplaceAll(trials["fiscalization"].bodies[0], "{created}", session))
			settle() // the tax service takes its time
			settle()
			return session
		},
	} {
		if strings.Contains(body, name) {
			body = strings.ReplaceAll(body, name, made())
		}
	}
	return body
}

// requestNumber is the name of a question to the tax service.
var requestNumber = regexp.MustCompile(`npd-[0-9]+`)

// tokenIn finds the token of an answer.
func tokenIn(answer string) string { return numbered.FindString(answer) }

// held is what belongs to a project in a body of a trial.
var held = regexp.MustCompile(`\{[a-z ]+\}`)

// TestNobodyNamesWhatIsAnothers sends, on every path, a right request in the name
// of a stranger, in which one thing is acme's and all others are the stranger's
// own: one check must not stand in for another. It is answered to the byte like
// one that names what was never made, and acme's own request holds after it.
func TestNobodyNamesWhatIsAnothers(t *testing.T) {
	t.Parallel()
	nothing := strings.NewReplacer(
		"{created}", "ps_9223372036854775806", "{awaiting}", "ps_9223372036854775806", "{receipt}", "ps_9223372036854775806",
		"{started by rko}", "ps_9223372036854775806", "{started by nominal}", "ps_9223372036854775806",
		"{rko}", "40702810900000000999", "{nominal}", "40701810200000000999",
		"{request}", "npd-9223372036854775806",
		"{public}", strings.Repeat("a", 64), "{hash}", strings.Repeat("a", 64), "{token}", strings.Repeat("a", 64), "{account}", strings.Repeat("a", 64),
	)
	onProduct(t, func(t *testing.T, p *product) {
		for _, r := range routes(p.engine) {
			for _, v := range r.versions {
				for i, body := range trials[r.path].bodies {
					names := held.FindAllString(body, -1)
					if len(names) == 0 {
						continue
					}
					path := fmt.Sprintf("/api/v%d/%s", v, r.path)
					owner, stranger := trials[r.path].owner(), trials[r.path].stranger()
					theirs := body
					for _, name := range names {
						made := p.fill(owner, name)
						theirs = strings.ReplaceAll(theirs, name, made)
						const here = "{}" // which fill leaves alone
						ours := strings.ReplaceAll(p.fill(stranger, strings.ReplaceAll(body, name, here)), `"`+here+`"`, `"`+name+`"`)
						status, foreign := p.ask(stranger, path, strings.ReplaceAll(ours, name, made), "")
						_, unknown := p.ask(stranger, path, nothing.Replace(ours), "")
						if status < 400 || status >= 500 || foreign != unknown {
							t.Errorf("%s, body %d, %s: another's was answered %d %s, what was never made %s", path, i, name, status, foreign, unknown)
						}
					}
					if status, answer := p.ask(owner, path, theirs, ""); status != http.StatusOK {
						t.Errorf("%s, body %d: after it the owner was answered %d %s", path, i, status, answer)
					}
					settle()
				}
			}
		}
	})
}

// TestKeyRetiredByAnotherNode retires a key in the database, as another node
// does: a second later nobody gets in by it here.
func TestKeyRetiredByAnotherNode(t *testing.T) {
	t.Parallel()
	onProduct(t, func(t *testing.T, p *product) {
		want := func(status int) {
			t.Helper()
			if got, answer := p.ask("birch", "/api/v2/session/create", "{}", ""); got != status {
				t.Errorf("answered %d %s, want %d", got, answer, status)
			}
		}
		want(http.StatusOK)
		for _, project := range must(p.store.Projects(t.Context())) {
			if project.ID == "birch" {
				project.Keys[0].RetiredAt = new(began)
				if err := p.store.UpdateProject(t.Context(), project); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second + pace)
		want(http.StatusUnauthorized)
	})
}

// TestReplays sends every right request twice. With the same idempotency key
// the second is refused where something would be done. Without a key, and with
// another one, it is a request as any other, since a signature has no time and
// no number in it: what has its state is refused, what is new is made anew. A key
// that is burnt goes before what is wrong in a body.
func TestReplays(t *testing.T) {
	t.Parallel()
	onProduct(t, func(t *testing.T, p *product) {
		for _, r := range routes(p.engine) {
			if r.op == "" {
				continue
			}
			row := trials[r.path]
			for _, v := range r.versions {
				for i, body := range row.bodies {
					path := fmt.Sprintf("/api/v%d/%s", v, r.path)
					for _, c := range []struct {
						name, first, second string
						want                fault.Code
					}{
						{"with the same key", "a", "a", row.twice},
						{"without a key", "", "", row.again},
						{"with another key", "b", "c", row.again},
					} {
						ours := p.fill(row.sender(), body)
						key := func(k string) string {
							if k != "" {
								k = fmt.Sprintf("%s %d %s", path, i, k)
							}
							return k
						}
						if status, answer := p.ask(row.sender(), path, ours, key(c.first)); status != http.StatusOK {
							t.Fatalf("%s, body %d: answered %d %s", path, i, status, answer)
						}
						settle()
						want := func(body, as string, want fault.Code) {
							status, answer := p.ask(row.sender(), path, body, key(c.second))
							right := status == http.StatusOK
							if want != "" {
								right = !right && strings.Contains(answer, `"code":"`+string(fault.Lookup(want).Wire)+`"`)
							}
							if !right {
								t.Errorf("%s, body %d, %s%s: answered %d %s, want %q", path, i, c.name, as, status, answer, want)
							}
							settle()
						}
						want(ours, "", c.want)
						if key(c.second) == key("a") && r.op != wire.OpBanks { // which reads nothing of its body
							want(ours+"]", ", broken", cmp.Or(c.want, fault.Invalid))
						}
					}
				}
			}
		}
	})
}

// A check that has become stricter since a request was carried out refuses its
// repeat no more than anything else does: who is told that it is invalid sends
// another one.
func TestKeyOutlivesTheChecks(t *testing.T) {
	t.Parallel()
	onProduct(t, func(t *testing.T, p *product) {
		const path = "/api/v2/session/init/payout"
		body := strings.Replace(payTo("", byAccount), `"ru":{`, `"ru":{"inn":"7700000131",`, 1)
		ask := func(key string, mode ...string) string {
			head := fmt.Sprintf("POST %s\nX-PARTNER-PROJECT: hazel\nX-PARTNER-SIGN: %s\nX-PARTNER-IDEMPOTENCY-KEY: %s\n", path, signed("hazel", body), key)
			for _, m := range mode {
				head += "X-PARTNER-IDEMPOTENCY-MODE: " + m + "\n"
			}
			return readAll(p.t, p.send(http.MethodPost, message(head, []byte(body))).Body)
		}
		first := ask("a")
		if !strings.Contains(first, `"status":"ok"`) {
			t.Fatal(first)
		}
		if err := p.engine.UpdateProject(t.Context(), "hazel", func(p *partner.Project) error { p.INNCheck = partner.Reject; return nil }); err != nil {
			t.Fatal(err)
		}
		if again := ask("a", "replay"); again != first {
			t.Errorf("in replay: %s, want the first answer", again)
		}
		for key, want := range map[string]fault.Code{"a": fault.KeyExists, "b": fault.Invalid} {
			if answer := ask(key); !strings.Contains(answer, `"code":"`+string(want)+`"`) {
				t.Errorf("by the key %q: %s, want %s", key, answer, want)
			}
		}
		settle()
	})
}

// injections are texts that mean something where text is pasted into SQL, or
// into what a database or a shell reads.
var injections = []string{
	`'`, `"`, `' OR '1'='1`, `'; DROP TABLE sessions; --`, `1); DELETE FROM entries; --`, `" OR ""="`, `') UNION SELECT document FROM projects --`,
	`\'; SELECT pg_sleep(10); --`, `$1`, `?1`, `:name`, `@p1`, `%`, `_`, `\`, `${jndi:ldap://a.example/}`, `{{7*7}}`, `$(id)`, "`id`", `%s%n`, `../../etc/passwd`,
}

// TestInjection puts each text into every string of every request, in the place
// of every name and of the project, and into the idempotency key. Nothing fails,
// and what is told of a session that stood there before is what it was. The books
// are proved when the product closes.
func TestInjection(t *testing.T) {
	t.Parallel()
	onProduct(t, func(t *testing.T, p *product) {
		_, made := p.ask("hazel", "/api/v2/session/create", `{}`, "")
		stood := fmt.Sprintf(`{"session_id":%q}`, sessionOf(0, []byte(made)))
		_, before := p.ask("hazel", "/api/v2/session/status", stood, "")
		tried := 0
		for _, r := range routes(p.engine) {
			for i, body := range trials[r.path].bodies {
				by := trials[r.path].sender()
				ours := p.fill(by, body)
				for n, text := range injections {
					path := fmt.Sprintf("/api/v%d/%s", r.versions[n%len(r.versions)], r.path)
					for _, bad := range replaced(t, ours, text) {
						tried++
						if status, answer := p.ask(by, path, bad, ""); status >= 500 {
							t.Errorf("%s: %s: answered %d %s", path, bad, status, answer)
						}
					}
					if status, answer := p.askBy(text, by, path, ours, ""); status != http.StatusUnauthorized {
						t.Errorf("%s by the project %s: answered %d %s", path, text, status, answer)
					}
					if status, answer := p.ask(by, path, ours, fmt.Sprintf("%d%d%s%s", i, n, text, r.path)); status >= 500 {
						t.Errorf("%s with the key %s: answered %d %s", path, text, status, answer)
					}
				}
				settle()
			}
		}
		if _, after := p.ask("hazel", "/api/v2/session/status", stood, ""); after != before {
			t.Errorf("a session that stood there has changed: %s", after)
		}
		if tried < 2000 {
			t.Errorf("only %d requests were tried", tried)
		}
	})
}

// replaced returns the document once for each of its strings and names, with
// the text in its place.
func replaced(t *testing.T, document, text string) []string {
	t.Helper()
	var all []string
	for n := 0; ; n++ {
		var root any
		if err := json.Unmarshal([]byte(document), &root); err != nil {
			t.Fatal(err)
		}
		left := n
		root = replace(root, text, &left)
		if left >= 0 {
			return all
		}
		all = append(all, string(must(json.Marshal(root))))
	}
}

// replace puts the text in place of the string or name with the number left,
// which it counts down below zero.
func replace(v any, text string, left *int) any {
	hit := func() bool { *left--; return *left == -1 }
	switch v := v.(type) {
	case string:
		if hit() {
			return text
		}
	case []any:
		for i := range v {
			v[i] = replace(v[i], text, left)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if hit() {
				v[text] = v[name]
				delete(v, name)
				continue
			}
			v[name] = replace(v[name], text, left)
		}
	}
	return v
}

// TestTrialsAreRight holds the bodies of trials to what package wire takes, so
// that a rule is not kept by a request that is refused for its form.
func TestTrialsAreRight(t *testing.T) {
	right := strings.NewReplacer("{created}", "ps_1", "{awaiting}", "ps_1", "{receipt}", "ps_1", "{request}", "npd-1",
		"{started by rko}", "ps_1", "{started by nominal}", "ps_1", "{rko}", accounts[0].Number, "{nominal}", accounts[1].Number)
	for _, r := range routes(newFakeEngine()) {
		for i, body := range trials[r.path].bodies {
			body = right.Replace(body)
			for _, name := range []string{"{public}", "{hash}", "{token}", "{account}"} {
				body = strings.ReplaceAll(body, name, strings.Repeat("a", 64))
			}
			if _, err := wire.Parse(r.op, r.versions[0], nil, []byte(body)); err != nil {
				t.Errorf("%s, body %d: %v", r.path, i, err)
			}
		}
	}
}
