// Shows /openapi.json. Text only ever goes in as text, never as markup.
const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

const show = (title, note, details) => {
  const summary = element('summary', '', title, ' ', element('span', note ?? ''));
  return element('details', '', summary, element('pre', JSON.stringify(details, null, 2)));
};

const render = (api) => {
  document.getElementById('about').textContent = `${api.info.description} Version ${api.info.version}.`;
  const routes = document.getElementById('routes');
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      const verb = element('span', method.toUpperCase());
      verb.className = 'method';
      const title = element('span', '', verb, element('code', path));
      const { parameters, requestBody, responses } = route;
      routes.append(show(title, route.summary, { parameters, requestBody, responses }));
    }
  }
  const types = document.getElementById('types');
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    types.append(show(element('code', name), '', schema));
  }
};

const load = async () => {
  const answer = await fetch(`/openapi.json${location.search}`);
  if (!answer.ok) throw new Error((await answer.json()).error);
  render(await answer.json());
};

load().catch((error) => {
  document.getElementById('about').textContent = `The document could not be loaded: ${error.message}`;
});
