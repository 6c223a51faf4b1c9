// The page's own knowledge of numbers, against the server's: FACTS is a file of
// what the server says.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { accountKey, brandOf, cardFault, digitsOf, group, GROUPS, luhn, personOf } from "../../internal/widget/assets/digits.js";

const facts = JSON.parse(readFileSync(process.env.FACTS, "utf8"));

test("every head of four digits has the server's brand", () => {
  assert.equal(Object.keys(facts.brands).length, 10000);
  for (const [head, brand] of Object.entries(facts.brands)) assert.equal(brandOf(head), brand, head);
});

test("a brand is named as soon as it is sure, and not before", () => {
  for (const [head, brand] of [["", "unknown"], ["4", "visa"], ["2", "unknown"], ["22", "unknown"], ["220", "unknown"], ["2200", "mir"], ["51", "mastercard"], ["5", "unknown"], ["37", "amex"], ["3", "unknown"], ["0", "unknown"]]) {
    assert.equal(brandOf(head), brand, head);
  }
});

test("keys of accounts agree with the server", () => {
  assert.ok(Object.values(facts.keys).includes(true) && Object.values(facts.keys).includes(false));
  for (const [pair, fits] of Object.entries(facts.keys)) assert.equal(accountKey(...pair.split(" ")), fits, pair);
  for (const pair of [["", ""], ["04452597", "40817810913100000001"], ["044525974", "4081781091310000000"]]) assert.equal(accountKey(...pair), false);
});

test("one wrong digit is always found", () => {
  const number = "2200000000001317";
  assert.ok(luhn(number));
  for (let i = 0; i < number.length; i++) {
    for (let d = 0; d < 10; d++) {
      const other = number.slice(0, i) + d + number.slice(i + 1);
      assert.equal(luhn(other), other === number, other);
    }
  }
});

test("what is wrong with a card number", () => {
  for (const [digits, fault] of [["", "empty"], ["4242", "short"], ["4242424242424", "short"], ["4242424242424242", ""], ["4242424242424241", "invalid"], ["42424242424242424242", "long"], ["378282246310005", ""]]) {
    assert.equal(cardFault(digits), fault, digits);
  }
});

test("digits are found in whatever was pasted", () => {
  for (const [text, digits] of [["4242-4242 4242\u00a04242\n", "4242424242424242"], ["４２４２", "4242"], ["card: none", ""], ["٤٢", ""]]) {
    assert.equal(digitsOf(text), digits, text);
  }
});

test("numbers are grouped as they are printed", () => {
  assert.equal(group("4242424242424242", GROUPS.card("4242")), "4242 4242 4242 4242");
  assert.equal(group("378282246310005", GROUPS.card("3782")), "3782 822463 10005");
  assert.equal(group("6304000000000000000", GROUPS.card("6304")), "6304 0000 0000 0000 000");
  assert.equal(group("40817810913100000001", GROUPS.account()), "40817 810 9 1310 0000001");
  assert.equal(group("044525974", GROUPS.bik()), "044525974");
  assert.equal(group("", GROUPS.card("")), "");
});

test("a person is an INN or a phone, however it was written", () => {
  for (const [text, person] of [
    ["500100732259", "500100732259"], ["5001 0073 2259", "500100732259"],
    ["+7 (999) 000-13-10", "79990001310"], ["8 999 000 13 10", "79990001310"], ["9990001310", "79990001310"],
    ["", ""], ["7707083893", ""], ["+500100732259", ""], ["+44 20 7946 0000", ""], ["50010073225", ""],
  ]) {
    assert.equal(personOf(text), person, text);
  }
});
