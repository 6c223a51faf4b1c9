// The widgets as a person meets them, in the page of a partner who follows
// docs/widgets.md.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { accessible, close, newPage, open, shoot, until } from "./harness.js";

const { WIDGET, SHOP, STRANGER } = process.env;
const OPEN = 1, USED = 2; // as internal/widget counts doors
const CARD = "4242424242424242";

let browser;
before(async () => (browser = await open()));
after(() => browser.close());

const issue = async (token) => (await fetch(`${SHOP}/token`, { method: "POST", body: JSON.stringify(token) })).json();

/** Shows a widget in the partner's page and waits until it has said something. */
async function show({ name = "tokenize", token = { tokenize: OPEN }, publicToken, options = {}, query = {}, page, site = SHOP, event = /onReady|onError/ } = {}) {
  page ??= await newPage();
  publicToken ??= await issue(token);
  const search = new URLSearchParams({ ...query, options: JSON.stringify({ publicToken, ...options }) });
  await page.goto(`${site}/${name}?${search}`);
  if (event) await said(page, event);
  const frame = page.frames().find((f) => f.url().startsWith(WIDGET));
  return { page, frame, publicToken };
}

const said = (page, event) => until(() => page.evaluate((pattern) => window.said.find((s) => new RegExp(pattern).test(s.event)), event.source ?? event), `the event ${event}`);
const note = (frame, id) => frame.locator(`#${id}-note`).textContent();

test("a card typed by hand is grouped, named, and becomes a hash", async () => {
  const { page, frame } = await show();
  const number = frame.getByLabel("Card number");
  assert.equal(await number.getAttribute("inputmode"), "numeric");
  assert.equal(await number.getAttribute("autocomplete"), "cc-number");
  await shoot(page, "card-empty");
  await accessible(frame);
  await number.pressSequentially("42424242");
  assert.equal(await number.inputValue(), "4242 4242");
  assert.equal(await frame.locator("#brand").getAttribute("data-brand"), "visa");
  await number.pressSequentially("42424242");
  assert.equal(await number.inputValue(), "4242 4242 4242 4242");
  await shoot(page, "card-typed");
  await frame.getByRole("button", { name: "Save card" }).click();
  const success = await said(page, "onSuccess");
  assert.deepEqual(success, { event: "onSuccess", type: "card", data: { number_hash: "ab".repeat(32) }, card: { brand: "visa", last4: "4242" } });
  assert.match(await frame.getByRole("status").textContent(), /Card saved.*4242/);
  await accessible(frame);
  await shoot(page, "card-saved");
  const heard = await page.evaluate(() => window.heard.map((m) => m.event));
  for (const event of ["hello", "ready", "change", "success"]) assert.ok(heard.includes(event), `no message ${event}`);
  await close(page);
});

test("nothing of a saved card stays: page, storage, URL, cache", async () => {
  const { page, frame } = await show();
  await frame.getByLabel("Card number").fill(CARD);
  await frame.getByRole("button").click();
  await said(page, "onSuccess");
  for (const place of page.frames()) {
    const left = await place.evaluate(() => {
      const everything = document.documentElement.outerHTML + [...document.querySelectorAll("input")].map((i) => i.value).join();
      const stored = () => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]);
      let storage = "";
      try {
        storage = stored();
      } catch {
        // A browser that lets no frame of another site store anything.
      }
      return [everything, storage, document.cookie, location.href].join("\n");
    });
    assert.ok(!/4242\D*4242/.test(left), `the number is still in ${place.url().split("?")[0]}`);
    assert.deepEqual(await place.evaluate(() => indexedDB.databases()).catch(() => []), []);
  }
  const posts = [];
  for (const r of page.requests) {
    assert.ok(!r.url().includes("4242"), "a number stands in a URL");
    if (r.method() === "POST") posts.push(await r.response());
  }
  assert.equal(posts.length, 1);
  assert.match(posts[0].headers()["cache-control"], /no-store/);
  assert.ok(!(await posts[0].text()).includes(CARD));
  await close(page);
});

test("the watch over every page finds a number that goes astray", async () => {
  const page = await newPage();
  await page.goto(`${SHOP}/tokenize?options=${encodeURIComponent(JSON.stringify({ publicToken: "0".repeat(64) }))}&n=2200-0000-0000-1317`);
  await page.evaluate(() => {
    localStorage.setItem("a", "b");
    sessionStorage.setItem("c", "d");
    document.cookie = "e=f";
  });
  await assert.rejects(close(page), (e) => [/GET address has the number/, /"a"/, /"c":"d"/, /"e"/].every((r) => r.test(e.message)));
});

test("the memory of the page has the number while it is needed, and not after", async () => {
  const { page, frame } = await show();
  const session = await page.context().newCDPSession(frame); // another site has a process of its own
  /** Whether the scripts of the frame hold the number anywhere. */
  const holds = async () => {
    const chunks = [];
    const collect = ({ chunk }) => chunks.push(chunk);
    session.on("HeapProfiler.addHeapSnapshotChunk", collect);
    await session.send("HeapProfiler.collectGarbage");
    await session.send("HeapProfiler.takeHeapSnapshot");
    session.off("HeapProfiler.addHeapSnapshotChunk", collect);
    return /2200[ ]?0000[ ]?0000[ ]?1317/.test(chunks.join(""));
  };
  const number = frame.getByLabel("Card number");
  await number.pressSequentially("2200000000001317");
  assert.ok(await holds(), "the search finds nothing");
  await number.press("Enter");
  await said(page, "onSuccess");
  assert.ok(!(await holds()), "the number is still there");
  await close(page);
});

test("pasted numbers lose what is not a digit, and the caret stays", async () => {
  const { page, frame } = await show();
  const number = frame.getByLabel("Card number");
  const paste = (text) =>
    number.evaluate((el, pasted) => {
      el.focus();
      document.execCommand("insertText", false, pasted);
    }, text);
  await paste("card 4242-4242\u00a04242 4241");
  assert.equal(await number.inputValue(), "4242 4242 4242 4241");
  assert.match(await note(frame, "number"), /Check the card number/);
  await number.press("Backspace");
  await number.press("2");
  assert.equal(await number.inputValue(), "4242 4242 4242 4242");
  assert.equal(await note(frame, "number"), "");
  // A digit in the middle, and then the space that a group begins with.
  await number.evaluate((el) => el.setSelectionRange(5, 5));
  await number.press("Backspace");
  assert.equal(await number.inputValue(), "4244 2424 2424 242");
  assert.equal(await number.evaluate((el) => el.selectionStart), 3);
  await number.press("2");
  assert.equal(await number.inputValue(), "4242 4242 4242 4242");
  await number.fill("");
  await paste("3782 8224 6310 005");
  assert.equal(await number.inputValue(), "3782 822463 10005");
  assert.equal(await frame.locator("#brand").getAttribute("data-brand"), "amex");
  await number.fill("42424242424242424242");
  assert.match(await note(frame, "number"), /too long/);
  await close(page);
});

test("a wrong number is told beside the field and never sent", async () => {
  const { page, frame } = await show();
  const number = frame.getByLabel("Card number");
  const button = frame.getByRole("button", { name: "Save card" });
  for (const [value, message] of [["", /Enter the card number/], ["4242", /too short/], ["4242424242424241", /Check the card number/], ["22000000000013172", /Check the card number/]]) {
    await number.fill(value);
    await button.click();
    assert.match(await note(frame, "number"), message, value);
    assert.equal(await number.getAttribute("aria-invalid"), "true");
    assert.ok(await number.evaluate((el) => el === document.activeElement), "the field has the focus");
  }
  await shoot(page, "card-invalid");
  await accessible(frame);
  assert.equal(page.requests.filter((r) => r.method() === "POST").length, 0);
  const changes = await page.evaluate(() => window.said.filter((s) => s.event === "onChange"));
  assert.ok(changes.some((c) => c.fault === "invalid" && c.complete === false));
  assert.ok(!JSON.stringify(changes).includes("4242"), "a change tells digits");
  await close(page);
});

test("a number that the server refuses costs an attempt, and attempts end", async () => {
  const { page, frame } = await show({ token: { tokenize: OPEN, attempts: 2 } });
  const number = frame.getByLabel("Card number");
  for (const wanted of [/Check the card number/, /Check the card number/]) {
    await number.fill("2200000000002125");
    await frame.getByRole("button").click();
    await until(async () => wanted.test(await note(frame, "number")), "the refusal");
    await number.press("End");
  }
  await number.fill(CARD);
  await frame.getByRole("button").click();
  await frame.getByRole("alert").getByText("Too many attempts").waitFor();
  const error = await until(() => page.evaluate(() => window.said.findLast((s) => s.event === "onError" && s.final)), "the last error");
  assert.equal(error.code, "too_many");
  assert.equal(await frame.locator("input").count(), 0);
  await shoot(page, "card-attempts");
  await accessible(frame);
  await close(page);
});

for (const [name, token, code, words] of [
  ["expired", { tokenize: OPEN, ended: true }, "token_expired", /expired/],
  ["used", { tokenize: USED }, "token_used", /has been used/],
  ["of another widget", { selfEmployed: OPEN }, "token_other_widget", /cannot be opened/],
  ["for incoming payments", { acquiring: OPEN }, "acquiring_not_offered", /Incoming payments are not offered/],
]) {
  test(`a token that is ${name} shows why instead of a form`, async () => {
    const { page, frame } = await show({ token, event: "onError" });
    assert.match(await frame.getByRole("alert").textContent(), words);
    assert.equal(await frame.locator("input").count(), 0);
    assert.deepEqual(await said(page, "onError"), { event: "onError", code, final: true });
    await shoot(page, `notice-${code}`);
    await accessible(frame);
    await close(page);
  });
}

test("a token that nobody issued opens nothing", async () => {
  const { page, frame } = await show({ publicToken: "0".repeat(64), event: "onError" });
  assert.match(await frame.getByRole("alert").textContent(), /cannot be opened/);
  assert.equal((await said(page, "onError")).code, "token_unknown");
  await close(page);
});

test("a token that is used in another window meanwhile is told so", async () => {
  const { page, frame, publicToken } = await show();
  const other = await show({ publicToken });
  for (const one of [frame, other.frame]) {
    await one.getByLabel("Card number").fill(CARD);
    await one.getByRole("button").click();
    await one.locator("#state").waitFor();
  }
  assert.equal((await said(other.page, "onError")).code, "token_used");
  await close(page);
  await close(other.page);
});

test("without a connection what was typed stays", async () => {
  const { page, frame } = await show();
  await frame.getByLabel("Card number").fill(CARD);
  await page.context().setOffline(true);
  await frame.getByRole("alert").getByText("No internet connection").waitFor();
  await frame.getByRole("button").click();
  await frame.getByRole("alert").getByText("The connection failed").waitFor();
  await shoot(page, "card-offline");
  await accessible(frame);
  await page.context().setOffline(false);
  await frame.locator("#banner").waitFor({ state: "hidden" });
  await frame.getByRole("button").click();
  await said(page, "onSuccess");
  await close(page);
});

test("the keyboard alone is enough", async () => {
  const { page, frame } = await show();
  await page.keyboard.press("Tab");
  assert.equal(await frame.evaluate(() => document.activeElement.id), "number");
  await page.keyboard.type("2200000000001317");
  await page.keyboard.press("Tab");
  assert.equal(await frame.evaluate(() => document.activeElement.id), "submit");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  assert.equal((await said(page, "onSuccess")).card.brand, "mir");
  await frame.locator("#state").waitFor();
  assert.equal(await frame.evaluate(() => document.activeElement.id), "state", "what replaces the form takes the focus");
  await close(page);
});

test("a bank account is checked against its BIK and becomes a token", async () => {
  const { page, frame } = await show({ options: { type: "bank_account", initialValues: { bik: "044525974" } } });
  const bik = frame.getByLabel("BIK of the bank");
  const account = frame.getByLabel("Account number");
  assert.equal(await bik.inputValue(), "044525974");
  await account.pressSequentially("40817810813100000001");
  assert.equal(await account.inputValue(), "40817 810 8 1310 0000001");
  assert.match(await note(frame, "account"), /does not fit this BIK/);
  await shoot(page, "account-key");
  await accessible(frame);
  await account.fill("40817810913100000001");
  assert.equal(await note(frame, "account"), "");
  await bik.fill("04452597");
  await frame.getByRole("button", { name: "Save account" }).click();
  assert.match(await note(frame, "bik"), /9 digits/);
  await bik.fill("044525974");
  await frame.getByRole("button", { name: "Save account" }).click();
  const success = await said(page, "onSuccess");
  assert.deepEqual(success.data, { token: "cd".repeat(32), masked_account: "40817***0001" });
  await shoot(page, "account-saved");
  await close(page);
});

test("in Russian, dark, on a narrow screen", async () => {
  const { page, frame } = await show({ page: await newPage({ viewport: { width: 320, height: 568 }, deviceScaleFactor: 2 }), options: { locale: "ru", theme: "dark" }, query: { theme: "dark", lang: "ru" } });
  assert.equal(await frame.locator("html").getAttribute("lang"), "ru");
  await frame.getByLabel("Номер карты").fill("2200 0000 0000 1318");
  await frame.getByRole("button", { name: "Сохранить карту" }).click();
  assert.match(await note(frame, "number"), /Проверьте номер/);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page scrolls sideways");
  assert.ok(await frame.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the frame scrolls sideways");
  await shoot(page, "card-dark-narrow-ru");
  await accessible(frame);
  await close(page);
});

test("the language is the page's, else the browser's", async () => {
  for (const [lang, locale, want] of [["ru", "en-GB", "ru"], ["", "ru-RU", "ru"], ["de", "en-GB", "en"]]) {
    const { page, frame } = await show({ page: await newPage({ locale }), query: { lang } });
    assert.equal(await frame.locator("html").getAttribute("lang"), want, `${lang} ${locale}`);
    await close(page);
  }
});

test("a page may choose the look, and nothing else by it", async () => {
  const style = { accentColor: "#f5c518", borderRadius: "4px", backgroundColor: "url(https://example.com/x)", fontFamily: "x; } body { display: none", unknown: "1" };
  const { page, frame } = await show({ options: { style } });
  const look = await frame.evaluate(() => {
    const style = getComputedStyle(document.getElementById("submit"));
    return [style.backgroundColor, style.color, style.borderRadius, getComputedStyle(document.getElementById("panel")).backgroundColor];
  });
  assert.deepEqual(look, ["rgb(245, 197, 24)", "rgb(0, 0, 0)", "4px", "rgb(255, 255, 255)"]);
  await shoot(page, "card-styled");
  await close(page);
});

test("a page of somebody else may show no form", async () => {
  const { page, frame } = await show({ site: STRANGER, event: "onError" });
  assert.equal((await said(page, "onError")).code, "origin_not_allowed");
  assert.equal(await frame.locator("input").count(), 0);
  await shoot(page, "notice-origin");
  await close(page);
});

test("a page of somebody else that lies about its origin shows nothing", async () => {
  const page = await newPage();
  await page.goto(`${STRANGER}/tokenize?options=${encodeURIComponent(JSON.stringify({ publicToken: "0".repeat(64) }))}`);
  const token = await issue({ tokenize: OPEN });
  const src = `${WIDGET}/frame?${new URLSearchParams({ widget: "card", token, origin: SHOP })}`;
  const blocked = until(() => page.faults.some((f) => f.includes("frame-ancestors")), "the browser's refusal");
  await page.evaluate((url) => {
    const frame = document.createElement("iframe");
    frame.src = url;
    document.body.append(frame);
  }, src);
  await blocked;
  assert.ok(!page.frames().some((f) => f.url().includes(token)), "the form was shown");
  await page.context().close();
});

test("the page around the frame can reach neither the number nor the form", async () => {
  const { page, frame } = await show();
  await frame.getByLabel("Card number").fill(CARD);
  const reached = await page.evaluate(async (home) => {
    const inner = document.querySelector("iframe").contentWindow;
    const tries = {
      document: () => inner.document.getElementById("number").value,
      variable: () => inner.number,
      storage: () => inner.localStorage.length,
      contentDocument: () => document.querySelector("iframe").contentDocument.body.innerHTML,
      prototype: () => inner.eval("document.forms[0].outerHTML"),
      fetch: async () => (await fetch(`${home}/frame`)).text(),
    };
    const got = {};
    for (const [name, attempt] of Object.entries(tries)) {
      try {
        const value = await attempt();
        if (value) got[name] = String(value);
      } catch {
        // That is what ought to happen.
      }
    }
    // A forged message must change nothing, and no message bears the number.
    for (const event of ["init", "submit", "value"]) inner.postMessage({ source: "bank131-tokenize", event, initialValues: { number: "1" }, style: { accentColor: "red" } }, home);
    await new Promise((r) => setTimeout(r, 50));
    return { got, heard: JSON.stringify(window.heard) + JSON.stringify(window.said) };
  }, WIDGET);
  assert.deepEqual(reached.got, {});
  assert.ok(!/4242/.test(reached.heard), "a message bears digits");
  assert.equal(await frame.getByLabel("Card number").inputValue(), "4242 4242 4242 4242");
  assert.notEqual(await frame.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--accent")), "red");
  page.faults = page.faults.filter((f) => !/connect-src|Refused to connect/.test(f)); // its own try to fetch
  await close(page);
});

test("a card number from the partner's page is not taken", async () => {
  const { page, frame } = await show({ options: { initialValues: { number: CARD, cardNumber: CARD } } });
  assert.equal(await frame.getByLabel("Card number").inputValue(), "");
  await close(page);
});

test("destroy takes the widget away, render brings it back", async () => {
  const { page } = await show();
  await page.evaluate(() => window.widget.destroy());
  assert.equal(await page.locator("iframe").count(), 0);
  await page.evaluate(() => {
    window.said.length = 0;
    window.widget.render();
  });
  await said(page, "onReady");
  assert.equal(await page.locator("iframe").count(), 1);
  await close(page);
});

test("a frame that never speaks is told and can be tried again", async () => {
  const page = await newPage();
  await page.clock.install();
  let broken = true;
  await page.route("**/frame?*", (route) => (broken ? route.abort() : route.continue()));
  await show({ page, event: null });
  await page.clock.runFor(16_000);
  assert.equal((await said(page, "onError")).code, "load_failed");
  await shoot(page, "load-failed");
  broken = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await said(page, "onReady");
  await close(page);
});

test("options that cannot be right are refused at once", async () => {
  const { page } = await show();
  for (const [code, words] of [
    ["new Bank131Tokenize({})", /publicToken/],
    ["new Bank131Tokenize()", /publicToken/],
    ['new Bank131Tokenize({publicToken: "x", type: "cash"})', /type/],
    ['new Bank131Tokenize({publicToken: "x", container: "nowhere"}).render()', /nowhere/],
  ]) {
    await assert.rejects(page.evaluate(code), words, code);
  }
  await close(page);
});

const tax = (state) => fetch(`${SHOP}/tax`, { method: "POST", body: new URLSearchParams({ state }) });
const link = (options = {}, more = {}) =>
  show({ name: "self-employed", token: { selfEmployed: OPEN }, options: { stage: "bind", initialValues: { taxReferenceOrPhone: "500100732259" }, ...options }, ...more });

test("a self-employed person is linked", async () => {
  const { page, frame } = await link();
  assert.equal(await frame.getByLabel("INN or phone number").inputValue(), "500100732259");
  await shoot(page, "link-initial");
  await accessible(frame);
  await frame.getByRole("button", { name: "Link" }).click();
  assert.match(await note(frame, "terms"), /consent/);
  await frame.getByRole("checkbox").check();
  await frame.getByRole("button", { name: "Link" }).click();
  const refresh = frame.getByRole("button", { name: "Refresh request status" });
  await refresh.click();
  await frame.getByText("Not confirmed yet").waitFor();
  await shoot(page, "link-requested");
  await accessible(frame);
  await tax("linked");
  await refresh.click();
  assert.deepEqual(await said(page, "onSuccess"), { event: "onSuccess", state: "linked" });
  assert.match(await frame.getByRole("status").textContent(), /You are linked/);
  await shoot(page, "link-linked");
  await accessible(frame);
  await close(page);
});

test("a request that is under way is shown again after a reload", async () => {
  const { page, frame, publicToken } = await link();
  await frame.getByRole("checkbox").check();
  await frame.getByRole("button", { name: "Link" }).click();
  await frame.locator("#refresh").waitFor();
  await close(page);
  const again = await link({}, { publicToken });
  await again.frame.locator("#refresh").waitFor();
  await close(again.page);
});

test("a person who declines may be asked once more", async () => {
  const { page, frame } = await link({ locale: "ru" });
  await frame.getByRole("checkbox").check();
  await frame.getByRole("button", { name: "Подключить" }).click();
  await frame.locator("#refresh").waitFor();
  await shoot(page, "link-requested-ru");
  await tax("rejected");
  await frame.getByRole("button", { name: "Обновить статус заявки" }).click();
  await frame.getByText("Заявка отклонена").waitFor();
  assert.equal((await said(page, "onError")).code, "rejected");
  await shoot(page, "link-rejected-ru");
  await accessible(frame);
  await frame.getByRole("button", { name: "Отправить ещё раз" }).click();
  await frame.getByRole("button", { name: "Подключить" }).click();
  await frame.locator("#refresh").waitFor();
  await close(page);
});

test("a person of another token, or no person at all, is refused", async () => {
  const { page, frame } = await link({ initialValues: {}, theme: "dark" }, { query: { theme: "dark" }, page: await newPage({ viewport: { width: 340, height: 640 } }) });
  const person = frame.getByLabel("INN or phone number");
  await frame.getByRole("checkbox").check();
  for (const [value, words] of [["", /Enter your INN/], ["770708389", /12 digits/], ["500100732260", /not the person/]]) {
    await person.fill(value);
    await frame.getByRole("button", { name: "Link" }).click();
    await until(async () => words.test(await note(frame, "person")), `the message on ${value}`);
  }
  await shoot(page, "link-dark-narrow");
  await accessible(frame);
  await close(page);
});

test("the page about incoming payments stands alone", async () => {
  const page = await newPage({ locale: "ru-RU" });
  await page.goto(`${WIDGET}/acquiring?token=${await issue({ acquiring: OPEN })}`);
  assert.match(await page.getByRole("alert").textContent(), /Приём платежей не поддерживается/);
  await accessible(page.mainFrame());
  await shoot(page, "acquiring-ru");
  await close(page);
});
