import { clamp, format, h, mount, range, setAll, slider } from "./toolkit.js";
import { PLOT_STYLE, axes, dot, drag, path, picture, words } from "./plot.js";

// Gradient descent w - rate * dE/dw on E(w) = curvature w^2 / 2, `steps` times: all the w on the way.
export function descend({ rate, curvature, start }, steps) {
  const seen = [start];
  for (let step = 0; step < steps; step += 1) seen.push(seen[step] - rate * curvature * seen[step]);
  return seen;
}

// What becomes of it, by the product of rate and curvature: each step multiplies w by 1 - product.
export function regime(product) {
  if (product === 0) return "still";
  if (product < 1) return "creeps";
  if (product === 1) return "one";
  if (product < 2) return "oscillates";
  return product === 2 ? "cycles" : "diverges";
}

const SAYS = {
  still: "A learning rate of 0 goes nowhere.",
  creeps: "Below 1/λ: it comes nearer from one side only.",
  one: "At 1/λ: one step, and it is there.",
  oscillates: "Between 1/λ and 2/λ: it jumps across the minimum at every step and still converges.",
  cycles: "At 2/λ: it jumps back and forth for ever, at the same height.",
  diverges: "Above 2/λ: every step ends higher than it began. It diverges.",
};
const STEPS = 20;
const FAR = 2.4;

export function render({ model, el }) {
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE,
    title: "The learning rate on a quadratic",
    keys: ["rate", "curvature", "start"],
    draw,
    about:
      "Gradient descent on a parabola of curvature λ. Drag the rate along its axis, and the start along the parabola.",
  });
  const rate = slider({
    label: "Learning rate η",
    min: 0,
    max: 2.5,
    step: 0.01,
    onchange: (value) => ui.set({ rate: value }),
  });
  const curvature = slider({
    label: "Curvature λ",
    min: 0.5,
    max: 4,
    step: 0.1,
    onchange: (value) => ui.set({ curvature: value }),
  });
  const start = slider({
    label: "Start w₀",
    min: -2,
    max: 2,
    step: 0.1,
    onchange: (value) => ui.set({ start: value }),
  });
  const ruler = picture();
  const parabola = picture();
  const history = picture();
  const verdict = h("p", {});
  const rule = h("p", { class: "math" });
  ui.body.append(
    h("div", { class: "bar" }, rate.el, curvature.el, start.el),
    ruler.el,
    h("div", { class: "halves" }, parabola.el, history.el),
    verdict,
    rule,
  );
  const scales = {};
  drag(ruler.el, ([x]) => ui.set({ rate: clamp(Math.round(scales.rate(x) * 100) / 100, 0, 2.5) }), "pan-y");
  drag(parabola.el, ([x]) => ui.set({ start: clamp(Math.round(scales.start(x) * 10) / 10, -2, 2) }), "pan-y");

  function draw() {
    const now = { rate: ui.get("rate"), curvature: ui.get("curvature"), start: ui.get("start") };
    rate.update(now.rate);
    curvature.update(now.curvature);
    start.update(now.start);
    const product = now.rate * now.curvature;
    const kind = regime(Math.abs(product - 1) < 1e-9 ? 1 : Math.abs(product - 2) < 1e-9 ? 2 : product);
    const seen = descend(now, STEPS);
    const full = ui.width();
    const width = ui.half();

    const left = 12;
    const R = (value) => left + (value / 2.5) * (full - 2 * left);
    scales.rate = (x) => ((x - left) / (full - 2 * left)) * 2.5;
    const marks = [
      [1 / now.curvature, "1/λ"],
      [2 / now.curvature, "2/λ"],
    ]
      .filter(([value]) => value <= 2.5)
      .map(
        ([value, text]) =>
          path(
            [
              [R(value), 22],
              [R(value), 42],
            ],
            "mark thick",
          ) + words(R(value), 16, `${text} = ${format(value)}`, "strong", value > 2.2 ? "end" : "middle"),
      );
    ruler.draw(
      full,
      62,
      `Learning rate ${format(now.rate)}, ${format(product)} divided by λ`,
      path(
        [
          [left, 32],
          [full - left, 32],
        ],
        "axis thick",
      ),
      [0, 0.5, 1, 1.5, 2, 2.5].map((value) => words(R(value), 57, value, "tick", "middle")),
      marks,
      dot(R(now.rate), 32, 9, "mark"),
    );

    const E = (w) => (now.curvature * w * w) / 2;
    const top = Math.max(E(FAR), 1e-9);
    const bowl = axes({
      frame: [30, 24, width - 16, 236],
      x: [-FAR, FAR],
      y: [0, top],
      xticks: [-2, -1, 0, 1, 2].map((value) => [value, format(value)]),
      yticks: [0, 1, 2, 3].map((part) => [(top * part) / 3, format((top * part) / 3, 1)]),
      yname: "E(w) = λw²/2",
    });
    scales.start = (x) => -FAR + ((x - 30) / (width - 46)) * 2 * FAR;
    const inside = seen.filter((_, index) => seen.slice(0, index + 1).every((one) => Math.abs(one) <= FAR));
    const place = (w) => [bowl.X(w), bowl.Y(E(w))];
    parabola.draw(
      width,
      272,
      `The parabola and the first steps: ${inside
        .slice(0, 6)
        .map((w) => format(w))
        .join(", ")}`,
      bowl.html,
      path(
        range(81).map((index) => place(-FAR + (index * FAR) / 40)),
        "h1",
      ),
      path(inside.map(place), "mark"),
      inside.slice(1).map((w) => dot(...place(w), 3.5, "mark")),
      dot(...place(now.start), 7, "mark"),
    );

    const logs = seen.map((w) => Math.log10(Math.max(Math.abs(w), 1e-4)));
    const track = axes({
      frame: [44, 24, width - 16, 236],
      x: [0, STEPS],
      y: [-4, 3],
      xticks: [0, 5, 10, 15, 20].map((value) => [value, value]),
      yticks: [
        [-4, "≤10⁻⁴"],
        [-2, "10⁻²"],
        [0, "1"],
        [2, "100"],
      ],
      yname: "distance |w| from the minimum",
    });
    const shown = logs
      .map((log, index) => [track.X(index), track.Y(clamp(log, -4, 3))])
      .filter((_, index) => index === 0 || logs[index - 1] < 3);
    history.draw(
      width,
      272,
      `Distance from the minimum after ${STEPS} steps: ${format(Math.abs(seen.at(-1)), 4)}`,
      track.html,
      path(shown, "h2"),
      shown.map((point) => dot(...point, 3.5, "h2")),
    );

    setAll(verdict, { text: SAYS[kind] });
    rule.innerHTML = `w ← w − ηλw = <b>(1 − ${format(now.rate)}·${format(now.curvature)})</b> w = <b>${format(1 - product, 3)}</b> w`;
    ui.say(`${SAYS[kind]} Each step multiplies w by ${format(1 - product, 3)}.`);
  }

  draw();
  return ui.dispose;
}

export default { render };
