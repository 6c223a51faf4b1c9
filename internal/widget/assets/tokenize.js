window.Bank131Tokenize = class Bank131Tokenize {
  #mount;

  constructor(options) {
    const type = options?.type ?? "card";
    if (type !== "card" && type !== "bank_account") throw new TypeError('type: want "card" or "bank_account"');
    // A card number has no business in the partner's page, so none is taken from it.
    const initialValues = type === "card" ? {} : options.initialValues;
    this.#mount = new Mount(NAMES.tokenize, options, { widget: type }, initialValues);
  }

  render() {
    this.#mount.render();
    return this;
  }

  destroy() {
    this.#mount.destroy();
  }
};
