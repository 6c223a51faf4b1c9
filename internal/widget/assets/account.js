import { $, Field, banner, begin, busy, call, finish, make, refuse, tell, text } from "./frame.js";
import { GROUPS, accountKey, digitsOf } from "./digits.js";

let told = "";
const bik = new Field($("bik"), {
  groups: GROUPS.bik,
  fault: (d) => (d === "" ? "empty" : d.length === 9 ? "" : "length"),
  early: (d) => d.length > 9,
  words: (fault) => text["bik_" + fault],
  onChange: changed,
});
const account = new Field($("account"), {
  groups: GROUPS.account,
  fault: (d) => (d === "" ? "empty" : d.length !== 20 ? "length" : bik.digits.length === 9 && !accountKey(bik.digits, d) ? "key" : ""),
  early: (d) => d.length > 20 || (d.length === 20 && bik.digits.length === 9),
  words: (fault) => text["account_" + fault],
  onChange: changed,
});
// The two hang together: a BIK that is corrected may make the account right.
$("bik").addEventListener("input", () => account.judge());

function changed() {
  const change = {
    empty: bik.digits === "" && account.digits === "",
    complete: !bik.fault && !account.fault,
    fault: (bik.digits && bik.fault) || (account.digits && account.fault) || null,
  };
  if (JSON.stringify(change) !== told) {
    told = JSON.stringify(change);
    tell("change", change);
  }
}

$("form").addEventListener("submit", (e) => {
  e.preventDefault();
  banner("");
  const wrong = [bik, account].filter((f) => !f.judge(true));
  if (wrong.length > 0) {
    wrong[0].input.focus();
    return;
  }
  busy($("submit"), text.submitting, async () => {
    let answer;
    try {
      answer = await call("/v1/bank-account", { bik: bik.digits, account: account.digits });
    } catch (error) {
      refuse(error, () => {
        account.say(text.account_invalid);
        account.input.focus();
      });
      return;
    }
    bik.wipe();
    account.wipe();
    const shown = make("p", { className: "saved" }, make("span", { textContent: answer.masked_account.replace("***", " ••• ") }));
    finish({ tone: "done", head: text.done_account, body: text.done_text_account, more: [shown] });
    tell("success", { type: "bank_account", data: { token: answer.token, masked_account: answer.masked_account } });
  });
});

begin((initial) => {
  if (typeof initial.bik === "string") bik.set(digitsOf(initial.bik).slice(0, 9));
  if (typeof initial.account === "string") account.set(digitsOf(initial.account).slice(0, 20));
});
