// The appointment in three phases, with controls as component libraries of the Angular Material kind build
// them: what is chosen from stands in an overlay at the end of the body, comes a moment later and moves.
const TERMINALS = ['Pier T', 'Pier T North', 'West Basin', 'Middle Harbour'];
const TIMES = Array.from({ length: 32 }, (_, half) =>
  `${String(6 + Math.floor(half / 2)).padStart(2, '0')}:${half % 2 ? '30' : '00'}`);
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September',
  'October', 'November', 'December'];
// Days are told from here, so that recordings stay true.
const FIRST_DAY = new Date(2031, 2, 10);
const SLOW_MS = 90;

const byId = (id) => document.getElementById(id);
const overlays = document.querySelector('.cdk-overlay-container');
const chosen = { terminal: null, container: null, plates: [], date: null, time: null };

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function close() {
  overlays.replaceChildren();
  document.querySelectorAll('[aria-expanded]').forEach((trigger) => trigger.setAttribute('aria-expanded', 'false'));
}

function open(trigger, panel, hasBackdrop = true) {
  close();
  const box = trigger.getBoundingClientRect();
  const pane = element('div', { class: 'cdk-overlay-pane' }, panel);
  pane.style.left = `${box.left + scrollX}px`;
  pane.style.top = `${box.bottom + scrollY}px`;
  pane.style.minWidth = `${box.width}px`;
  if (hasBackdrop) {
    const backdrop = element('div', { class: 'cdk-overlay-backdrop' });
    backdrop.addEventListener('click', close);
    overlays.append(backdrop);
  }
  overlays.append(pane);
  trigger.setAttribute('aria-expanded', 'true');
  return pane;
}

function option(text, choose) {
  const made = element('mat-option', { role: 'option', 'aria-selected': 'false' }, text);
  made.addEventListener('click', () => { close(); choose(text); check(); });
  return made;
}

// A list that opens a moment after the click, and loads more of itself as it is scrolled.
function select(trigger, texts, choose) {
  trigger.addEventListener('click', () => setTimeout(() => {
    const panel = element('div', { class: 'mat-mdc-select-panel', role: 'listbox' });
    const pane = open(trigger, panel);
    let shown = 0, isLoading = false;
    const more = () => {
      texts.slice(shown, shown + 8).forEach((text) => panel.append(option(text, (text) => {
        trigger.textContent = text;
        choose(text);
      })));
      shown += 8;
      isLoading = false;
    };
    pane.addEventListener('scroll', () => {
      if (isLoading || shown >= texts.length || pane.scrollTop + pane.clientHeight < pane.scrollHeight - 8) return;
      isLoading = true;
      setTimeout(more, SLOW_MS);
    });
    more();
  }, SLOW_MS));
}

select(byId('terminal'), TERMINALS, (text) => { chosen.terminal = text; });
select(byId('time'), TIMES, (text) => { chosen.time = text; });

// What is typed counts only once it is chosen from what the server suggests.
let lookUp;
byId('container').addEventListener('input', (event) => {
  chosen.container = null;
  check();
  clearTimeout(lookUp);
  lookUp = setTimeout(async () => {
    const answer = await fetch(`/api/containers?like=${encodeURIComponent(event.target.value)}`);
    const panel = element('div', { class: 'mat-mdc-autocomplete-panel', role: 'listbox' });
    (await answer.json()).forEach((number) => panel.append(option(number, (number) => {
      event.target.value = number;
      chosen.container = number;
    })));
    open(event.target, panel, false);
  }, SLOW_MS);
});

byId('plate').addEventListener('keydown', (event) => {
  const plate = event.target.value.trim();
  if (event.key !== 'Enter' || !plate) return;
  const remove = element('button', { type: 'button', 'aria-label': `Remove ${plate}` }, '×');
  const chip = element('mat-chip-row', { role: 'row' }, plate, remove);
  remove.addEventListener('click', () => {
    chosen.plates = chosen.plates.filter((known) => known !== plate);
    chip.remove();
    check();
  });
  chosen.plates.push(plate);
  event.target.before(chip);
  event.target.value = '';
  check();
});

function calendar(trigger, year, month) {
  const name = `${MONTHS[month]} ${year}`;
  const move = (label, by) => {
    const button = element('button', { type: 'button', class: 'plain', 'aria-label': label }, by < 0 ? '‹' : '›');
    button.addEventListener('click', () => {
      const to = new Date(year, month + by, 1);
      calendar(trigger, to.getFullYear(), to.getMonth());
    });
    return button;
  };
  const body = element('div', { class: 'body' });
  const days = new Date(year, month + 1, 0).getDate();
  for (let day = 1; day <= days; day++) {
    const label = `${day} ${name}`;
    const cell = element('button', { type: 'button', class: 'mat-calendar-body-cell', 'aria-label': label }, String(day));
    cell.disabled = new Date(year, month, day) < FIRST_DAY;
    cell.addEventListener('click', () => {
      close();
      chosen.date = label;
      byId('date').value = label;
      check();
    });
    body.append(cell);
  }
  const header = element('div', { class: 'row' }, move('Previous month', -1), element('b', {}, name), move('Next month', 1));
  open(trigger, element('mat-calendar', {}, header, body));
}
byId('open-calendar').addEventListener('click', (event) => {
  const trigger = event.currentTarget;
  setTimeout(() => calendar(trigger, FIRST_DAY.getFullYear(), FIRST_DAY.getMonth()), SLOW_MS);
});

function check() {
  byId('to-truck').disabled = !(chosen.terminal && chosen.container);
  byId('to-time').disabled = chosen.plates.length === 0;
  byId('book').disabled = !(chosen.date && chosen.time);
}

function show(draft) {
  document.body.dataset.phase = draft.phase;
  if (draft.phase !== 4) return;
  byId('confirmation').textContent = draft.number;
  byId('pass').href = `/appointments/${draft.number}/pass`;
  byId('summary').tBodies[0].replaceChildren(...draft.fields.map(([name, value]) =>
    element('tr', {}, element('td', {}, name), element('td', {}, value))));
}

async function send(path, body) {
  byId('problem').textContent = '';
  const answer = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const result = await answer.json();
  if (answer.ok) show(result); else byId('problem').textContent = result.error;
}

byId('to-truck').addEventListener('click', () => send('/api/appointment/container', {
  terminal: chosen.terminal, container: chosen.container, own_chassis: byId('own-chassis').checked,
}));
byId('to-time').addEventListener('click', () => send('/api/appointment/truck', { truck_plate: chosen.plates.join(' ') }));
byId('book').addEventListener('click', (event) => {
  event.target.disabled = true;
  send('/api/appointment/time', { date: chosen.date, time: chosen.time });
});
fetch('/api/appointment').then((answer) => answer.json()).then(show);
