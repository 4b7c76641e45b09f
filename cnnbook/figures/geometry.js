import { button, choice, clamp, h, mount, range, setAll, slider, stepper } from "./toolkit.js";
import { outputSize, sizeRule, span, suggestions, unreadRows } from "./windows.js";
import { PLOT_STYLE, box, path, picture, words } from "./plot.js";

export const LIMITS = { size: [1, 32], kernel: [1, 11], stride: [1, 8], padding: [0, 5], dilation: [1, 4] };

// Padding that keeps the size at stride 1, or null where none does.
export const samePadding = ({ kernel, dilation }) =>
  (span(kernel, dilation) - 1) % 2 ? null : (span(kernel, dilation) - 1) / 2;

// The positions in the padded input, from 0, that output `out` reads.
export const taps = ({ kernel, stride, dilation }, out) => range(kernel).map((tap) => out * stride + tap * dilation);

const NAMES = {
  size: "Input W",
  kernel: "Kernel F",
  stride: "Stride S",
  padding: "Padding P",
  dilation: "Dilation D",
};

const CSS = `
.plot .cell { fill: var(--plus); stroke: var(--paper); }
.plot .pad { fill: var(--panel); stroke: var(--edge); stroke-dasharray: 2 2; }
.plot .lost { fill: url(#lost); stroke: var(--edge); }
.plot .window { stroke: var(--edge); stroke-width: 2; }
.plot .tap { fill: var(--edge); }
.plot .now { stroke: var(--mark); stroke-width: 2.5; fill: none; }
.plot .tap.now { fill: var(--mark); stroke: none; }
`;

export function render({ model, el }) {
  const keys = Object.keys(NAMES);
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE + CSS,
    title: "Padding, stride, dilation: where the windows stand",
    keys: [...keys, "ceil", "position"],
    draw,
    about: "One row of the input, and below it every window that reads it, one line a window.",
  });
  const shape = () => Object.fromEntries([...keys, "ceil"].map((key) => [key, ui.get(key)]));
  const change = (patch) =>
    ui.set({
      ...patch,
      position: clamp(ui.get("position"), 0, Math.max(0, outputSize({ ...shape(), ...patch }) - 1)),
    });
  const steppers = keys.map((key) =>
    stepper({
      label: NAMES[key],
      min: LIMITS[key][0],
      max: LIMITS[key][1],
      onchange: (value) => change({ [key]: value }),
    }),
  );
  const rounding = choice({
    label: "Rounding",
    options: [
      [false, "Floor"],
      [true, "Ceil"],
    ],
    onchange: (ceil) => change({ ceil }),
  });
  const output = slider({
    label: "Output",
    min: 1,
    max: 1,
    step: 1,
    onchange: (value) => ui.set({ position: value - 1 }),
  });
  const drawing = picture();
  const rule = h("p", { class: "math" });
  const notes = h("p", {});
  const problem = h("div", { class: "note", role: "alert" });
  ui.body.append(
    h(
      "div",
      { class: "bar" },
      steppers.map((control) => control.el),
      rounding.el,
    ),
    h("div", { class: "bar" }, output.el),
    drawing.el,
    problem,
    rule,
    notes,
  );
  let lines = { top: 0, step: 1 };
  const pick = (event) => {
    const edge = drawing.el.getBoundingClientRect();
    const line = Math.floor((event.clientY - edge.top - lines.top) / lines.step);
    if (line >= 0 && line < outputSize(shape())) ui.set({ position: line });
  };
  drawing.el.addEventListener("pointerdown", pick);
  drawing.el.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") pick(event);
  });

  function draw() {
    const now = shape();
    const { size, kernel, padding, dilation, ceil } = now;
    const count = outputSize(now);
    const position = clamp(ui.get("position"), 0, Math.max(0, count - 1));
    keys.forEach((key, index) => steppers[index].update(now[key]));
    rounding.update(ceil);
    setAll(output.el.querySelector("input"), { max: Math.max(1, count) });
    output.update(position + 1);
    output.el.hidden = count === 0;

    const width = ui.width();
    const reach = count ? Math.max(size + 2 * padding, taps(now, count - 1).at(-1) + 1) : size + 2 * padding;
    const side = Math.min(42, (width - 40) / reach);
    const left = 2;
    lines = { top: side + 30, step: clamp(260 / Math.max(1, count), 9, 20) };
    const lost = new Set(count ? unreadRows(now) : []);
    const X = (place) => left + (place + 0.5) * side;
    const current = new Set(count ? taps(now, position) : []);
    const cells = range(reach)
      .map((place) =>
        box(
          left + place * side + 0.5,
          18,
          side - 1,
          side - 1,
          lost.has(place) ? "lost" : place < padding || place >= padding + size ? "pad" : "cell",
        ),
      )
      .concat([...current].map((place) => box(left + place * side + 1, 18.5, side - 2, side - 2, "now")));
    const rows = range(count).map((out) => {
      const y = lines.top + (out + 0.5) * lines.step;
      const at = taps(now, out);
      const kind = out === position ? "now" : "";
      return (
        path(
          [
            [X(at[0]), y],
            [X(at.at(-1)), y],
          ],
          `window ${kind}`,
        ) +
        at.map((place) => box(X(place) - Math.min(3.5, side / 3), y - 3, Math.min(7, side / 1.5), 6, `tap ${kind}`)) +
        (lines.step >= 11 || out === position
          ? words(left + reach * side + 6, y + 4, out + 1, out === position ? "strong" : "tick")
          : "")
      );
    });
    const hatch =
      '<defs><pattern id="lost" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V5" class="axis"/></pattern></defs>';
    drawing.draw(
      width,
      lines.top + count * lines.step + 6,
      count ? `${count} windows over ${size + 2 * padding} positions` : "the kernel does not fit",
      hatch,
      words(left, 12, `input ${size}${padding ? `, padded ${size + 2 * padding}` : ""}`, "tick"),
      cells,
      rows,
    );

    problem.hidden = count > 0;
    rule.replaceChildren(
      h("b", { text: "Output size " }),
      sizeRule(now),
      count ? h("b", { text: String(count) }) : "",
    );
    if (!count) {
      const text = `The kernel spans ${dilation}·(${kernel} − 1) + 1 = ${span(kernel, dilation)}, the padded input has only ${size} + 2·${padding} = ${size + 2 * padding}. The nearest values that work:`;
      problem.replaceChildren(
        h("p", { text }),
        h(
          "div",
          { class: "row" },
          suggestions(now, LIMITS).map((patch) =>
            Object.entries(patch).map(([key, value]) => button(`${NAMES[key]} = ${value}`, () => change(patch))),
          ),
        ),
      );
      setAll(notes, { text: "" });
      return ui.say(text);
    }
    const same = samePadding(now);
    const beyond = reach - size - 2 * padding;
    setAll(notes, {
      text: [
        lost.size
          ? `Never read (hatched): position${lost.size > 1 ? "s" : ""} ${[...lost].map((place) => place + 1).join(", ")} of the padded input.`
          : "Every position is read.",
        beyond > 0 ? `Rounding up lets the last window reach ${beyond} beyond the padding.` : "",
        same === null
          ? `At stride 1 no padding on both sides alike keeps the size: the span ${span(kernel, dilation)} is even.`
          : `At stride 1, P = D(F − 1)/2 = ${same} keeps the size.`,
      ]
        .filter(Boolean)
        .join(" "),
    });
    ui.say(
      `Output ${position + 1} of ${count} reads positions ${taps(now, position)
        .map((place) => place + 1)
        .join(", ")} of the padded input.`,
    );
  }

  draw();
  return ui.dispose;
}

export default { render };
