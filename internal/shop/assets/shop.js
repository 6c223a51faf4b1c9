// The partner's page: it asks its own server for each step, shows the widgets,
// and follows what the server and payoutd say to each other.

const $ = (id) => document.getElementById(id);

/** One step of the scenario, done by the partner's own server. */
async function ask(step, body) {
  const response = await fetch(`/demo/${step}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (answer.status !== "ok") throw new Error(`${answer.error?.code}: ${answer.error?.description}`);
  return answer;
}

/** Runs what a person has started; what goes wrong is shown. */
async function run(action) {
  $("problem").hidden = true;
  try {
    await action();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

const roubles = (kopecks) => `${new Intl.NumberFormat("ru-RU", { minimumFractionDigits: 2 }).format(kopecks / 100)} ₽`;

// Get paid.

const HINTS = {
  card: [
    ["4242 4242 4242 4242", "paid at once"],
    ["2200 0000 0000 2026", "accepted, paid a second later"],
    ["2200 0000 0000 2042", "the answer is lost, paid all the same"],
    ["2200 0000 0000 2208", "declined"],
    ["2200 0000 0000 2125", "refused before you confirm"],
  ],
  bank_account: [
    ["044525974", "BIK for all of them"],
    ["40817 810 9 1310 0000001", "paid at once"],
    ["40817 810 8 1310 0000020", "declined"],
  ],
};

let widget = null;
let payout = null; // the session under way: its id, amount and destination

/** Shows one of the four cards of the scenario. */
function show(at) {
  ["ask", "enter", "check", "result"].forEach((id, i) => {
    $(id).hidden = i !== at;
    const step = $("steps").children[i];
    if (i === at) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
    step.classList.toggle("past", i < at);
  });
}

$("ask").addEventListener("submit", (e) => {
  e.preventDefault();
  run(async () => {
    const amount = Math.round(Number($("amount").value.replace(/[\s\u00a0]/g, "").replace(",", ".")) * 100);
    if (!Number.isSafeInteger(amount) || amount <= 0) throw new Error("Enter an amount such as 150,00.");
    const type = new FormData(e.target).get("type");
    const { public_token: publicToken } = await ask("token", { widget: "tokenize" });
    $("hints").replaceChildren(...HINTS[type].flatMap(([number, what]) => [make("dt", number), make("dd", what)]));
    show(1);
    widget?.destroy();
    widget = new window.Bank131Tokenize({
      publicToken,
      type,
      locale: "en",
      initialValues: type === "bank_account" ? { bik: "044525974" } : undefined,
      onSuccess: (said) => {
        told("success", said);
        run(() => check(amount, said.data));
      },
    }).render();
  });
});

/** The number is a hash or token now: what may be shown of it, and the payout. */
async function check(amount, data) {
  const destination = data.number_hash ? { hash: data.number_hash } : { token: data.token };
  const { info } = await ask("destination", destination);
  const to = info.masked_account ? `Account ${info.masked_account.replace("***", " ••• ")}` : `${info.brand.toUpperCase()} •••• ${info.last4}`;
  $("check-sum").textContent = roubles(amount);
  $("check-to").textContent = to;
  $("check-state").textContent = "Checking the recipient and holding the amount…";
  $("confirm").disabled = $("cancel").disabled = true;
  show(2);
  const { session } = await ask("payout", { ...destination, amount });
  payout = { id: session.id, amount, to };
  early.splice(0).forEach(heard);
}

for (const [id, word] of [["confirm", "Sending…"], ["cancel", "Cancelling…"]]) {
  $(id).addEventListener("click", () =>
    run(async () => {
      $("confirm").disabled = $("cancel").disabled = true;
      $("check-state").textContent = word;
      await ask(id, { session_id: payout.id });
    }),
  );
}

// A webhook may come before the answer that names its session.
const early = [];

/** A webhook of the payout under way moves the page on. */
function heard({ name, request }) {
  if (!payout) {
    early.push({ name, request });
    return;
  }
  if (request.session?.id !== payout.id) return;
  if (name === "ready_to_confirm") {
    $("check-state").textContent = "Everything is ready. The money goes out when you confirm.";
    $("confirm").disabled = $("cancel").disabled = false;
    $("confirm").textContent = `Confirm ${roubles(payout.amount)}`;
  } else if (name === "payment_finished") {
    const paid = request.session.status === "accepted";
    const failure = request.session.payout_list?.[0]?.error;
    $("result").dataset.tone = paid ? "done" : "failed";
    $("result-mark").setAttribute("d", paid ? "m12.5 20.5 5 5 10-11" : "M20 12v10M20 27.6v.2");
    $("result-head").textContent = paid ? "On its way" : "Not paid";
    $("result-text").textContent = paid ? `${roubles(payout.amount)} went to ${payout.to}.` : `${failure?.description ?? "It did not go through"} (${failure?.code ?? "unknown"}). Nothing was taken.`;
    payout = null;
    show(3);
    $("result").focus();
  }
}

$("again").addEventListener("click", () => {
  widget?.destroy();
  early.length = 0;
  show(0);
});

// Link a self-employed person.

let linking = null;

$("link-ask").addEventListener("submit", (e) => {
  e.preventDefault();
  run(async () => {
    const inn = $("inn").value.replace(/\D/g, "");
    const { public_token: publicToken } = await ask("token", { widget: "self_employed", inn });
    linkingIs(true);
    linking = new window.Bank131SelfEmployed({
      publicToken,
      stage: window.Bank131SelfEmployed.STAGES.bind,
      locale: "en",
      initialValues: { taxReferenceOrPhone: inn },
      onChange: (said) => {
        if (said.state !== "requested") return;
        told("change", said);
        $("app").hidden = false;
        $("app").dataset.inn = inn;
        $("app-note").textContent = "";
      },
      onSuccess: (said) => {
        told("success", said);
        $("app").hidden = true;
      },
      onError: (said) => {
        told("error", said);
        if (said.code === "rejected") $("app").hidden = true;
      },
    }).render();
  });
});

/** Shows the widget, or what comes before it. */
function linkingIs(shown) {
  linking?.destroy();
  $("app").hidden = true;
  $("link-ask").hidden = shown;
  $("link-again").hidden = !shown;
}

$("link-again").addEventListener("click", () => linkingIs(false));

for (const button of document.querySelectorAll("[data-allow]")) {
  button.addEventListener("click", () =>
    run(async () => {
      const allow = button.dataset.allow === "true";
      await ask("tax", { inn: $("app").dataset.inn, allow });
      $("app-note").textContent = `${allow ? "Allowed" : "Declined"}. Now refresh the status above.`;
    }),
  );
}

for (const button of document.querySelectorAll("[data-scenario]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-scenario]")) other.setAttribute("aria-pressed", String(other === button));
    for (const scenario of document.querySelectorAll(".scenario")) scenario.hidden = scenario.id !== button.dataset.scenario;
    $("problem").hidden = true;
  });
}

// What is said behind the page.

function make(tag, text, props = {}) {
  const el = Object.assign(document.createElement(tag), props);
  if (text !== undefined) el.textContent = text;
  return el;
}

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?/g;

/** JSON with its parts marked, so that it can be read at a glance. */
function pretty(value) {
  const text = JSON.stringify(value, null, 2);
  const pre = make("pre");
  pre.tabIndex = 0;
  let at = 0;
  for (const found of text.matchAll(TOKEN)) {
    pre.append(text.slice(at, found.index));
    const kind = found[2] ? "key" : found[1] ? "text" : "value";
    pre.append(make("span", found[1] ?? found[0], { className: kind }));
    if (found[2]) pre.append(found[2]);
    at = found.index + found[0].length;
  }
  pre.append(text.slice(at));
  return pre;
}

function note(e) {
  $("empty").hidden = true;
  const item = make("li", undefined, { className: e.kind });
  const fold = make("details");
  const line = make("summary");
  const mark = e.kind === "call" ? "→" : "←";
  line.append(make("span", mark, { className: "arrow", ariaHidden: "true" }), make("span", e.kind === "call" ? e.name : `${e.kind} ${e.name}`, { className: "name" }));
  if (e.kind === "call") line.append(make("span", `${e.status} · ${e.millis} ms`, { className: e.status < 400 ? "fine" : "bad" }));
  if (e.kind === "widget") line.append(make("span", "to the page", { className: "fine" }));
  if (e.kind === "webhook") line.append(make("span", e.verified ? "signature fits" : "signature does not fit", { className: e.verified ? "fine" : "bad" }));
  fold.append(line);
  if (e.kind === "call") fold.append(make("p", "Request"), pretty(e.request), make("p", "Answer"), pretty(e.response));
  else fold.append(make("p", "Body"), pretty(e.request));
  fold.open = true;
  // The newest is open, those before it fold up.
  for (const older of document.querySelectorAll("#log details[open]")) older.open = false;
  item.append(fold);
  $("log").prepend(item);
}

/** Shows what a widget has told the page: its server learns it from there. */
function told(name, request) {
  note({ kind: "widget", name, request });
}

$("clear").addEventListener("click", () => {
  $("log").replaceChildren();
  $("empty").hidden = false;
});

const events = new EventSource("/demo/events");
events.addEventListener("message", (m) => {
  const e = JSON.parse(m.data);
  note(e);
  if (e.kind === "webhook") heard(e);
});
events.addEventListener("open", () => (document.body.dataset.live = ""));
