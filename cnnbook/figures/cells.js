import { choice, format, h, mount, range, setAll, slider } from "./toolkit.js";
import { PLOT_STYLE, axes, dot, image, path, picture } from "./plot.js";

// Receptive fields and stimuli on a square of pixels around (0, 0); angles in degrees, 0 for vertical stripes.
export const SIDE = 31;
const WAVE = 8;
const WIDTH = 4.5;

// Coordinates across (u) and along (v) the stripes at the given angle.
function grid(angle, value) {
  const [cos, sin] = [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)];
  const middle = (SIDE - 1) / 2;
  return range(SIDE).map((row) =>
    range(SIDE).map((column) =>
      value((column - middle) * cos + (row - middle) * sin, (row - middle) * cos - (column - middle) * sin),
    ),
  );
}

// A Gabor function: a cosine of the given phase under a round bell. Its mean is taken off, so that even light gives
// 0, and it is scaled to length 1.
export function gabor(angle, phase) {
  const raw = grid(
    angle,
    (u, v) =>
      Math.exp(-(u * u + v * v) / (2 * WIDTH * WIDTH)) * Math.cos((2 * Math.PI * u) / WAVE + (phase * Math.PI) / 180),
  ).flat();
  const mean = raw.reduce((sum, value) => sum + value, 0) / raw.length;
  const length = Math.sqrt(raw.reduce((sum, value) => sum + (value - mean) ** 2, 0));
  return range(SIDE).map((row) => raw.slice(row * SIDE, (row + 1) * SIDE).map((value) => (value - mean) / length));
}

// Light of -1 (dark) to 1 (bright): stripes, or one bright bar, moved by `shift` of a wavelength across its
// direction.
export function stimulus({ kind, angle, shift }) {
  return grid(angle, (u) =>
    kind === "stripes"
      ? Math.cos(2 * Math.PI * (u / WAVE - shift))
      : 2 * Math.exp(-(((u - shift * WAVE) / 2) ** 2)) - 1,
  );
}

export const product = (a, b) =>
  a.reduce((sum, row, i) => row.reduce((line, value, j) => line + value * b[i][j], sum), 0);

// Simple cell: the rectified sum under an even field. Complex cell: the energy of an even and an odd one, whatever
// the phase.
export function responses(light, [even, odd]) {
  const [a, b] = [product(light, even), product(light, odd)];
  return { simple: Math.max(0, a), complex: Math.hypot(a, b) };
}

const CSS = `
.pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 150px)); gap: 12px; margin-bottom: 10px; }
.pictures p { font-size: 13px; color: var(--muted); margin: 0 0 4px; }
`;

export function render({ model, el }) {
  const keys = ["kind", "angle", "shift", "preferred"];
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE + CSS,
    title: "A simple and a complex cell",
    keys,
    draw,
    about:
      "A simple cell responds to a line of its direction at its position, a complex cell to the direction wherever in its field the line is.",
  });
  const kind = choice({
    label: "Light",
    options: [
      ["stripes", "Stripes"],
      ["bar", "Bar"],
    ],
    onchange: (value) => ui.set({ kind: value }),
  });
  const degrees = (value) => `${format(value)}°`;
  const shift = slider({
    label: "Light moved by (wavelengths)",
    min: -1,
    max: 1,
    step: 0.05,
    onchange: (value) => ui.set({ shift: value }),
  });
  const angle = slider({
    label: "Light turned by",
    min: 0,
    max: 180,
    step: 5,
    show: degrees,
    onchange: (value) => ui.set({ angle: value }),
  });
  const preferred = slider({
    label: "Cells' direction",
    min: 0,
    max: 180,
    step: 5,
    show: degrees,
    onchange: (value) => ui.set({ preferred: value }),
  });
  const pictures = [
    ["The light", image()],
    ["Even field", image()],
    ["Odd field", image()],
  ];
  const [byShift, byAngle] = [picture(), picture()];
  const verdict = h("p", {});
  ui.body.append(
    h("div", { class: "bar" }, kind.el, shift.el, angle.el, preferred.el),
    h(
      "div",
      { class: "pictures" },
      pictures.map(([name, { el: canvas }]) => h("div", {}, h("p", { text: name }), canvas)),
    ),
    h("div", { class: "halves" }, byShift.el, byAngle.el),
    h(
      "div",
      { class: "legend" },
      [
        ["Simple cell: rectified sum under the even field", "--hue-1"],
        ["Complex cell: root of even² + odd²", "--hue-2"],
      ].map(([text, hue]) => h("span", {}, h("i", { style: `background: var(${hue})` }), text)),
    ),
    verdict,
  );
  let fields = { angle: null, pair: [] };
  // A curve is worked out anew only when something else than the place on it has changed.
  const kept = { shift: { key: "" }, angle: { key: "" } };

  function draw() {
    const now = Object.fromEntries(keys.map((key) => [key, ui.get(key)]));
    kind.update(now.kind);
    shift.update(now.shift);
    angle.update(now.angle);
    preferred.update(now.preferred);
    if (fields.angle !== now.preferred)
      fields = { angle: now.preferred, pair: [gabor(now.preferred, 0), gabor(now.preferred, -90)] };
    const light = stimulus(now);
    const stretch = (field) => {
      const most = Math.max(...field.flat().map(Math.abs));
      return field.map((row) => row.map((value) => value / most));
    };
    pictures[0][1].draw(light, `${now.kind} turned by ${now.angle} degrees`);
    pictures[1][1].draw(stretch(fields.pair[0]), `even field at ${now.preferred} degrees`);
    pictures[2][1].draw(stretch(fields.pair[1]), `odd field at ${now.preferred} degrees`);
    const answer = responses(light, fields.pair);
    const width = ui.half();
    const curve = (plot, along, values, xticks, xname, what) => {
      const key = JSON.stringify({ ...now, [along]: null });
      if (kept[along].key !== key)
        kept[along] = {
          key,
          answers: values.map((value) => responses(stimulus({ ...now, [along]: value }), fields.pair)),
        };
      const chart = axes({
        frame: [28, 22, width - 16, 174],
        x: [values[0], values.at(-1)],
        y: [0, 12],
        xticks,
        yticks: [0, 4, 8, 12].map((value) => [value, value]),
        yname: "response",
        xname,
      });
      const line = (cell, hue) =>
        path(
          values.map((value, index) => [chart.X(value), chart.Y(kept[along].answers[index][cell])]),
          hue,
        );
      const mark = chart.X(now[along]);
      plot.draw(
        width,
        212,
        what,
        chart.html,
        line("simple", "h1"),
        line("complex", "h2"),
        path(
          [
            [mark, 22],
            [mark, 174],
          ],
          "mark dashed",
        ),
        dot(mark, chart.Y(answer.simple), 5, "h1"),
        dot(mark, chart.Y(answer.complex), 5, "h2"),
      );
    };
    curve(
      byShift,
      "shift",
      range(41).map((step) => -1 + step / 20),
      [-1, -0.5, 0, 0.5, 1].map((value) => [value, format(value)]),
      "light moved by",
      "Responses as the light moves: the simple cell's goes up and down, the complex cell's changes little with stripes",
    );
    curve(
      byAngle,
      "angle",
      range(37).map((step) => step * 5),
      [0, 45, 90, 135, 180].map((value) => [value, `${value}°`]),
      "light turned by",
      "Responses as the light turns: both fall away from the cells' direction",
    );
    const short = (value) => format(Math.round(100 * value) / 100);
    setAll(verdict, { text: `Simple cell ${short(answer.simple)}, complex cell ${short(answer.complex)}.` });
    ui.say(verdict.textContent);
  }

  draw();
  return ui.dispose;
}

export default { render };
