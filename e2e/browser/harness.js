// The browser and what every page in it is watched for.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// How long to wait for what should come at once, in milliseconds.
const PATIENCE = 120_000;

let browser;

export async function open() {
  browser = await chromium.launch({
    timeout: PATIENCE,
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Chromium's own sandbox does not start for root, as which containers run.
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
  return browser;
}

// A card number that tests type and that no page has of itself, as it may stand
// in a text.
export const SECRET = /2200(?:\D|%20)?0000(?:\D|%20)?0000(?:\D|%20)?1317/;

// The one request that bears a number.
const bears = (r) => r.method() === "POST" && new URL(r.url()).pathname === "/v1/card";

/** What of a request and its answer has the secret, where it should not be. */
async function leak(response) {
  const r = response.request();
  const parts = { address: r.url(), headers: JSON.stringify([await r.allHeaders(), await response.allHeaders()]) };
  if (!bears(r)) parts.body = r.postData() ?? "";
  // A stream of events does not end; what it says stands in the page.
  if (r.resourceType() !== "eventsource") parts.answer = await response.text();
  return Object.keys(parts).filter((p) => SECRET.test(parts[p])).map((p) => `${r.method()} ${p} has the number`);
}

/** What a page leaves in its browser, in whatever frame. */
async function stored(page) {
  const { cookies, origins } = await page.context().storageState({ indexedDB: true });
  const left = [...cookies, ...origins].map((o) => `stored: ${JSON.stringify(o)}`);
  for (const frame of page.frames()) {
    const more = await frame.evaluate(async () => JSON.stringify({ ...sessionStorage, caches: await window.caches?.keys() })).catch(() => "");
    if (more.replace(/,?"caches":\[\]/, "").length > 2) left.push(`stored: ${more}`);
  }
  return left;
}

/**
 * A page in a context of its own. What no page may do is kept in page.faults:
 * breaches of a policy, errors of scripts, requests to anybody who is not on
 * this machine, and the secret in what goes over the wire.
 */
export async function newPage(options = {}) {
  const context = await browser.newContext({ viewport: { width: 520, height: 640 }, locale: "en-GB", ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.faults = [];
  page.requests = [];
  page.checks = [];
  await context.exposeBinding("reportBreach", (_, breach) => page.faults.push(breach));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => window.reportBreach(`policy: ${e.violatedDirective} ${e.blockedURI} in ${location.origin}`));
  });
  page.on("pageerror", (e) => page.faults.push(`script: ${e.message}`));
  page.on("console", (m) => {
    if (/Content.Security.Policy|Refused to|integrity/i.test(m.text())) page.faults.push(`console: ${m.text()}`);
  });
  context.on("request", (r) => {
    page.requests.push(r);
    const { hostname, protocol } = new URL(r.url());
    if (protocol !== "data:" && !["localhost", "127.0.0.1"].includes(hostname)) page.faults.push(`request to ${hostname}`);
  });
  // An answer that was cut off when its page went has nobody to tell it to.
  context.on("response", (response) => page.checks.push(leak(response).then((found) => page.faults.push(...found), () => {})));
  return page;
}

/** Ends a page that was to behave, and to leave nothing behind. */
export async function close(page) {
  await Promise.all(page.checks);
  const faults = [...page.faults, ...(await stored(page))];
  await page.context().close();
  assert.deepEqual(faults, []);
}

/** Fails for each thing that keeps people out of a frame. */
export async function accessible(frame) {
  await frame.evaluate(axe);
  // A frame is no page of its own: that one has the landmarks around it.
  const { violations } = await frame.evaluate(() => window.axe.run(document, { rules: { region: { enabled: false }, "page-has-heading-one": { enabled: false }, "landmark-one-main": { enabled: false } } }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")}`), []);
}

/** Keeps a picture of a page for people to look at. */
export async function shoot(page, name, options = {}) {
  // The page learns the frame's height by a message, a picture or two later. A
  // frame that cannot be seen draws no pictures, so that nothing waits for one.
  await page.evaluate(() => new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 50)));
  await page.screenshot({ path: `${process.env.SHOTS}/${name}.png`, animations: "disabled", ...options });
}

/** Asks again until the answer is there. */
export async function until(ask, what) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < end, `in vain: ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}
