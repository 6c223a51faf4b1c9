// The operators' console, in a real browser and as operators use it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { accessible, newPage, open, shoot, until } from "./harness.js";

const { CONSOLE, NAME, PASSWORD, VIEWER, ACCOUNTANT } = process.env;

let browser;
before(async () => (browser = await open()));
after(() => browser.close());

const WIDE = { width: 1360, height: 860 };

const logins = {};

/** Somebody who has logged in: the first time by the form. */
async function enter(name, password, options = {}) {
  const page = await newPage({ viewport: WIDE, storageState: logins[name], ...options });
  await page.goto(CONSOLE);
  if (logins[name]) {
    await page.locator("nav").waitFor();
    return page;
  }
  await page.locator("#name").fill(name);
  await page.locator("#password").fill(password);
  await page.locator("#password").press("Enter");
  await page.locator("nav").waitFor();
  logins[name] = await page.context().storageState();
  return page;
}

const go = (page, path) => page.goto(CONSOLE + path);

/** Ends a page that was to behave. A login is the one thing that stays. */
async function close(page) {
  await Promise.all(page.checks);
  const { cookies, origins } = await page.context().storageState();
  for (const c of cookies) {
    assert.ok(["payoutd_console", "payoutd_lang"].includes(c.name), c.name);
    assert.ok(c.httpOnly && c.sameSite === "Strict" && c.path === "/console/", JSON.stringify(c));
  }
  assert.deepEqual(origins, []);
  await page.context().close();
  assert.deepEqual(page.faults, []);
}

const head = (page) => page.locator("h1").first().textContent();

test("a wrong password says so and tells nothing else", async () => {
  const page = await newPage({ viewport: { width: 900, height: 640 } });
  await page.goto(CONSOLE + "alarms?project=demo");
  assert.equal(await page.evaluate(() => document.activeElement.id), "name");
  await shoot(page, "console-login");
  await accessible(page.mainFrame());
  const problems = [];
  for (const [name, password] of [[NAME, "wrong-wrong-wrong"], ["nobody", "wrong-wrong-wrong"]]) {
    await page.locator("#name").fill(name);
    await page.locator("#password").fill(password);
    await page.getByRole("button", { name: "Log in" }).click();
    problems.push(await page.getByRole("alert").textContent());
    assert.equal(await page.locator("#password").inputValue(), "");
  }
  assert.equal(problems[0], problems[1]);
  await shoot(page, "console-login-wrong");
  await accessible(page.mainFrame());
  await page.locator("#name").fill(NAME);
  await page.locator("#password").fill(PASSWORD);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.locator("nav").waitFor();
  assert.equal(new URL(page.url()).pathname + new URL(page.url()).search, "/console/alarms?project=demo");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.locator("#password").waitFor();
  await page.goto(CONSOLE + "payouts");
  assert.match(page.url(), /\/login/);
  await close(page);
});

test("payouts are listed, narrowed, and found", async () => {
  const page = await enter(NAME, PASSWORD);
  assert.equal(await head(page), "Payouts");
  assert.equal(await page.locator("tbody tr").count(), 7); // with that of the tour
  await shoot(page, "console-payouts");
  await accessible(page.mainFrame());
  await page.getByLabel("State").selectOption("failed");
  await page.getByRole("button", { name: "Show" }).click();
  assert.equal(await page.locator("tbody tr").count(), 1);
  assert.equal(await page.locator("tbody td.num").textContent(), "7,300.50\u00a0₽");
  await page.getByLabel("ID").fill(process.env.PAID);
  await page.getByLabel("ID").press("Enter");
  assert.match(page.url(), new RegExp(`/payouts/demo/${process.env.PAID}$`));
  await go(page, "payouts?id=ps_1");
  await page.getByText("Nothing has this ID.").waitFor();
  await go(page, "payouts?state=disputed");
  await page.getByText("No payouts here.").waitFor();
  await shoot(page, "console-empty");
  await accessible(page.mainFrame());
  await close(page);
});

for (const [name, texts] of Object.entries({
  PAID: ["12,500.00", "•••• 1317", "Соколова Марина", "187.50", "payment_finished", "delivered", "settle", '"shop": "Север"'],
  RETURNED: ["48,000.00", "40817•••0033", "Returns", "booked", "payment_refunded", "return"],
  FAILED: ["7,300.50", "Why it failed", "operation_rejected", "release"],
  FOREIGN: ["250.00", "USD", "Exchange", "Rate", "Locked until"],
  AWAITS: ["3,900.00", "Cancelled", "confirm_timeout"],
})) {
  test(`a session shows all that belongs to it: ${name}`, async () => {
    const page = await enter(NAME, PASSWORD);
    await go(page, `payouts/demo/${process.env[name]}`);
    const text = await page.locator("main").innerText();
    for (const t of texts) assert.ok(text.includes(t), `${t} in\n${text}`);
    assert.ok(!/lie further away/.test(text), "entries are missing");
    await shoot(page, `console-${name.toLowerCase()}`, { fullPage: true });
    await accessible(page.mainFrame());
    await close(page);
  });
}

test("what a partner writes stays text", async () => {
  const page = await enter(NAME, PASSWORD);
  for (const path of ["payouts", `payouts/demo/${process.env.EVIL}`]) {
    await go(page, path);
    assert.equal(await page.locator("main script, main img, main svg").count(), 0);
    assert.ok((await page.locator("main").innerText()).includes("<script>alert(1)</script>"), path);
  }
  const text = await page.locator("main").innerText();
  assert.ok(text.includes("</pre><script>alert(3)</script>"));
  assert.ok(!text.includes("4242 4242 4242 4242") && text.includes("4242 42** **** 4242"), text);
  await shoot(page, "console-evil", { fullPage: true });
  await close(page);
});

test("balances, alarms, audit and operators", async () => {
  const page = await enter(NAME, PASSWORD);
  for (const [link, mark] of [["Balances", "demo"], ["Alarms", "No alarms."], ["Audit", "console_login"], ["Operators", "viola"]]) {
    await page.getByRole("link", { name: link, exact: true }).click();
    assert.equal(await page.locator("nav [aria-current=page]").textContent(), link);
    assert.ok((await page.locator("main").innerText()).includes(mark), mark);
    await shoot(page, `console-${link.toLowerCase()}`);
    await accessible(page.mainFrame());
  }
  await close(page);
});

test("an accountant fetches reports, and sees no audit", async () => {
  const page = await enter("arina", ACCOUNTANT, { acceptDownloads: true });
  assert.deepEqual((await page.locator("nav a").allTextContents()), ["Payouts", "Balances", "Alarms", "Reports"]);
  await page.getByRole("link", { name: "Reports" }).click();
  // Four days ago by the clock of the sandbox.
  const today = await page.locator("#date").getAttribute("max");
  const day = new Date(Date.parse(today) - 4 * 86400_000).toISOString().slice(0, 10);
  await page.locator("#date").fill(day);
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByText("12,500.00").first().waitFor();
  await shoot(page, "console-reports");
  await accessible(page.mainFrame());
  for (const [button, ending] of [["Download CSV", "csv"], ["Download XLSX", "xlsx"]]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: button }).click()]);
    assert.equal(download.suggestedFilename(), `demo_${day}_${day}.${ending}`);
    const content = readFileSync(await download.path());
    if (ending === "csv") {
      assert.match(content.toString(), /^operationId,transactionDate/);
      assert.equal(content.toString().trim().split("\n").length, 1 + 5, content.toString());
    } else {
      assert.equal(content.subarray(0, 2).toString(), "PK");
    }
  }
  await go(page, "audit");
  assert.equal(await head(page), "This page is not for you");
  await shoot(page, "console-forbidden");
  await accessible(page.mainFrame());
  await close(page);
});

test("a viewer sees no reports", async () => {
  const page = await enter("viola", VIEWER);
  assert.deepEqual((await page.locator("nav a").allTextContents()), ["Payouts", "Balances", "Alarms"]);
  assert.equal((await go(page, "reports")).status(), 403);
  assert.equal((await go(page, "nowhere")).status(), 404);
  await accessible(page.mainFrame());
  await close(page);
});

test("in Russian, in the dark, and on a phone", async () => {
  const page = await enter(NAME, PASSWORD, { locale: "ru-RU", colorScheme: "dark" });
  assert.equal(await head(page), "Выплаты");
  await shoot(page, "console-payouts-ru-dark");
  await accessible(page.mainFrame());
  await go(page, `payouts/demo/${process.env.RETURNED}`);
  assert.ok((await page.locator("main").innerText()).includes("48\u00a0000,00\u00a0₽"));
  await shoot(page, "console-returned-ru-dark", { fullPage: true });
  await accessible(page.mainFrame());
  await page.getByRole("link", { name: "English" }).click();
  assert.equal(new URL(page.url()).pathname, `/console/payouts/demo/${process.env.RETURNED}`);
  await page.getByText("Returns", { exact: true }).waitFor();
  await page.setViewportSize({ width: 390, height: 800 });
  await go(page, "payouts");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than the screen");
  await shoot(page, "console-phone");
  await accessible(page.mainFrame());
  await close(page);
});

test("by the keyboard alone", async () => {
  const page = await enter(NAME, PASSWORD);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "project");
  await close(page);
});

test("without scripts, and without any from us", async () => {
  const page = await enter(NAME, PASSWORD, { javaScriptEnabled: false });
  await go(page, "reports?project=demo");
  assert.equal(await page.locator("script").count(), 0);
  await until(async () => page.requests.every((r) => ["document", "stylesheet", "other"].includes(r.resourceType())), "no scripts");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
