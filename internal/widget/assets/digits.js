// What is known of numbers without asking anybody. No part of it touches the
// page, so that it can be tested by itself.

/** The ASCII digits of a text; full-width ones count as theirs. */
export const digitsOf = (text) => text.normalize("NFKC").replace(/[^0-9]/g, "");

// The issuer ranges that the networks publish, by the first four digits; the
// first that fits holds.
const RANGES = [
  [2200, 2204, "mir"],
  [2221, 2720, "mastercard"],
  [3400, 3499, "amex"],
  [3528, 3589, "jcb"],
  [3700, 3799, "amex"],
  [4000, 4999, "visa"],
  [5000, 5099, "maestro"],
  [5100, 5599, "mastercard"],
  [5600, 5899, "maestro"],
  [6011, 6011, "unknown"],
  [6200, 6299, "unionpay"],
  [6440, 6599, "unknown"],
  [6000, 6999, "maestro"],
  [8100, 8199, "unionpay"],
];

/** The brand as soon as the digits typed so far leave only one, else "unknown". */
export function brandOf(digits) {
  if (!digits) return "unknown";
  const head = digits.slice(0, 4);
  const brands = new Set();
  // Every number that may still become of a short head has to be of one brand.
  const low = Number(head.padEnd(4, "0"));
  const high = Number(head.padEnd(4, "9"));
  for (let n = low; n <= high && brands.size < 2; n++) {
    const range = RANGES.find(([from, to]) => from <= n && n <= to);
    brands.add(range ? range[2] : "unknown");
  }
  return brands.size === 1 ? [...brands][0] : "unknown";
}

/** How many digits a card has: the wire takes 14 to 19 of any brand. */
export const CARD_MIN = 14;
export const CARD_MAX = 19;

// The one length of brands that have only one.
const LENGTHS = { amex: 15, mastercard: 16, visa: 16 };

/** The length at which nothing more is to be expected. */
export const lengthOf = (brand) => LENGTHS[brand] ?? CARD_MAX;

/** The check digit of ISO/IEC 7812-1, annex B. */
export function luhn(digits) {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    let d = Number(digits[digits.length - 1 - i]);
    if (i % 2 === 1 && (d *= 2) > 9) d -= 9;
    sum += d;
  }
  return sum % 10 === 0;
}

/** What is wrong with a card number: "", "empty", "short", "long" or "invalid". */
export function cardFault(digits) {
  if (digits === "") return "empty";
  if (digits.length < CARD_MIN) return "short";
  if (digits.length > CARD_MAX) return "long";
  return luhn(digits) ? "" : "invalid";
}

/**
 * Whether the key in an account, its ninth digit, agrees with the bank's BIK:
 * the Bank of Russia's order No. 515 of 8 September 1997.
 */
export function accountKey(bik, account) {
  if (!/^[0-9]{9}$/.test(bik) || !/^[0-9]{20}$/.test(account)) return false;
  const office = ["000", "001", "002"].includes(bik.slice(6));
  const row = (office ? "0" + bik.slice(4, 6) : bik.slice(6)) + account;
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Number(row[i]) * [7, 1, 3][i % 3];
  return sum % 10 === 0;
}

/** Lengths of the groups that people read a number in; the last repeats. */
export const GROUPS = {
  card: (digits) => (brandOf(digits) === "amex" ? [4, 6, 5] : [4]),
  bik: () => [Infinity],
  account: () => [5, 3, 1, 4, 7], // balance account, currency, key, office, number
};

/** The digits with a space between groups. */
export function group(digits, lengths) {
  const parts = [];
  for (let i = 0, at = 0; at < digits.length; i++) {
    const n = lengths[Math.min(i, lengths.length - 1)];
    parts.push(digits.slice(at, at + n));
    at += n;
  }
  return parts.join(" ");
}

/**
 * A self-employed person as the wire wants it, an INN of 12 digits or a phone
 * as 7XXXXXXXXXX, from however it was written; "" if it is neither.
 */
export function personOf(text) {
  const d = digitsOf(text);
  const plus = text.trim().startsWith("+");
  if (!plus && /^[0-9]{12}$/.test(d)) return d;
  if (/^7[0-9]{10}$/.test(d)) return d;
  if (!plus && /^8[0-9]{10}$/.test(d)) return "7" + d.slice(1);
  if (!plus && /^9[0-9]{9}$/.test(d)) return "7" + d;
  return "";
}
