// Playwright MCP, started with a session's endpoint as an agent's host would: node playwright_mcp.js SESSION_URL TOKEN USER
const { spawn } = require('node:child_process');
const path = require('node:path');
const readline = require('node:readline');
const { BUILD, check, run } = require('./workshop');

const [sessionUrl, token, user] = process.argv.slice(2);
const cli = path.join(path.dirname(require.resolve('@playwright/mcp/package.json')), 'cli.js');

// As it stands in the configuration of a host, behind `npx @playwright/mcp`.
const args = [
  '--cdp-endpoint', sessionUrl, '--cdp-header', `Authorization: Bearer ${token}`,
];

// Speaks with it line by line, as the Model Context Protocol has it.
async function converse(talk) {
  const server = spawn(process.execPath, [cli, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = new Map();
  readline.createInterface({ input: server.stdout }).on('line', (line) => {
    const message = JSON.parse(line);
    waiting.get(message.id)?.(message);
  });
  const say = (message) => server.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  let last = 0;
  const ask = (method, params) => {
    const id = ++last;
    say({ id, method, params });
    return new Promise((resolve) => waiting.set(id, resolve));
  };
  const clientInfo = { name: 'test', version: '1' };
  await ask('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo });
  say({ method: 'notifications/initialized' });
  await talk(async (name, given) => {
    const { result, error } = await ask('tools/call', { name, arguments: given });
    const said = (result?.content ?? []).map((part) => part.text ?? '').join('\n');
    check(!error && !result.isError, `${name}: ${said || JSON.stringify(error)}`);
    return said;
  });
  const ended = new Promise((resolve) => server.on('exit', resolve));
  server.stdin.end();
  await ended;
}

async function work() {
  await converse(async (use) => {
    check((await use('browser_snapshot', {})).includes(user), 'the page is signed in as its user');
    await use('browser_evaluate', { function: `() => { ${BUILD}; window.kept = ${JSON.stringify(user)}; }` });
    check((await use('browser_snapshot', {})).includes('press'), 'what is in the page');
    const pressed = await use('browser_evaluate', { function: "() => { document.querySelector('#press').click(); return document.querySelector('#press').textContent; }" });
    check(pressed.includes('pressed 1'), 'a click');
  });
  await converse(async (use) => {
    check((await use('browser_evaluate', { function: '() => window.kept' })).includes(user), 'the same page with its state');
  });
}

run(work);
