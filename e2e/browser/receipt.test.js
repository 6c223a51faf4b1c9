// The receipts of the simulated tax service, as people see and print them.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import jsQR from "jsqr";
import { accessible, close, newPage, open, shoot } from "./harness.js";

const { RECEIPT, LONG, CANCELLED } = process.env;

let browser;
before(async () => (browser = await open()));
after(() => browser.close());

async function visit(url, options = {}) {
  const page = await newPage({ viewport: { width: 480, height: 900 }, locale: "ru-RU", ...options });
  const answer = await page.goto(url);
  assert.equal(answer.status(), 200);
  return page;
}

/** What a phone reads that is held before the code. */
async function scan(page) {
  const picture = await page.locator("svg").screenshot();
  const blank = await newPage(); // the receipt's own policy lets no picture in
  const { data, width, height } = await blank.evaluate(async (bytes) => {
    const image = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: "image/png" }));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    return { data: Array.from(canvas.getImageData(0, 0, image.width, image.height).data), width: image.width, height: image.height };
  }, [...picture]);
  await close(blank);
  return jsQR(Uint8ClampedArray.from(data), width, height)?.data;
}

/** How many sheets of paper it takes. */
async function sheets(page) {
  const pdf = (await page.pdf({ preferCSSPageSize: true })).toString("latin1");
  return pdf.match(/\/Type\s*\/Page\b/g)?.length;
}

test("a receipt says what people know from receipts", async () => {
  const page = await visit(RECEIPT);
  const text = (await page.locator("main").innerText()).replace(/\s+/g, " ");
  for (const want of ["Чек № ", "03.06.2026 12:02 (+03:00)", "1. Courier service, May", "4 500,00 ₽", "Итого:", "Режим НО НПД", "ИНН 771310005300", "Чек сформировал", "ИНН покупателя 7704123450", "Покупатель OOO Sever"])
    assert.ok(text.includes(want), `${want} is not in ${text}`);
  assert.ok(!text.includes("аннулирован"));
  await accessible(page.mainFrame());
  await shoot(page, "receipt", { fullPage: true });
  await close(page);
});

test("its code leads to it", async () => {
  for (const url of [RECEIPT, LONG, CANCELLED]) {
    const page = await visit(url);
    assert.equal(await scan(page), url);
    await close(page);
  }
});

test("it prints on one page", async () => {
  for (const url of [RECEIPT, LONG, CANCELLED]) {
    const page = await visit(url);
    assert.equal(await sheets(page), 1, url);
    await close(page);
  }
});

test("long names stay on the paper", async () => {
  const page = await visit(LONG, { viewport: { width: 320, height: 700 } });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it is wider than the screen");
  assert.equal(await page.locator("tbody tr").count(), 6);
  await accessible(page.mainFrame());
  await shoot(page, "receipt-long", { fullPage: true });
  await close(page);
});

test("a cancelled one says so, and why", async () => {
  const page = await visit(CANCELLED);
  const text = await page.locator("main").innerText();
  assert.match(text, /чек аннулирован/i);
  assert.match(text, /Причина: Возврат средств/);
  await accessible(page.mainFrame());
  await shoot(page, "receipt-cancelled", { fullPage: true });
  await close(page);
});
