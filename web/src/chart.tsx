// Line charts over time, in SVG, with the same numbers as text.

export interface Line { name: string; values: (number | null)[] }

const WIDTH = 600;
const HEIGHT = 160;

function path(values: (number | null)[], most: number): string {
  let drawing = false;
  return values.map((value, index) => {
    if (value === null) {
      drawing = false;
      return "";
    }
    const x = (index / Math.max(values.length - 1, 1)) * WIDTH;
    const y = HEIGHT - (value / most) * HEIGHT;
    const step = `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    drawing = true;
    return step;
  }).join("");
}

export function Chart({ title, lines, most, show, from }: {
  title: string; lines: Line[]; most?: number; show: (value: number) => string; from?: string;
}) {
  const values = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const top = Math.max(most ?? 0, ...values, 1);
  const latest = (line: Line) => line.values.at(-1) ?? null;
  const words = lines.map((line) => `${line.name} ${latest(line) === null ? "unknown" : show(latest(line)!)}`).join(", ");
  return (
    <figure class="chart">
      <figcaption>{title}</figcaption>
      <div class="plot">
        <span class="most" aria-hidden="true">{show(top)}</span>
        <svg viewBox={`0 -4 ${WIDTH} ${HEIGHT + 8}`} preserveAspectRatio="none" role="img" aria-label={`${title}: now ${words}`}>
          <path class="grid" d={`M0 0H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT}H${WIDTH}`} />
          {lines.map((line, index) => <path class={`line line-${index}`} d={path(line.values, top)} />)}
        </svg>
      </div>
      <p class="axis"><span>{from ? new Date(from).toLocaleTimeString() : ""}</span><span>now</span></p>
      <ul class="legend">{lines.map((line, index) => (
        <li><span class={`key line-${index}`} aria-hidden="true" /> {line.name}: {latest(line) === null ? "–" : show(latest(line)!)}</li>
      ))}</ul>
    </figure>
  );
}
