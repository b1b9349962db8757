// Opens GraphiQL in a browser, runs an operation, prints what the page shows; argv: url, query, variables, picture.
import puppeteer from 'puppeteer-core';

const [url, query, variables, wanted, picture] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
  ],
  defaultViewport: { width: 1400, height: 900 },
});
const problems = [];
try {
  const page = await browser.newPage();
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith(new URL(url).origin) && !/^(data|blob):/.test(request.url())) problems.push(request.url());
  });
  await page.goto(`${url}#${new URLSearchParams({ query, variables })}`, { waitUntil: 'networkidle0' });
  await page.click('.graphiql-execute-button');
  await page.waitForFunction(
    (text) => document.querySelector('.graphiql-response')?.textContent.replaceAll('\u00a0', ' ').includes(text),
    { timeout: 30000 }, wanted,
  );
  if (picture) await page.screenshot({ path: picture });
  const shown = await page.$eval('.graphiql-response', (element) => element.textContent.replaceAll('\u00a0', ' '));
  console.log(JSON.stringify({ shown, problems }));
} finally {
  await browser.close();
}
