// The demo page of a real sandbox, from the amount to the money.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { SECRET, accessible, close, newPage, open, shoot, until } from "./harness.js";

const { DEMO } = process.env;

let browser;
before(async () => (browser = await open()));
after(() => browser.close());

async function visit(options = {}) {
  const page = await newPage({ viewport: { width: 1280, height: 900 }, ...options });
  await page.goto(DEMO);
  await page.locator("body[data-live]").waitFor();
  return page;
}

/** The frame of a widget, once its form is there. */
async function form(page) {
  const frame = await until(() => page.frames().find((f) => f.url().includes("/frame?")), "the widget");
  await frame.locator("#submit").waitFor();
  return frame;
}

/** Asks for money and types a card into the widget. */
async function enter(page, number) {
  await page.getByRole("button", { name: "Get my money" }).click();
  const frame = await form(page);
  await frame.getByLabel("Card number").fill(number);
  await frame.getByRole("button", { name: "Save card" }).click();
}

const said = (page) => page.locator("#log .name").allTextContents();
const confirm = (page) => page.locator("#confirm:enabled");

test("a card is paid, and every word of it is shown", async () => {
  const page = await visit();
  await shoot(page, "demo-start");
  await accessible(page.mainFrame());
  await page.getByLabel("How much would you like?").fill("1 310,50");
  await page.getByRole("button", { name: "Get my money" }).click();
  const frame = await form(page);
  await frame.getByLabel("Card number").pressSequentially("2200000000001317");
  await shoot(page, "demo-card");
  await frame.getByRole("button", { name: "Save card" }).click();
  await confirm(page).waitFor();
  assert.equal(await page.locator("#check-to").textContent(), "MIR •••• 1317");
  assert.match(await page.locator("#confirm").textContent(), /1\s310,50/);
  await shoot(page, "demo-confirm");
  await accessible(page.mainFrame());
  await page.locator("#confirm").click();
  await page.getByRole("heading", { name: "On its way" }).waitFor();
  await shoot(page, "demo-paid");
  await accessible(page.mainFrame());
  assert.deepEqual((await said(page)).reverse().filter((s) => !/confirm$/.test(s) || s.startsWith("POST")), [
    "POST /api/v1/token", "widget success", "POST /api/v1/token/info", "POST /api/v2/session/init/payout", "POST /api/v2/session/confirm", "webhook payment_finished",
  ]);
  assert.ok((await said(page)).includes("webhook ready_to_confirm"));
  assert.equal(await page.getByText("signature fits").count(), 2);
  assert.match(await page.locator("#log").textContent(), /"number_hash": "[0-9a-f]{64}"/);
  assert.ok(!SECRET.test(await page.content()), "the partner's page has the number");
  await close(page);
});

test("a card that is declined says why, and nothing is taken", async () => {
  const page = await visit();
  await enter(page, "2200000000002208");
  await confirm(page).click();
  await page.getByRole("heading", { name: "Not paid" }).waitFor();
  assert.match(await page.locator("#result-text").textContent(), /operation_rejected/);
  await shoot(page, "demo-declined");
  await page.getByRole("button", { name: "Start again" }).click();
  await page.getByRole("button", { name: "Get my money" }).waitFor();
  await close(page);
});

test("a card that the check refuses never asks to confirm", async () => {
  const page = await visit();
  await enter(page, "2200000000002125");
  await page.getByRole("heading", { name: "Not paid" }).waitFor();
  assert.match(await page.locator("#result-text").textContent(), /card_number_does_not_exist/);
  assert.ok(!(await said(page)).includes("webhook ready_to_confirm"));
  await close(page);
});

test("a payout that the person cancels ends", async () => {
  const page = await visit();
  await enter(page, "4242424242424242");
  await confirm(page).waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("heading", { name: "Not paid" }).waitFor();
  assert.match(await page.locator("#result-text").textContent(), /session_cancelled_by_partner/);
  await close(page);
});

test("an account is paid by its token", async () => {
  const page = await visit({ viewport: { width: 390, height: 844 } });
  await page.getByText("Bank account").click();
  await page.getByRole("button", { name: "Get my money" }).click();
  const frame = await form(page);
  await frame.getByLabel("Account number").fill("40817810913100000001");
  await shoot(page, "demo-narrow");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page scrolls sideways");
  await frame.getByRole("button", { name: "Save account" }).click();
  await confirm(page).waitFor();
  assert.equal(await page.locator("#check-to").textContent(), "Account 40817 ••• 0001");
  await confirm(page).click();
  await page.getByRole("heading", { name: "On its way" }).waitFor();
  await close(page);
});

test("an amount that cannot be read is refused before anything is asked", async () => {
  const page = await visit();
  await page.getByLabel("How much would you like?").fill("much");
  await page.getByRole("button", { name: "Get my money" }).click();
  await page.getByRole("alert").getByText("Enter an amount").waitFor();
  assert.deepEqual(await said(page), []);
  await close(page);
});

for (const [name, inn, answer, end, word] of [
  ["is linked when they allow it", "500100732259", "Allow", "You are linked", "widget success"],
  ["is not linked when they decline", "7713100041".padEnd(12, "9"), "Decline", "The request was declined", "widget error"],
  ["with a magic INN is linked at once", "771310004106", null, "You are linked", "widget success"],
]) {
  test(`a self-employed person ${name}`, async () => {
    const page = await visit();
    await page.getByRole("button", { name: "Link a self-employed person" }).click();
    await page.getByLabel("INN of the person").fill(inn);
    await page.getByRole("button", { name: "Show the form" }).click();
    const frame = await form(page);
    await frame.getByRole("checkbox").check();
    await frame.getByRole("button", { name: "Link" }).click();
    const refresh = frame.getByRole("button", { name: "Refresh request status" });
    await refresh.waitFor();
    if (answer) {
      await shoot(page, "demo-link");
      await accessible(page.mainFrame());
      await page.getByRole("button", { name: answer, exact: true }).click();
      await page.getByText("Now refresh the status above.").waitFor();
    }
    await refresh.click();
    await frame.getByText(end).waitFor();
    await page.locator("#log .name").getByText(word).waitFor();
    assert.deepEqual((await said(page)).reverse(), ["POST /api/v1/token", "widget change", word]);
    await shoot(page, `demo-${word.split(" ")[1]}-link`);
    await accessible(page.mainFrame());
    await close(page);
  });
}
