import { $, Field, banner, begin, busy, call, drawing, finish, make, refuse, tell, text } from "./frame.js";
import { CARD_MAX, GROUPS, brandOf, cardFault, lengthOf } from "./digits.js";

let told = "";
const number = new Field($("number"), {
  groups: GROUPS.card,
  fault: cardFault,
  // A number that has all the digits it can have is wrong for good.
  early: (digits) => digits.length > CARD_MAX || digits.length === lengthOf(brandOf(digits)),
  words: (fault) => text["number_" + fault],
  onChange() {
    const digits = number.digits;
    const brand = brandOf(digits);
    $("brand").firstElementChild.setAttribute("href", "#brand-" + brand);
    $("brand").dataset.brand = brand;
    const fault = cardFault(digits);
    const change = { empty: digits === "", complete: fault === "", brand, fault: fault || null };
    if (JSON.stringify(change) !== told) {
      told = JSON.stringify(change);
      tell("change", change);
    }
  },
});

$("form").addEventListener("submit", (e) => {
  e.preventDefault();
  banner("");
  if (!number.judge(true)) {
    $("number").focus();
    return;
  }
  busy($("submit"), text.submitting, async () => {
    let answer;
    try {
      answer = await call("/v1/card", { number: number.digits });
    } catch (error) {
      refuse(error, () => {
        number.say(text.number_invalid);
        $("number").focus();
      });
      return;
    }
    number.wipe();
    const shown = make("p", { className: "saved" }, drawing("brand-" + answer.brand, "brand"), make("span", { textContent: "•••• " + answer.last4 }));
    finish({ tone: "done", head: text.done_card, body: text.done_text_card, more: [shown] });
    tell("success", { type: "card", data: { number_hash: answer.number_hash }, card: { brand: answer.brand, last4: answer.last4 } });
  });
});

// A partner's page must not know a card number, so that it has no value to
// begin with.
begin(() => {});
