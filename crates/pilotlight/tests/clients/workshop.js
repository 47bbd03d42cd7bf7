// What every client works on: put into the portal's page, so that it is of the portal's origin and signed in.
const fs = require('node:fs');
const path = require('node:path');

const WORKSHOP = fs.readFileSync(path.join(__dirname, 'workshop.html'), 'utf8');
// What the page does is the same for every client.
const BUILD = `window.presses = 0; document.querySelector('#workshop')?.remove(); document.body.insertAdjacentHTML('beforeend', ${JSON.stringify(WORKSHOP)})`;

function check(condition, what) {
  if (!condition) throw new Error(`not as it should be: ${what}`);
}

// Runs a client's work to its end; what went wrong is said where tests look.
function run(work) {
  work().then(() => console.log('done'), (error) => { console.error(error); process.exit(1); });
}

// Sends nothing for so many seconds, and then one command, whose time is told.
async function silence(seconds, command, expected) {
  await new Promise((resolve) => setTimeout(resolve, 1000 * Number(seconds)));
  const start = performance.now();
  const answer = await command();
  console.log(`first answer after ${(performance.now() - start).toFixed(1)} ms`);
  check(answer === expected, `the variables of the page: ${answer}`);
}

module.exports = { BUILD, check, run, silence };
