import { button, choice, format, grouped, h, mount, slider } from "./toolkit.js";
import { PLOT_STYLE, axes, box, picture, words, reachable } from "./plot.js";

// Weights and biases of one layer with `filters` units at every position of a (channels, side, side) input, as many
// outputs as inputs in space: every unit sees all of the input; every unit its own window; all positions share
// one window a filter. The border is left out of account, as if the windows could reach over it.
export function counts({ side, channels, filters, kernel, bias }) {
  const units = side * side * filters;
  const window = kernel * kernel * channels;
  const own = bias ? 1 : 0;
  return {
    full: units * (side * side * channels + own),
    local: units * (window + own),
    shared: filters * (window + own),
  };
}

// 1,000,000 as "1 M", 4096 bytes as "4.1 kB".
export function scaled(value, unit = "") {
  const steps = ["", unit ? "k" : "K", "M", "G", "T", "P", "E"];
  const step = Math.min(steps.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3 + 1e-12)));
  const short = value / 1000 ** step;
  return `${short >= 100 || step === 0 ? Math.round(short) : format(short, 1)} ${steps[step]}${unit}`.trim();
}

const SIDES = [8, 16, 28, 32, 64, 128, 224, 256, 512, 1000];
const NAMES = { full: "Fully connected", local: "Local", shared: "Local and shared" };

const CSS = `
.plot .h1 { fill: var(--hue-1); } .plot .h2 { fill: var(--hue-2); } .plot .h3 { fill: var(--hue-3); }
td, th { vertical-align: top; }
`;

export function render({ model, el }) {
  const keys = ["side", "channels", "filters", "kernel", "bias"];
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE + CSS,
    title: "How many parameters?",
    keys,
    draw,
    about:
      "The parameters of one layer: fully connected, locally connected, and with weights shared between all positions, as a convolution has them.",
  });
  const side = slider({
    label: "Image side",
    min: 0,
    max: SIDES.length - 1,
    step: 1,
    show: (index) => String(SIDES[index]),
    onchange: (index) => ui.set({ side: SIDES[index] }),
  });
  const filters = slider({
    label: "Units at each position (filters)",
    min: 1,
    max: 256,
    step: 1,
    onchange: (value) => ui.set({ filters: value }),
  });
  const kernel = slider({
    label: "Window side",
    min: 1,
    max: 11,
    step: 1,
    onchange: (value) => ui.set({ kernel: value }),
  });
  const channels = choice({
    label: "Input",
    options: [
      [1, "Grey"],
      [3, "RGB"],
    ],
    onchange: (value) => ui.set({ channels: value }),
  });
  const bias = choice({
    label: "Biases",
    options: [
      [false, "No"],
      [true, "Yes"],
    ],
    onchange: (value) => ui.set({ bias: value }),
  });
  const lecture = button("The lecture's image: 1000×1000, 10×10 windows, 1 unit a position", () =>
    ui.set({ side: 1000, channels: 1, filters: 1, kernel: 10, bias: false }),
  );
  const drawing = picture();
  const table = h("div", { class: "scroll" });
  ui.body.append(
    h("div", { class: "bar" }, side.el, filters.el, kernel.el),
    h("div", { class: "bar" }, channels.el, bias.el, lecture),
    drawing.el,
    table,
  );

  function draw() {
    const now = Object.fromEntries(keys.map((key) => [key, ui.get(key)]));
    const count = counts(now);
    const nearest = SIDES.reduce(
      (best, value, index) => (Math.abs(value - now.side) < Math.abs(SIDES[best] - now.side) ? index : best),
      0,
    );
    side.update(nearest);
    filters.update(now.filters);
    kernel.update(now.kernel);
    channels.update(now.channels);
    bias.update(now.bias);
    const width = ui.width();
    const top = 16;
    const ticks = [0, 3, 6, 9, 12, 15].map((power) => [
      power,
      power ? `10${"⁰¹²³⁴⁵⁶⁷⁸⁹"[Math.floor(power / 10)].replace("⁰", "")}${"⁰¹²³⁴⁵⁶⁷⁸⁹"[power % 10]}` : "1",
    ]);
    const scale = axes({ frame: [4, top, width - 46, top + 132], x: [0, 16], y: [0, 1], xticks: ticks });
    const bars = Object.entries(NAMES).map(([key, name], index) => {
      const y = top + 6 + index * 43;
      const length = Math.max(2, scale.X(Math.log10(Math.max(1, count[key]))) - 4);
      return (
        words(8, y + 12, name) +
        box(4, y + 17, length, 16, `h${index + 1}`) +
        words(length + 10, y + 30, scaled(count[key]), "strong")
      );
    });
    const spoken = Object.entries(NAMES)
      .map(([key, name]) => `${name}: ${grouped(count[key])}`)
      .join("; ");
    drawing.draw(width, top + 155, `Parameters on a logarithmic scale. ${spoken}.`, scale.html, bars);
    const [n, c, k] = [now.side, now.channels, now.filters];
    const places = `${n}²·${k}`;
    const plus = now.bias ? " + 1" : "";
    const wrap = (text) => (now.bias ? `(${text}${plus})` : text);
    const rules = {
      full: `${places} · ${wrap(`${n}²·${c}`)}`,
      local: `${places} · ${wrap(`${now.kernel}²·${c}`)}`,
      shared: `${k} · ${wrap(`${now.kernel}²·${c}`)}`,
    };
    table.replaceChildren(
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Connection", "units · weights each", "parameters", "in 32 bits"].map((text) =>
              h("th", { scope: "col", text }),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          Object.entries(NAMES).map(([key, name]) =>
            h(
              "tr",
              {},
              h("th", { scope: "row", text: name }),
              h("td", { text: rules[key] }),
              h("td", { text: grouped(count[key]) }),
              h("td", { text: scaled(4 * count[key], "B") }),
            ),
          ),
        ),
      ),
    );
    reachable(table, "Parameters, worked out");
    ui.say(`${spoken}.`);
  }

  draw();
  return ui.dispose;
}

export default { render };
