const rates = [12.5, 18.75, 31, 44.25];
document.getElementById('rows').append(...modules.map((module, index) => {
  const { number, fee, text, chip } = module(index, rates);
  const row = document.createElement('tr');
  row.innerHTML = `<td>${index + 1}</td><td class="number">${number}</td><td>Pier ${index % 26}</td>`
    + `<td><span class="chip ${chip}">${text}</span></td><td>${fee}</td>`;
  return row;
}));

for (let index = 0; index < 20; index += 1) {
  localStorage.setItem(`heavy.${index}`, `${index} `.repeat(250));
}

// Filled by the first visit, read by each.
const opening = indexedDB.open('heavy', 1);
opening.onupgradeneeded = () => {
  const store = opening.result.createObjectStore('containers', { keyPath: 'id' });
  store.createIndex('terminal', 'terminal');
  for (let id = 0; id < 300; id += 1) {
    store.put({ id, terminal: `Pier ${id % 26}`, notes: `${id} `.repeat(60), seen: new Date(id * 1e9) });
  }
};
opening.onsuccess = () => {
  const reading = opening.result.transaction('containers').objectStore('containers').getAll();
  reading.onsuccess = () => (document.getElementById('stored').textContent = reading.result.length);
};
