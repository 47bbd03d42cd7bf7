// All containers are held, as many as fit are shown.
const rates = [12.5, 18.75, 31, 44.25];
const containers = Array.from({ length: 5000 }, (_, id) => ({
  id,
  ...modules[id % modules.length](id, rates),
  terminal: `Pier ${id % 26}`,
  due: new Date(1.7e12 + id * 3.6e6),
  history: ['discharged', 'inspected', 'moved'].map((what, day) => ({ what, day, by: `crane ${(id + day) % 40}` })),
}));
const HEIGHT = 28;
const list = document.getElementById('list');
const inner = list.appendChild(document.createElement('p'));
inner.style.height = `${containers.length * HEIGHT}px`;
const shown = Array.from({ length: 18 }, () => list.appendChild(document.createElement('div')));
const show = () => shown.forEach((element, index) => {
  const container = containers[Math.floor(list.scrollTop / HEIGHT) + index];
  element.style.top = `${container.id * HEIGHT}px`;
  element.innerHTML = `${container.number} · ${container.terminal} · <span class="chip ${container.chip}">`
    + `${container.text}</span> · ${container.fee} · ${container.due.toLocaleString()} · ${container.history.at(-1).by}`;
});
list.addEventListener('scroll', show);
show();

// Charts that move, as those of real portals do.
const moves = Array.from({ length: 300 }, (_, hour) => 60 + 40 * Math.sin(hour / 20));
const draw = () => {
  moves.push(60 + 40 * Math.sin(performance.now() / 5000) + 10 * Math.random());
  moves.shift();
  const line = document.getElementById('moves').getContext('2d');
  line.clearRect(0, 0, 600, 240);
  line.beginPath();
  moves.forEach((count, hour) => line.lineTo(hour * 2, 220 - count * 1.6));
  line.stroke();
  const bars = document.getElementById('berths').getContext('2d');
  bars.clearRect(0, 0, 600, 240);
  moves.slice(-26).forEach((count, pier) => bars.fillRect(pier * 23, 230 - count * 2, 18, count * 2));
};
setInterval(draw, 500);
setInterval(() => (document.getElementById('clock').textContent = new Date().toLocaleTimeString()), 1000);
