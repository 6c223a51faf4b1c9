// What both widgets do in the partner's page: show our frame in a div, and pass
// on what it says. Nothing typed into the frame can be reached from here.

// Every name that a partner's page meets. The bank's own page on its widget is
// not public, so that they may have to change.
const NAMES = {
  tokenize: { source: "bank131-tokenize", container: "bank131-tokenize" },
  selfEmployed: { source: "bank131-self-employed", container: "bank131-self-employed" },
};

// The widget's origin is where this script came from.
const HOME = new URL(document.currentScript.src).origin;

// A frame that has not spoken by then will not: no connection, or a policy of
// the page that forbids it.
const PATIENCE_MS = 15_000;

const WORDS = {
  en: { frame: "Secure form", failed: "The form could not be loaded.", again: "Try again" },
  ru: { frame: "Защищённая форма", failed: "Форма не загрузилась.", again: "Повторить" },
};

class Mount {
  #names;
  #options;
  #query;
  #initialValues;
  #container = null;
  #frame = null;
  #timer = 0;
  #hear = (e) => this.#heard(e);

  constructor(names, options, query, initialValues) {
    if (typeof options?.publicToken !== "string" || options.publicToken === "") {
      throw new TypeError("publicToken: want the public_token of POST /api/v1/token");
    }
    this.#names = names;
    this.#options = options;
    this.#query = query;
    this.#initialValues = initialValues;
  }

  /** Shows the widget in its div, or in another one that the options name. */
  render() {
    const { container, publicToken, theme = "light", locale = document.documentElement.lang || navigator.language } = this.#options;
    const where = container instanceof Element ? container : document.getElementById(container ?? this.#names.container);
    if (!where) throw new Error(`no element with the id "${container ?? this.#names.container}" in this page`);
    this.destroy();
    this.#container = where;
    where.classList.add("bank131-widget");
    where.dataset.state = "loading";
    where.dataset.theme = theme;
    this.#words = WORDS[locale.toLowerCase().startsWith("ru") ? "ru" : "en"];

    const frame = document.createElement("iframe");
    const query = new URLSearchParams({ ...this.#query, token: publicToken, locale, theme, origin: location.origin });
    frame.title = this.#words.frame;
    frame.referrerPolicy = "no-referrer";
    frame.setAttribute("sandbox", "allow-scripts allow-same-origin allow-forms");
    frame.setAttribute("scrolling", "no");
    this.#frame = frame;
    window.addEventListener("message", this.#hear);
    this.#timer = setTimeout(() => this.#fail(), PATIENCE_MS);
    frame.src = `${HOME}/frame?${query}`;
    where.replaceChildren(frame);
    return this;
  }

  /** Takes the widget away, with all that was typed into it. */
  destroy() {
    clearTimeout(this.#timer);
    window.removeEventListener("message", this.#hear);
    this.#container?.classList.remove("bank131-widget");
    this.#container?.replaceChildren();
    for (const key of ["state", "theme"]) delete this.#container?.dataset[key];
    this.#container = this.#frame = null;
  }

  #words = WORDS.en;

  #heard(e) {
    if (e.origin !== HOME || e.source !== this.#frame?.contentWindow || e.data?.source !== this.#names.source) return;
    const { event, source, ...detail } = e.data;
    switch (event) {
      case "hello":
        this.#frame.contentWindow.postMessage(
          { source, event: "init", style: this.#options.style, initialValues: this.#initialValues },
          HOME,
        );
        return;
      case "resize":
        if (Number.isFinite(detail.height)) this.#frame.style.height = `${Math.min(Math.max(detail.height, 0), 2000)}px`;
        return;
      case "ready":
      case "error":
        clearTimeout(this.#timer);
        this.#container.dataset.state = "ready";
    }
    this.#call(event, detail);
  }

  #call(event, detail) {
    const callback = { ready: "onReady", change: "onChange", success: "onSuccess", error: "onError" }[event];
    if (callback) this.#options[callback]?.(detail);
  }

  #fail() {
    const again = document.createElement("button");
    again.type = "button";
    again.textContent = this.#words.again;
    again.addEventListener("click", () => this.render());
    const failed = document.createElement("p");
    failed.setAttribute("role", "alert");
    failed.append(this.#words.failed, " ", again);
    this.#frame = null;
    this.#container.replaceChildren(failed);
    this.#container.dataset.state = "failed";
    this.#call("error", { code: "load_failed", final: false });
  }
}

