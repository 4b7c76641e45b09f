import { clamp, format, h, mount, power, random, range, setAll, slider } from "./toolkit.js";
import { PLOT_STYLE, axes, dot, path, picture, words } from "./plot.js";
import { VIEW, contours, errorAt, gradientAt } from "./surfaces.js";

// Uniform pushes in [-1, 1)^2, the same for every reader.
export function pushes(count) {
  const draw = random(11);
  return range(count).map(() => [2 * draw() - 1, 2 * draw() - 1]);
}

// Gradient descent from (-1.5, offset) on the saddle, each gradient pushed by `noise` times the next of the pushes.
export function walk({ offset, rate, noise }, kicks) {
  const seen = [[-1.5, offset]];
  for (const kick of kicks) {
    const w = seen.at(-1);
    const g = gradientAt("saddle", w);
    seen.push(w.map((value, axis) => value - rate * (g[axis] + noise * kick[axis])));
  }
  return seen;
}

// The first step at which the walk is clearly off the ridge, or null.
export function escape(seen) {
  const step = seen.findIndex(([, y]) => Math.abs(y) > 0.5);
  return step < 0 ? null : step;
}

// Close to the ridge each step multiplies y by 1 + rate.
export const predicted = ({ offset, rate }) => Math.log(0.5 / offset) / Math.log(1 + rate);

const STEPS = 400;
const KICKS = pushes(STEPS);

export function render({ model, el }) {
  const keys = ["offset", "rate", "noise", "step"];
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE,
    title: "A walk over a saddle",
    keys,
    draw,
    about:
      "Gradient descent that starts almost on the ridge stays near the saddle point for a long time, then leaves.",
  });
  const offset = slider({
    label: "Start off the ridge by",
    min: -16,
    max: -1,
    step: 1,
    show: power,
    onchange: (value) => ui.set({ offset: 10 ** value }),
  });
  const rate = slider({
    label: "Learning rate η",
    min: 0.05,
    max: 0.5,
    step: 0.05,
    onchange: (value) => ui.set({ rate: value }),
  });
  const noise = slider({
    label: "Noise in the gradient",
    min: -9,
    max: 0,
    step: 1,
    show: (value) => (value === -9 ? "none" : power(value)),
    onchange: (value) => ui.set({ noise: value === -9 ? 0 : 10 ** value }),
  });
  const step = slider({ label: "Step", min: 0, max: STEPS, step: 1, onchange: (value) => ui.set({ step: value }) });
  const map = picture();
  const history = picture();
  const verdict = h("p", {});
  ui.body.append(
    h("div", { class: "bar" }, offset.el, rate.el),
    h("div", { class: "bar" }, noise.el, step.el),
    h("div", { class: "halves" }, map.el, history.el),
    verdict,
  );
  let lines = { key: 0, data: "" };

  function draw() {
    const now = Object.fromEntries(keys.map((key) => [key, ui.get(key)]));
    offset.update(Math.round(Math.log10(now.offset)));
    rate.update(now.rate);
    noise.update(now.noise ? Math.round(Math.log10(now.noise)) : -9);
    step.update(now.step);
    const seen = walk(now, KICKS);
    const left = escape(seen);
    const width = ui.half();
    const height = Math.round((width - 40) * 0.75) + 50;
    const plane = axes({
      frame: [30, 14, width - 16, height - 36],
      x: VIEW.x,
      y: VIEW.y,
      xticks: [-2, -1, 0, 1, 2].map((value) => [value, format(value)]),
      yticks: [-1, 0, 1].map((value) => [value, format(value)]),
    });
    if (lines.key !== width) lines = { key: width, data: contours("saddle", plane.X, plane.Y) };
    const place = ([x, y]) => [plane.X(clamp(x, ...VIEW.x)), plane.Y(clamp(y, ...VIEW.y))];
    const points = seen.slice(0, now.step + 1).map(place);
    map.draw(
      width,
      height,
      `The saddle and the walk up to step ${now.step}`,
      plane.html,
      `<path class="faint" d="${lines.data}"/>`,
      words(plane.X(0) + 6, plane.Y(0) - 6, "saddle", "tick"),
      words(plane.X(0) + 6, plane.Y(1) + 4, "minimum", "tick"),
      words(plane.X(0) + 6, plane.Y(-1) + 4, "minimum", "tick"),
      path(points, "h1"),
      points.map((point) => dot(...point, 2.5, "h1")),
      dot(...points.at(-1), 6, "mark"),
    );
    const track = axes({
      frame: [40, 20, width - 16, height - 36],
      x: [0, STEPS],
      y: [-0.4, 1.2],
      xticks: [0, 100, 200, 300, 400].map((value) => [value, value]),
      yticks: [
        [-0.25, "−¼"],
        [0, "0"],
        [0.5, "0.5"],
        [1, "1"],
      ],
      yname: "error: it rests at 0, then falls to −¼",
      xname: "step",
    });
    history.draw(
      width,
      height,
      "The error, step by step",
      track.html,
      path(
        seen.map((w, index) => [track.X(index), track.Y(clamp(errorAt("saddle", w), -0.4, 1.2))]),
        "h1",
      ),
      dot(track.X(now.step), track.Y(clamp(errorAt("saddle", seen[now.step]), -0.4, 1.2)), 6, "mark"),
    );
    const guess = `Without noise, y grows by 1 + η a step: about ln(0.5 / ${power(Math.round(Math.log10(now.offset)))}) / ln(1 + ${format(now.rate)}) = ${Math.round(predicted(now))} steps.`;
    setAll(verdict, {
      text: `${left === null ? `After ${STEPS} steps it is still on the ridge.` : `It leaves the ridge at step ${left}.`} ${guess}`,
    });
    ui.say(verdict.textContent);
  }

  draw();
  return ui.dispose;
}

export default { render };
