import { $, banner, begin, busy, call, finish, make, refuse, say, stage, tell, text } from "./frame.js";
import { personOf } from "./digits.js";

const person = $("person");
const terms = $("terms");
const form = $("form");

let told = "";
function changed() {
  const change = { empty: person.value === "", complete: personOf(person.value) !== "" && terms.checked };
  if (JSON.stringify(change) !== told) {
    told = JSON.stringify(change);
    tell("change", change);
  }
}

person.addEventListener("input", () => {
  if (person.hasAttribute("aria-invalid") && personOf(person.value)) say(person, "");
  changed();
});
person.addEventListener("blur", () => {
  if (person.value) judge();
});
terms.addEventListener("change", () => {
  if (terms.checked) say(terms, "");
  changed();
});

function judge() {
  const right = personOf(person.value) !== "";
  say(person, right ? "" : text[person.value.trim() ? "person_format" : "person_empty"]);
  return right;
}

form.addEventListener("submit", (e) => {
  e.preventDefault();
  banner("");
  const known = judge();
  say(terms, terms.checked ? "" : text.terms_missing);
  if (!known || !terms.checked) {
    (known ? terms : person).focus();
    return;
  }
  busy($("submit"), text.linking, async () => {
    try {
      show((await call("/v1/self-employed/link", { tax_reference_or_phone: personOf(person.value) })).state);
    } catch (error) {
      refuse(error, () => {
        say(person, text.person_other);
        person.focus();
      });
    }
  });
});

/** Shows how the request stands, and tells the page. */
function show(state) {
  switch (state) {
    case "linked":
      finish({ tone: "done", head: text.linked_head, body: text.linked_text });
      tell("success", { state: "linked" });
      break;
    case "rejected": {
      const again = button(text.again, () => {
        $("panel").replaceChildren(form);
        person.focus();
      });
      finish({ tone: "notice", head: text.rejected_head, body: text.rejected_text, more: [again] });
      tell("error", { code: "rejected", state: "rejected", final: false });
      break;
    }
    case "requested":
      waiting();
      tell("change", { state: "requested" });
      break;
  }
}

/** The request is with the tax service: what to do there, and how to go on. */
function waiting() {
  const note = make("p", { className: "note", id: "refresh-note" });
  note.setAttribute("role", "status");
  const warning = make("p", { className: "banner", id: "banner", hidden: true });
  warning.setAttribute("role", "alert");
  const steps = make("ol", { className: "steps" }, ...[1, 2, 3].map((n) => make("li", { textContent: text["sent_step" + n] })));
  const refresh = button(text.refresh, () =>
    busy(refresh, text.refreshing, async () => {
      banner("");
      note.textContent = "";
      try {
        const { state } = await call("/v1/self-employed/state", {});
        if (state === "requested") note.textContent = text.sent_still;
        else show(state);
      } catch (error) {
        refuse(error, () => banner(text.unavailable));
      }
    }),
  );
  refresh.id = "refresh";
  finish({ tone: "wait", head: text.sent_head, body: text.sent_text, more: [steps, warning, refresh, note] });
}

function button(label, act) {
  const spinner = make("span", { className: "spinner" });
  spinner.setAttribute("aria-hidden", "true");
  const b = make("button", { type: "button" }, spinner, make("span", { textContent: label }));
  b.addEventListener("click", act);
  return b;
}

begin((initial) => {
  const value = initial.taxReferenceOrPhone ?? initial.taxReference;
  if (typeof value === "string") person.value = value.slice(0, 24);
  if (stage && stage !== "none") show(stage);
});
