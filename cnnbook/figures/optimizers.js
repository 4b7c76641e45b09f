import { button, choice, clamp, format, h, mount, scientific, setAll, slider } from "./toolkit.js";
import { PLOT_STYLE, axes, dot, drag, legend, path, picture } from "./plot.js";
import { SURFACES, VIEW, contours, errorAt, gradientAt } from "./surfaces.js";

// Each rule is one step: the weights w, their gradient g, what it remembers (changed in place), and its learning
// rate. The same rules as cnnlib.optim's, under the same names, with the settings that are written here; a title is
// how the text spells a rule's name.
const each = (w, step) => w.map((_, index) => step(index));
const kept = (memory, name) => (memory[name] ??= [0, 0]);
export const RULES = {
  SGD: { rate: 0.04, hue: "--hue-1", step: (w, g, _, rate) => each(w, (i) => w[i] - rate * g[i]) },
  Momentum: {
    rate: 0.02,
    hue: "--hue-2",
    step(w, g, memory, rate) {
      const v = kept(memory, "v");
      return each(w, (i) => w[i] + (v[i] = 0.9 * v[i] - rate * g[i]));
    },
  },
  Nesterov: {
    rate: 0.02,
    hue: "--hue-3",
    step(w, g, memory, rate) {
      const b = kept(memory, "b");
      return each(w, (i) => {
        b[i] = 0.9 * b[i] + g[i];
        return w[i] - rate * (g[i] + 0.9 * b[i]);
      });
    },
  },
  Adagrad: {
    title: "AdaGrad",
    rate: 0.3,
    hue: "--hue-4",
    step(w, g, memory, rate) {
      const G = kept(memory, "G");
      return each(w, (i) => w[i] - (rate * g[i]) / (Math.sqrt((G[i] += g[i] * g[i])) + 1e-10));
    },
  },
  RMSprop: {
    title: "RMSProp",
    rate: 0.03,
    hue: "--hue-5",
    step(w, g, memory, rate) {
      const s = kept(memory, "s");
      return each(w, (i) => w[i] - (rate * g[i]) / (Math.sqrt((s[i] = 0.9 * s[i] + 0.1 * g[i] * g[i])) + 1e-8));
    },
  },
  Adam: {
    rate: 0.1,
    hue: "--hue-6",
    step(w, g, memory, rate) {
      const [m, v] = [kept(memory, "m"), kept(memory, "v")];
      const t = (memory.t = (memory.t ?? 0) + 1);
      return each(w, (i) => {
        m[i] = 0.9 * m[i] + 0.1 * g[i];
        v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
        return w[i] - ((rate / (1 - 0.9 ** t)) * m[i]) / (Math.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-8);
      });
    },
  },
};

const titled = (name) => RULES[name].title ?? name;

// All the points that a rule visits, the start first; it ends early once it has left every sensible range.
export function run(name, { surface, factor, start }, steps) {
  const rule = RULES[name];
  const memory = {};
  const seen = [start];
  while (seen.length <= steps && Math.max(...seen.at(-1).map(Math.abs)) < 1e6) {
    seen.push(rule.step(seen.at(-1), gradientAt(surface, seen.at(-1)), memory, rule.rate * factor));
  }
  return seen;
}

const STEPS = 200;

export function render({ model, el }) {
  const keys = ["surface", "factor", "start", "step", "chosen"];
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE,
    title: "A race of optimisers",
    keys,
    draw,
    about: "The same surface and the same start, different rules, their rates not tuned. Drag the start in the map.",
  });
  const surfaces = choice({
    label: "Surface",
    options: Object.keys(SURFACES).map((name) => [name, name[0].toUpperCase() + name.slice(1)]),
    onchange: (surface) => ui.set({ surface, start: SURFACES[surface].start }),
  });
  const step = slider({
    label: "Step",
    min: 0,
    max: STEPS,
    step: 1,
    onchange: (value) => {
      stop();
      ui.set({ step: value });
    },
  });
  const factor = slider({
    label: "All learning rates times",
    min: -4,
    max: 3,
    step: 0.5,
    show: (power) => format(2 ** power),
    onchange: (power) => ui.set({ factor: 2 ** power }),
  });
  const across = slider({
    label: "Start x",
    min: -2,
    max: 2,
    step: 0.05,
    onchange: (x) => ui.set({ start: [x, ui.get("start")[1]] }),
  });
  const up = slider({
    label: "Start y",
    min: -1.5,
    max: 1.5,
    step: 0.05,
    onchange: (y) => ui.set({ start: [ui.get("start")[0], y] }),
  });
  const names = legend(
    Object.entries(RULES).map(([name, { hue }]) => [titled(name), hue]),
    (title, on) =>
      ui.set({
        chosen: Object.keys(RULES).filter((one) => (titled(one) === title ? on : ui.get("chosen").includes(one))),
      }),
  );
  const playButton = button("▶ Play", play);
  const map = picture();
  const history = picture();
  const verdict = h("p", {});
  ui.body.append(
    h("div", { class: "bar" }, surfaces.el, playButton, step.el),
    h("div", { class: "bar" }, factor.el, across.el, up.el),
    names.el,
    h("div", { class: "halves" }, map.el, history.el),
    verdict,
  );
  let scale = null;
  let halt = null;
  let lines = { key: "", data: "" };
  drag(
    map.el,
    ([x, y]) =>
      scale &&
      ui.set({
        start: [
          [x, VIEW.x, 0],
          [y, VIEW.y, 1],
        ].map(([at, [low, high], axis]) => clamp(Math.round(scale.back[axis](at) * 20) / 20, low, high)),
      }),
    "pan-y",
  );

  function stop() {
    halt?.();
    halt = null;
    setAll(playButton, { text: "▶ Play" });
  }
  function play() {
    if (halt) return stop();
    if (ui.get("step") >= STEPS) ui.set({ step: 0 });
    setAll(playButton, { text: "⏸ Pause" });
    let time = ui.get("step");
    halt = ui.animate((elapsed) => {
      time += elapsed * 0.03;
      ui.set({ step: Math.min(STEPS, Math.floor(time)) });
      if (time >= STEPS) stop();
    });
  }

  function draw() {
    const now = Object.fromEntries(keys.map((key) => [key, ui.get(key)]));
    surfaces.update(now.surface);
    step.update(now.step);
    factor.update(Math.log2(now.factor));
    across.update(now.start[0]);
    up.update(now.start[1]);
    names.update(now.chosen.map(titled));
    const width = ui.half();
    const height = Math.round((width - 46) * 0.75) + 50;
    const frame = [30, 14, width - 16, height - 36];
    const plane = axes({
      frame,
      x: VIEW.x,
      y: VIEW.y,
      xticks: [-2, -1, 0, 1, 2].map((value) => [value, format(value)]),
      yticks: [-1, 0, 1].map((value) => [value, format(value)]),
    });
    scale = { back: [(x) => -2 + ((x - 30) / (width - 46)) * 4, (y) => 1.5 - ((y - 14) / (height - 50)) * 3] };
    if (lines.key !== `${now.surface} ${width}`)
      lines = { key: `${now.surface} ${width}`, data: contours(now.surface, plane.X, plane.Y) };

    const runs = now.chosen.map((name) => [name, run(name, now, STEPS)]);
    const hue = (name) => `h${Object.keys(RULES).indexOf(name) + 1}`;
    const least = SURFACES[now.surface].least;
    const clip = `<defs><clipPath id="view"><rect x="${frame[0]}" y="${frame[1]}" width="${frame[2] - frame[0]}" height="${frame[3] - frame[1]}"/></clipPath></defs>`;
    const tracks = runs.map(([name, seen]) => {
      const points = seen
        .slice(0, now.step + 1)
        .map((w) => [clamp(plane.X(w[0]), -999, 1999), clamp(plane.Y(w[1]), -999, 1999)]);
      return path(points, hue(name)) + dot(...points.at(-1), 4.5, hue(name));
    });
    map.draw(
      width,
      height,
      `The ${now.surface} with the tracks of ${now.chosen.map(titled).join(", ") || "no optimiser"}`,
      clip,
      plane.html,
      `<g clip-path="url(#view)"><path class="faint" d="${lines.data}"/>${tracks.join("")}</g>`,
      dot(plane.X(now.start[0]), plane.Y(now.start[1]), 7, "mark"),
    );

    const floor = -8;
    const above = (w) => clamp(Math.log10(Math.max(errorAt(now.surface, w) - least, 10 ** floor)), floor, 2);
    const track = axes({
      frame: [44, 20, width - 16, height - 36],
      x: [0, STEPS],
      y: [floor, 2],
      xticks: [0, 50, 100, 150, 200].map((value) => [value, value]),
      yticks: [
        [-8, "10⁻⁸"],
        [-6, "10⁻⁶"],
        [-4, "10⁻⁴"],
        [-2, "10⁻²"],
        [0, "1"],
        [2, "100"],
      ],
      yname: "error above the least",
      xname: "step",
    });
    history.draw(
      width,
      height,
      "The error of each, step by step",
      track.html,
      runs.map(([name, seen]) =>
        path(
          seen.slice(0, now.step + 1).map((w, index) => [track.X(index), track.Y(above(w))]),
          hue(name),
        ),
      ),
      path(
        [
          [track.X(now.step), 20],
          [track.X(now.step), height - 36],
        ],
        "mark dashed",
      ),
    );

    const order = runs
      .map(([name, seen]) => [name, errorAt(now.surface, seen[Math.min(now.step, seen.length - 1)]) - least])
      .sort((a, b) => a[1] - b[1]);
    const told = order
      .map(([name, error]) => `${titled(name)} ${Number.isFinite(error) && error < 1e3 ? scientific(error) : "diverged"}`)
      .join(", ");
    setAll(verdict, { text: `After ${now.step} steps, error above the least: ${told || "nobody runs"}.` });
    ui.say(verdict.textContent);
  }

  draw();
  return () => {
    stop();
    ui.dispose();
  };
}

export default { render };
