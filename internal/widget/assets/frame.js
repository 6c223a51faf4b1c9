import { digitsOf, group } from "./digits.js";

// What every form of the frame does: talk to the page around it, call the
// server, show what is wrong and what is going on.

const config = JSON.parse(document.getElementById("config").textContent);
export const text = config.text;
export const stage = config.stage;

export const $ = (id) => document.getElementById(id);

// Messages to the page around the frame. They carry no digit of what was typed
// until the person has sent it, and then only the four that may be shown.

/** Tells the page around the frame; nobody else can hear it. */
export function tell(event, detail = {}) {
  if (window.parent === window || !config.origin) return;
  window.parent.postMessage({ source: config.widget, event, ...detail }, config.origin);
}

const panel = $("panel");
new ResizeObserver(() => tell("resize", { height: Math.ceil(panel.getBoundingClientRect().height) })).observe(panel);

/** Calls start with the page's initial values as soon as they have come. */
export function begin(start) {
  window.addEventListener("message", function hear(e) {
    const init = e.data;
    if (e.source !== window.parent || e.origin !== config.origin || init?.source !== config.widget || init.event !== "init") return;
    window.removeEventListener("message", hear);
    dress(init.style);
    start(init.initialValues ?? {});
    document.body.dataset.ready = "";
    if (config.error) tell("error", { code: config.error, final: true });
    else tell("ready");
  });
  tell("hello");
}

// The look that a page may ask for: each a variable of the style sheet. A value
// that is no plain colour, length or list of font names is left out.
const LOOK = {
  accentColor: ["--accent", "color"],
  textColor: ["--text", "color"],
  mutedColor: ["--muted", "color"],
  backgroundColor: ["--surface", "color"],
  fieldColor: ["--field", "color"],
  borderColor: ["--border", "color"],
  dangerColor: ["--danger", "color"],
  borderRadius: ["--radius", "border-radius"],
  fontSize: ["--size", "font-size"],
  fontFamily: ["--font", "font-family"],
  padding: ["--padding", "padding"],
  panelBorder: ["--panel-border", "border"],
};

function dress(style) {
  for (const [key, value] of Object.entries(style ?? {})) {
    const [variable, property] = Object.hasOwn(LOOK, key) ? LOOK[key] : [];
    if (variable && typeof value === "string" && value.length < 200 && !/[({;]/.test(value.replace(/\b(rgb|hsl|oklch)a?\(/g, "")) && CSS.supports(property, value)) {
      document.documentElement.style.setProperty(variable, value);
    }
  }
  const accent = getComputedStyle($("submit") ?? panel).backgroundColor.match(/[0-9.]+/g);
  if (style?.accentColor && accent) {
    const [r, g, b] = accent.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    // Black or white on the accent, whichever can be read better (WCAG 2, contrast).
    const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    document.documentElement.style.setProperty("--on-accent", light > 0.179 ? "#000" : "#fff");
  }
}

/** A refusal of the server, or of the way to it. */
export class Refusal extends Error {
  constructor(code, description) {
    super(description);
    this.code = code;
  }
}

/** Posts to the server. The token goes along; nothing is cached or kept. */
export async function call(path, body) {
  let answer;
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ public_token: config.token, ...body }),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(30_000),
    });
    answer = await response.json();
  } catch {
    throw new Refusal("network", "the server could not be reached");
  }
  if (answer?.status !== "ok") throw new Refusal(answer?.error?.code ?? "unavailable", answer?.error?.description ?? "");
  return answer;
}

// Refusals after which nothing can be done with this token any more: the words
// that take the place of the form, and the code that the page hears.
const ENDS = {
  token_used: ["used", "token_used"],
  token_expired: ["expired", "token_expired"],
  too_many: ["attempts", "too_many"],
  not_found: ["unknown", "token_unknown"],
  authorization_error: ["wrong", "token_other_widget"],
};

/** Shows a refusal; onInvalid tells it beside the field that it is about. */
export function refuse(error, onInvalid) {
  const code = error instanceof Refusal ? error.code : "unavailable";
  if (Object.hasOwn(ENDS, code)) {
    const [words, told] = ENDS[code];
    finish({ tone: "notice", head: text[words + "_head"], body: text[words + "_text"] });
    tell("error", { code: told, final: true });
    return;
  }
  const known = ["invalid_request", "network", "throttled"].includes(code) ? code : "unavailable";
  if (known === "invalid_request") onInvalid();
  else banner(text[known]);
  tell("error", { code: known, final: false });
}

/** A message above the button, "" for none. */
export function banner(message) {
  const el = $("banner");
  if (!el) return;
  el.textContent = message;
  el.hidden = !message;
}

window.addEventListener("offline", () => banner(text.offline));
window.addEventListener("online", () => banner(""));

/** Runs an action of the button once at a time, with a sign that it goes on. */
export async function busy(button, label, action) {
  if (button.getAttribute("aria-busy") === "true") return;
  const words = button.querySelector("span:last-child");
  const before = words.textContent;
  button.setAttribute("aria-busy", "true");
  button.setAttribute("aria-disabled", "true");
  words.textContent = label;
  try {
    await action();
  } finally {
    button.removeAttribute("aria-busy");
    button.removeAttribute("aria-disabled");
    words.textContent = before;
  }
}

/**
 * A field of digits: grouped while it is typed and pasted, with the caret where
 * the person left it, and a message below. fault says what is wrong with the
 * digits, early whether that is already sure while they are typed.
 */
export class Field {
  constructor(input, { groups, fault, early, words, onChange }) {
    Object.assign(this, { input, groups, faultOf: fault, early, words, onChange });
    this.touched = false;
    this.before = "";
    input.addEventListener("input", (e) => this.typed(e));
    input.addEventListener("blur", () => {
      this.touched ||= this.digits !== "";
      this.judge();
    });
  }

  get digits() {
    return digitsOf(this.input.value);
  }

  get fault() {
    return this.faultOf(this.digits);
  }

  set(digits) {
    this.input.value = this.before = this.format(digits);
    this.onChange();
  }

  format(digits) {
    return group(digits, this.groups(digits));
  }

  typed(e) {
    const { input } = this;
    let digits = this.digits;
    let left = digitsOf(input.value.slice(0, input.selectionStart)).length;
    // Deleting a space deletes the digit before or behind it.
    if (digits === this.before.replaceAll(" ", "")) {
      if (e.inputType === "deleteContentBackward" && left > 0) {
        digits = digits.slice(0, left - 1) + digits.slice(left);
        left--;
      } else if (e.inputType === "deleteContentForward") {
        digits = digits.slice(0, left) + digits.slice(left + 1);
      }
    }
    const shown = this.format(digits);
    if (input.value !== shown) input.value = shown;
    this.before = shown;
    let at = 0;
    for (let seen = 0; seen < left; at++) if (shown[at] !== " ") seen++;
    if (shown[at] === " " && e.inputType?.startsWith("insert")) at++;
    if (document.activeElement === input) input.setSelectionRange(at, at);
    this.onChange();
    this.judge();
  }

  /** Shows what is wrong, once that is fair: after the field was left or sent. */
  judge(sure = false) {
    this.touched ||= sure;
    const fault = this.fault;
    const speak = fault && (this.early(this.digits) || (this.touched && (sure || document.activeElement !== this.input || this.shown)));
    this.say(speak ? this.words(fault) : "");
    return !fault;
  }

  say(message) {
    say(this.input, message);
    this.shown = message !== "";
  }

  /** Leaves nothing of it behind. */
  wipe() {
    this.input.value = this.before = "";
    this.input.remove();
    // A browser remembers the text that it matched last: RegExp.input.
    /^$/.test("");
  }
}

/** Puts a message below a field, "" for none. */
export function say(input, message) {
  const note = $(input.id + "-note");
  if (note.textContent !== message) note.textContent = message;
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

const SVG = "http://www.w3.org/2000/svg";

/** An element with a class and children or text. */
export function make(tag, props = {}, ...children) {
  const el = Object.assign(document.createElement(tag), props);
  el.append(...children);
  return el;
}

/** A drawing from the page's own set. */
export function drawing(name, kind) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", kind);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", "#" + name);
  svg.append(use);
  return svg;
}

/**
 * Replaces whatever is shown by a state: a head, a text, and what else is to be
 * seen or done. It is read out and takes the focus from what is gone.
 */
export function finish({ tone, head, body, mark, more = [] }) {
  const section = make("section", { className: "state", id: "state", tabIndex: -1 }, drawing("mark-" + (mark ?? tone), "mark"), make("h1", { textContent: head }));
  section.dataset.tone = tone;
  section.setAttribute("role", tone === "notice" ? "alert" : "status");
  if (body) section.append(make("p", { textContent: body }));
  section.append(...more);
  const focused = document.hasFocus();
  $("panel").replaceChildren(section);
  if (focused) section.focus();
}
