// The browser and what every page in it is watched for.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;

export async function open() {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Chromium's own sandbox does not start for root, as which containers run.
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
  return browser;
}

/**
 * A page in a context of its own. What no page may do is kept in page.faults:
 * breaches of a policy, errors of scripts, and requests to anybody who is not
 * on this machine.
 */
export async function newPage(options = {}) {
  const context = await browser.newContext({ viewport: { width: 520, height: 640 }, locale: "en-GB", ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.faults = [];
  page.requests = [];
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
  return page;
}

/** Ends a page that was to behave. */
export async function close(page) {
  const { faults } = page;
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
  const end = Date.now() + 15_000;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < end, `in vain: ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}
