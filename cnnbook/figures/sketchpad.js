import { button, clamp, h, mount, range, select, setAll } from "./toolkit.js";
import { PLOT_STYLE, box, image, path, picture, words } from "./plot.js";
import { convolve } from "./convolve.js";

// Half-precision numbers, little-endian, from base64; plain loops, since 61,706 of them come before the first draw.
const SCALE = range(32).map((exponent) => 2 ** (Math.max(exponent, 1) - 25));
export function decode(text) {
  const bytes = atob(text);
  const values = new Float64Array(bytes.length / 2);
  for (let index = 0; index < values.length; index += 1) {
    const bits = bytes.charCodeAt(2 * index) + 256 * bytes.charCodeAt(2 * index + 1);
    const exponent = (bits >> 10) & 31;
    const size = ((exponent ? 1024 : 0) + (bits & 1023)) * SCALE[exponent];
    values[index] = bits >> 15 ? -size : size;
  }
  return values;
}

const decodeAll = (weights) =>
  Object.fromEntries(Object.entries(weights).map(([name, text]) => [name, decode(text)]));

// Strokes, lists of [x, y] in the unit square, as an MNIST image: the drawing fills a box of 20 pixels, its centre of
// mass lies in the middle of 28x28, and ink falls off over one pixel at the pen's edge. Then LeNet's 32x32, from -0.1
// (paper) to 1.175 (ink).
const PEN = 1.25;
export function rasterise(strokes) {
  const all = strokes.flat();
  if (!all.length) return new Float64Array(1024).fill(-0.1);
  const [low, high] = [Math.min, Math.max].map((pick) =>
    [0, 1].map((axis) => pick(...all.map((point) => point[axis]))),
  );
  const scale = Math.min((20 - 2 * PEN) / Math.max(high[0] - low[0], high[1] - low[1], 1e-9), 200);
  const placed = strokes.map((stroke) =>
    stroke.map((point) => point.map((value, axis) => (value - (low[axis] + high[axis]) / 2) * scale + 13.5)),
  );
  const ink = (dx, dy) => {
    const pixels = new Float64Array(784);
    for (const stroke of placed) {
      stroke.forEach((point, index) => {
        const [ax, ay] = [point[0] + dx, point[1] + dy];
        const next = stroke[Math.min(index + 1, stroke.length - 1)];
        const [ux, uy] = [next[0] - point[0], next[1] - point[1]];
        const length = ux * ux + uy * uy;
        const [x0, x1] = [Math.min(ax, ax + ux), Math.max(ax, ax + ux)].map((x, end) =>
          clamp(Math.round(x + (end ? 3 : -3)), 0, 27),
        );
        const [y0, y1] = [Math.min(ay, ay + uy), Math.max(ay, ay + uy)].map((y, end) =>
          clamp(Math.round(y + (end ? 3 : -3)), 0, 27),
        );
        for (let y = y0; y <= y1; y += 1) {
          for (let x = x0; x <= x1; x += 1) {
            const share = length ? clamp(((x - ax) * ux + (y - ay) * uy) / length, 0, 1) : 0;
            const distance = Math.hypot(x - ax - share * ux, y - ay - share * uy);
            pixels[28 * y + x] = Math.max(pixels[28 * y + x], clamp(PEN + 0.5 - distance, 0, 1));
          }
        }
      });
    }
    return pixels;
  };
  const first = ink(0, 0);
  let [mass, mx, my] = [0, 0, 0];
  first.forEach((value, index) => {
    mass += value;
    mx += value * (index % 28);
    my += value * Math.floor(index / 28);
  });
  const centred = ink(13.5 - mx / mass, 13.5 - my / mass);
  const wide = new Float64Array(1024).fill(-0.1);
  centred.forEach((value, index) => {
    wide[32 * (Math.floor(index / 28) + 2) + (index % 28) + 2] = -0.1 + 1.275 * value;
  });
  return wide;
}

function halve(x, channels, side) {
  const half = side / 2;
  return Float64Array.from({ length: channels * half * half }, (_, index) => {
    const c = index % half;
    const r = Math.floor(index / half) % half;
    const at = (Math.floor(index / (half * half)) * side + 2 * r) * side + 2 * c;
    return (x[at] + x[at + 1] + x[at + side] + x[at + side + 1]) / 4;
  });
}

function connect(x, weight, bias) {
  return bias.map((offset, row) => {
    let sum = offset;
    for (let index = 0; index < x.length; index += 1) sum += x[index] * weight[row * x.length + index];
    return sum;
  });
}

const tanh = (x) => x.map(Math.tanh);

// Every map of the modern LeNet on one image of 32x32, and the ten probabilities.
export function lenet(image32, w) {
  const C1 = tanh(convolve(image32, 1, 32, w["C1.weight"], w["C1.bias"], 5));
  const S2 = halve(C1, 6, 28);
  const C3 = tanh(convolve(S2, 6, 14, w["C3.weight"], w["C3.bias"], 5));
  const S4 = halve(C3, 16, 10);
  const C5 = tanh(convolve(S4, 16, 5, w["C5.weight"], w["C5.bias"], 5));
  const F6 = tanh(connect(C5, w["F6.weight"], w["F6.bias"]));
  const logits = connect(F6, w["output.weight"], w["output.bias"]);
  const most = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - most));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return { C1, S2, C3, S4, C5, F6, logits, probabilities: powers.map((value) => value / total) };
}

// What the twin test calls: weights as they come, plain lists back.
export function classify(strokes, weights) {
  const pixels = rasterise(strokes);
  return Object.fromEntries(
    Object.entries({ image: pixels, ...lenet(pixels, decodeAll(weights)) }).map(([name, values]) => [
      name,
      Array.from(values),
    ]),
  );
}

// Maps side by side, `across` in a row, with a clear line between them.
function tiles(values, count, side, across) {
  const step = side > 1 ? side + 1 : 1;
  const [rows, columns] = [(Math.ceil(count / across) - 1) * step + side, (across - 1) * step + side];
  const sheet = range(rows).map(() => new Array(columns).fill(NaN));
  values.forEach((value, index) => {
    const map = Math.floor(index / (side * side));
    sheet[Math.floor(map / across) * step + (Math.floor(index / side) % side)][
      (map % across) * step + (index % side)
    ] = value;
  });
  return sheet;
}

const LAYERS = [
  ["C1", 6, 28, 6],
  ["S2", 6, 14, 6],
  ["C3", 16, 10, 8],
  ["S4", 16, 5, 8],
  ["C5", 120, 1, 40],
  ["F6", 84, 1, 42],
];

const CSS = `
.split { display: flex; flex-wrap: wrap; gap: 14px 20px; align-items: flex-start; }
.pad { border: 1px solid var(--edge); border-radius: 6px; background: var(--panel); display: block; }
.pad path { fill: none; stroke: var(--ink); stroke-width: 15; stroke-linecap: round; stroke-linejoin: round; }
.pad .pen { fill: var(--mark); stroke: none; }
.pad .up { fill: none; stroke: var(--mark); stroke-width: 2; }
.seen { width: 104px; }
.under { display: flex; gap: 8px; margin-top: 8px; }
@container (max-width: 499px) { .frame .maps { grid-template-columns: 1fr; gap: 3px; } }
.maps {
  display: grid; grid-template-columns: auto 1fr; gap: 8px 12px; align-items: center; margin-top: 14px; font-size:
  13px;
}
.maps .image { border: 0; max-width: 560px; }
.maps span { color: var(--muted); }
`;

export function render({ model, el }) {
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE + CSS,
    title: "Draw a digit, and LeNet reads it",
    keys: ["strokes", "weights"],
    draw,
    about:
      "Draw with mouse, finger or pen. With the keyboard: arrow keys move the pen, space sets it down and lifts it.",
  });
  const examples = ui.get("examples");
  const SIZE = 224;
  let weights = { coded: null };
  const pad = picture();
  setAll(pad.el, { class: "pad", role: "application", tabindex: 0 });
  pad.el.style.touchAction = "none";
  const bars = picture();
  const seen = image();
  const sheets = LAYERS.map(() => image());
  const example = select({
    label: "Example",
    options: [["", "choose a digit"], ...range(10).map((digit) => [digit, String(digit)])],
    onchange: (digit) => digit !== "" && ui.set({ strokes: examples[Number(digit)] }),
  });
  const hint = h("p", {
    class: "small muted",
    text: "Keyboard: arrow keys move the pen, space sets it down and lifts it, Delete clears.",
  });
  ui.body.append(
    h(
      "div",
      { class: "split" },
      h(
        "div",
        {},
        pad.el,
        h(
          "div",
          { class: "under" },
          button("Undo", () => ui.set({ strokes: ui.get("strokes").slice(0, -1) })),
          button("Clear", () => ui.set({ strokes: [] })),
        ),
      ),
      h(
        "div",
        {},
        example.el,
        h("p", { class: "small muted", text: "What LeNet gets" }),
        h("div", { class: "seen" }, seen.el),
      ),
      h("div", {}, bars.el),
    ),
    hint,
    h(
      "div",
      { class: "maps" },
      LAYERS.map(([name, count, side], index) => [
        h("span", { text: side > 1 ? `${name}: ${count} maps ${side}×${side}` : `${name}: ${count} units` }),
        sheets[index].el,
      ]),
    ),
  );

  let pen = { at: [0.5, 0.5], down: false, shown: false };
  const round = ([x, y]) => [x, y].map((value) => clamp(Math.round(value * 500) / 500, 0.02, 0.98));
  const begin = (point) => ui.set({ strokes: [...ui.get("strokes"), [round(point)]] });
  const extend = (point) => {
    const strokes = ui.get("strokes");
    ui.set({ strokes: [...strokes.slice(0, -1), [...strokes.at(-1), round(point)]] });
  };
  const spot = (event) => {
    const edge = pad.el.getBoundingClientRect();
    return [(event.clientX - edge.left) / edge.width, (event.clientY - edge.top) / edge.height];
  };
  pad.el.addEventListener("pointerdown", (event) => {
    pad.el.setPointerCapture(event.pointerId);
    pen = { ...pen, down: false, shown: false };
    begin(spot(event));
  });
  pad.el.addEventListener("pointermove", (event) => {
    if (pad.el.hasPointerCapture(event.pointerId)) extend(spot(event));
  });
  pad.el.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, -0.04], ArrowDown: [0, 0.04], ArrowLeft: [-0.04, 0], ArrowRight: [0.04, 0] }[
      event.key
    ];
    if (step) {
      pen = { ...pen, shown: true, at: round([pen.at[0] + step[0], pen.at[1] + step[1]]) };
      if (pen.down) extend(pen.at);
    } else if (event.key === " ") {
      pen = { ...pen, shown: true, down: !pen.down };
      if (pen.down) begin(pen.at);
    } else if (["Delete", "Backspace"].includes(event.key)) {
      pen = { ...pen, down: false };
      ui.set({ strokes: [] });
    } else return;
    event.preventDefault();
    ui.redraw();
  });
  pad.el.addEventListener("blur", () => {
    pen = { ...pen, down: false, shown: false };
    ui.redraw();
  });

  function draw() {
    const strokes = ui.get("strokes");
    const chosen = examples.findIndex((one) => JSON.stringify(one) === JSON.stringify(strokes));
    example.update(chosen < 0 ? "" : chosen);
    const lines = strokes.map((stroke) =>
      path(
        [...stroke, stroke.at(-1)].map(([x, y]) => [x * SIZE, y * SIZE]),
        "",
      ),
    );
    const nib = pen.shown
      ? `<circle class="${pen.down ? "pen" : "up"}" cx="${pen.at[0] * SIZE}" cy="${pen.at[1] * SIZE}" r="7"/>`
      : "";
    pad.draw(SIZE, SIZE, `Drawing pad, ${strokes.length} stroke${strokes.length === 1 ? "" : "s"}`, lines, nib);
    const pixels = rasterise(strokes);
    if (weights.coded !== ui.get("weights")) weights = { coded: ui.get("weights"), ...decodeAll(ui.get("weights")) };
    const all = lenet(pixels, weights);
    const unit = (value) => ((value + 0.1) / 1.275) * 2 - 1;
    seen.draw(
      range(32).map((row) => Array.from(pixels.subarray(32 * row, 32 * row + 32), unit)),
      "the drawing as 32 by 32 pixels",
    );
    LAYERS.forEach(([name, count, side, across], index) =>
      sheets[index].draw(tiles(all[name], count, side, across), `activations of ${name}`),
    );
    const best = all.probabilities.indexOf(Math.max(...all.probabilities));
    const percent = (value) => `${Math.round(100 * value)}%`;
    bars.draw(
      190,
      SIZE,
      strokes.length ? `It reads ${best}, ${percent(all.probabilities[best])}` : "Nothing drawn yet",
      strokes.length
        ? Array.from(all.probabilities, (value, digit) => {
            const y = 4 + digit * 22;
            return (
              words(2, y + 14, digit, digit === best ? "strong" : "") +
              box(20, y + 2, Math.max(1, 120 * value), 15, digit === best ? "h2" : "h1") +
              words(26 + 120 * value, y + 14, percent(value), digit === best ? "strong" : "tick")
            );
          })
        : words(2, 20, "Nothing drawn yet", "tick"),
    );
    ui.say(strokes.length ? `It reads ${best}, ${percent(all.probabilities[best])}.` : "Nothing drawn yet.");
  }

  draw();
  return ui.dispose;
}

export default { render };
