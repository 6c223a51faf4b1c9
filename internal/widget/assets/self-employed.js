window.Bank131SelfEmployed = class Bank131SelfEmployed {
  static STAGES = Object.freeze({ bind: "bind" });

  #mount;

  constructor(options) {
    const stage = options?.stage ?? Bank131SelfEmployed.STAGES.bind;
    if (stage !== Bank131SelfEmployed.STAGES.bind) throw new TypeError("stage: want Bank131SelfEmployed.STAGES.bind");
    this.#mount = new Mount(NAMES.selfEmployed, options, { widget: "self_employed" }, options.initialValues);
  }

  render() {
    this.#mount.render();
    return this;
  }

  destroy() {
    this.#mount.destroy();
  }
};
