// What every client works on: put into the portal's page, so that it is of the portal's origin and signed in.
const WORKSHOP = `<section id="workshop">
  <input id="text"><button id="press" onclick="window.presses = (window.presses || 0) + 1; this.textContent = 'pressed ' + window.presses">press</button>
  <select id="choice"><option value="a">A</option><option value="b">B</option></select>
  <input id="file" type="file"><a id="down" download="report.txt" href="data:text/plain,hello%20download">download</a>
  <button id="popup" onclick="window.open('/appointments', 'p', 'width=300,height=300')">popup</button>
  <button id="ask" onclick="this.textContent = 'asked ' + confirm('sure?')">ask</button>
  <iframe id="frame" srcdoc="<p id=inner>within</p>"></iframe></section>`;

function check(condition, what) {
  if (!condition) throw new Error(`not as it should be: ${what}`);
}

// The script as a string: what the page does is the same for every client.
const BUILD = `window.presses = 0; document.querySelector('#workshop')?.remove(); document.body.insertAdjacentHTML('beforeend', ${JSON.stringify(WORKSHOP)})`;

module.exports = { BUILD, check };
