import { clamp, format, h, mount, range, stepper, NARROW } from "./toolkit.js";
import { outputSize } from "./windows.js";
import { GRID_STYLE, grid, tint } from "./grid.js";

// What output (r, c) adds to the gradient of weight (i, j): dy[r][c] times the input that the weight met there.
export function contributions(x, dy, { stride, padding }, [i, j]) {
  return dy.map((row, r) =>
    row.map((gradient, c) => gradient * (x[r * stride + i - padding]?.[c * stride + j - padding] ?? 0)),
  );
}

// The whole gradient of the (F, F) weight: each entry the sum of its contributions.
export function weightGradient(x, dy, geometry, kernel) {
  return range(kernel).map((i) =>
    range(kernel).map((j) =>
      contributions(x, dy, geometry, [i, j])
        .flat()
        .reduce((sum, value) => sum + value, 0),
    ),
  );
}

// Gradients at the outputs when their number changes: what is there stays, the rest are ones.
export const fitted = (dy, count) => range(count).map((r) => range(count).map((c) => dy[r]?.[c] ?? 1));

const CSS = `
.maps { display: flex; flex-wrap: wrap; gap: 14px 22px; align-items: flex-start; margin-bottom: 8px; }
.head { font-size: 13px; color: var(--muted); margin: 0 0 5px; }
.head b { color: var(--ink); }
`;

export function render({ model, el }) {
  const ui = mount({
    model,
    el,
    css: GRID_STYLE + CSS,
    title: "X-ray of a shared weight's gradient",
    keys: ["input", "gradient", "kernel", "stride", "padding", "weight", "place"],
    draw,
    about:
      "One weight meets the input at every output position. Its gradient is the sum of what each of them sends back.",
  });
  const geometry = () => ({ stride: ui.get("stride"), padding: ui.get("padding") });
  function change(patch) {
    const next = { kernel: ui.get("kernel"), ...geometry(), ...patch };
    const count = outputSize({ size: ui.get("input").length, dilation: 1, ...next });
    ui.set({
      ...patch,
      gradient: fitted(ui.get("gradient"), count),
      weight: ui.get("weight").map((at) => clamp(at, 0, next.kernel - 1)),
      place: ui.get("place").map((at) => clamp(at, 0, count - 1)),
    });
  }
  const steppers = [
    ["kernel", "Kernel F", 1, 4],
    ["stride", "Stride S", 1, 3],
    ["padding", "Padding P", 0, 2],
  ].map(([key, label, min, max]) => [
    key,
    stepper({ label, min, max, onchange: (value) => change({ [key]: value }) }),
  ]);
  const edit = (key) => (r, c, value) =>
    ui.set({ [key]: ui.get(key).map((row, i) => row.map((old, j) => (i === r && j === c ? value : old))) });
  const input = grid({
    label: "Input x",
    onedit: (r, c, value) => edit("input")(r - ui.get("padding"), c - ui.get("padding"), value),
  });
  const gradient = grid({ label: "Gradient at the outputs, dy", onedit: edit("gradient") });
  const weights = grid({ label: "Gradient of the weights, dw", onpick: (r, c) => ui.set({ weight: [r, c] }) });
  const parts = grid({ label: "What each output contributes", onpick: (r, c) => ui.set({ place: [r, c] }) });
  const heads = range(4).map(() => h("p", { class: "head" }));
  const terms = h("p", { class: "math" });
  ui.body.append(
    h(
      "div",
      { class: "bar" },
      steppers.map(([, control]) => control.el),
    ),
    h(
      "div",
      { class: "maps" },
      [input, gradient, weights, parts].map((map, index) => h("div", {}, heads[index], map.el)),
    ),
    terms,
    h("p", {
      class: "small muted",
      text: "Pick a weight in dw: arrow keys, hover or tap. Pick a contribution to see where it comes from. The numbers of x and dy can be changed.",
    }),
  );

  function draw() {
    const [x, dy, kernel, [i, j], [row, col]] = [
      ui.get("input"),
      ui.get("gradient"),
      ui.get("kernel"),
      ui.get("weight"),
      ui.get("place"),
    ];
    const { stride, padding } = geometry();
    for (const [key, control] of steppers) control.update(ui.get(key));
    const each = contributions(x, dy, geometry(), [i, j]);
    const dw = weightGradient(x, dy, geometry(), kernel);
    const count = dy.length;
    const padded = x.length + 2 * padding;
    const width = ui.width();
    const cell =
      width < NARROW ? clamp(width / padded, 20, 34) : clamp((width - 70) / (padded + 2 * count + kernel), 20, 36);
    const small = width < NARROW ? Math.min(36, (width - 24) / (2 * count), (width - 24) / (count + kernel)) : cell;
    const most = (values) => Math.max(...values.flat().map(Math.abs), 1e-12);
    const titles = [
      `<b>Input x</b>${padding ? ", padded" : ""}`,
      "<b>dy</b>, from the loss",
      "<b>dw</b>, summed",
      `<b>dy · x</b> for w<sub>${i + 1}${j + 1}</sub>`,
    ];
    heads.forEach((head, index) => {
      if (head.innerHTML !== titles[index]) head.innerHTML = titles[index];
    });
    const met = new Set(range(count).flatMap((r) => range(count).map((c) => `${r * stride + i} ${c * stride + j}`)));
    input.update(
      padded,
      padded,
      (r, c) => {
        const inside = x[r - padding]?.[c - padding] !== undefined;
        const value = inside ? x[r - padding][c - padding] : 0;
        const now = r === row * stride + i && c === col * stride + j;
        return {
          text: format(value),
          edit: inside,
          tint: inside ? tint(value, most(x)) : "transparent",
          kind: `${now ? "hot" : met.has(`${r} ${c}`) ? "in" : ""} ${inside ? "" : "pad"}`,
          name: inside ? `x row ${r - padding + 1} column ${c - padding + 1}` : null,
        };
      },
      cell,
    );
    gradient.update(
      count,
      count,
      (r, c) => ({
        text: format(dy[r][c]),
        edit: true,
        tint: tint(dy[r][c], most(dy)),
        kind: r === row && c === col ? "hot" : "",
        name: `dy row ${r + 1} column ${c + 1}`,
      }),
      small,
    );
    weights.update(
      kernel,
      kernel,
      (r, c) => ({
        text: format(dw[r][c], 1),
        tint: tint(dw[r][c], most(dw)),
        kind: r === i && c === j ? "hot" : "",
        selected: r === i && c === j,
        name: `dw row ${r + 1} column ${c + 1}: ${format(dw[r][c])}`,
      }),
      small,
    );
    parts.update(
      count,
      count,
      (r, c) => ({
        text: format(each[r][c], 1),
        tint: tint(each[r][c], most(each)),
        kind: r === row && c === col ? "hot" : "",
        selected: r === row && c === col,
        name: `contribution of output row ${r + 1} column ${c + 1}: ${format(each[r][c])}`,
      }),
      small,
    );
    weights.seat(i, j);
    parts.seat(row, col);
    const list = each
      .flat()
      .map((value, index) => {
        const text = value < 0 ? `(${format(value)})` : format(value);
        return index === row * count + col ? `<b>${text}</b>` : text;
      })
      .join(" + ");
    terms.innerHTML = `dw<sub>${i + 1}${j + 1}</sub> = ${list} = <strong>${format(dw[i][j])}</strong>`;
    ui.say(
      `The gradient of weight row ${i + 1}, column ${j + 1} is ${format(dw[i][j])}, the sum of ${count * count} contributions; output row ${row + 1}, column ${col + 1} adds ${format(each[row][col])}.`,
    );
  }

  draw();
  return ui.dispose;
}

export default { render };
