import { clamp, format, h, mount, select, setAll, slider } from "./toolkit.js";
import { outputSize } from "./windows.js";
import { PLOT_STYLE, axes, box, dot, drag, path, picture, words } from "./plot.js";

// For every layer [name, kernel, stride, padding, ceil]: how many outputs a side, how many input pixels one of them
// can depend on (field), how far apart neighbours' fields are (jump), and where the first one's field begins (start,
// may be negative).
export function fields(size, layers) {
  let now = { size, field: 1, jump: 1, start: 0 };
  return layers.map(([name, kernel, stride, padding, ceil]) => {
    now = {
      name,
      size: outputSize({ size: now.size, kernel, stride, padding, dilation: 1, ceil }),
      field: now.field + (kernel - 1) * now.jump,
      start: now.start - padding * now.jump,
      jump: now.jump * stride,
    };
    return now;
  });
}

const CSS = `.plot .input { fill: var(--plus); stroke: none; opacity: .45; }`;

export function render({ model, el }) {
  const keys = ["networks", "network", "layer", "row", "column"];
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE + CSS,
    title: "What one unit can see",
    keys,
    draw,
    about:
      "The square of the input on which one unit of a layer can depend, its receptive field. Drag it over the image.",
  });
  const network = select({
    label: "Network",
    options: Object.keys(ui.get("networks")).map((name) => [name, name]),
    onchange: (name) =>
      ui.set({
        network: name,
        layer: Math.min(ui.get("layer"), ui.get("networks")[name].layers.length - 1),
        row: -1,
        column: -1,
      }),
  });
  const layer = slider({
    label: "Layer",
    min: 0,
    max: 1,
    step: 1,
    show: (index) => ui.get("networks")[ui.get("network")].layers[index]?.[0] ?? "",
    onchange: (index) => ui.set({ layer: index, row: -1, column: -1 }),
  });
  const row = slider({
    label: "Unit's row",
    min: 1,
    max: 1,
    step: 1,
    onchange: (value) => ui.set({ row: value - 1 }),
  });
  const column = slider({
    label: "Unit's column",
    min: 1,
    max: 1,
    step: 1,
    onchange: (value) => ui.set({ column: value - 1 }),
  });
  const map = picture();
  const growth = picture();
  const verdict = h("p", {});
  ui.body.append(
    h("div", { class: "bar" }, network.el, layer.el),
    h("div", { class: "bar" }, row.el, column.el),
    h("div", { class: "halves" }, map.el, growth.el),
    verdict,
  );
  let scale = { toUnit: () => 0 };
  drag(map.el, ([x, y]) => ui.set({ row: scale.toUnit(y), column: scale.toUnit(x) }), "pan-y");

  function draw() {
    const name = ui.get("network");
    const { size, layers } = ui.get("networks")[name];
    const all = fields(size, layers);
    const index = clamp(ui.get("layer"), 0, all.length - 1);
    const now = all[index];
    // -1 stands for the unit in the middle, which every layer has.
    const [r, c] = ["row", "column"].map((key) =>
      ui.get(key) < 0 ? Math.floor((now.size - 1) / 2) : Math.min(ui.get(key), now.size - 1),
    );
    network.update(name);
    setAll(layer.el.querySelector("input"), { max: all.length - 1 });
    layer.update(index);
    for (const [control, value] of [
      [row, r],
      [column, c],
    ]) {
      setAll(control.el.querySelector("input"), { max: now.size });
      control.update(value + 1);
    }
    const width = ui.half();
    const side = Math.min(width - 8, 330);
    // The image takes up to three quarters; a field that reaches beyond it is drawn whole where it fits.
    const edge = (side * 0.2) / 2;
    const unit = (side - 2 * edge) / size;
    scale.toUnit = (at) =>
      clamp(Math.round(((at - 4 - edge) / unit - now.start - now.field / 2) / now.jump), 0, now.size - 1);
    const place = (pixel) => 4 + edge + pixel * unit;
    const [top, left] = [now.start + r * now.jump, now.start + c * now.jump];
    const window = (low, high) => [clamp(place(low), 2, side + 6), clamp(place(high), 2, side + 6)];
    const [x0, x1] = window(left, left + now.field);
    const [y0, y1] = window(top, top + now.field);
    map.draw(
      width,
      side + 12,
      `The ${size}×${size} input of ${name} and the receptive field of one unit of ${now.name}`,
      box(place(0), place(0), size * unit, size * unit, "input"),
      words(place(0), place(0) - 5, `input ${size}×${size}`, "tick"),
      box(x0, y0, x1 - x0, y1 - y0, "mark"),
      dot(place(left + now.field / 2), place(top + now.field / 2), 4, "mark"),
    );
    const most = Math.max(size, all.at(-1).field);
    const chart = axes({
      frame: [40, 24, width - 12, side - 24],
      x: [0, all.length],
      y: [0, most * 1.05],
      xticks: [],
      yticks: [0, 1, 2, 3].map((part) => [Math.round((most * part) / 3), Math.round((most * part) / 3)]),
      yname: "field, in pixels of the input",
      xname: "layer",
    });
    growth.draw(
      width,
      side + 12,
      `Receptive fields layer by layer: ${all.map((one) => one.field).join(", ")}`,
      chart.html,
      path(
        [
          [chart.X(0), chart.Y(size)],
          [chart.X(all.length), chart.Y(size)],
        ],
        "dashed h1",
      ),
      all.map((one, at) =>
        box(
          chart.X(at + 0.15),
          chart.Y(one.field),
          Math.max(2, chart.X(at + 0.85) - chart.X(at + 0.15)),
          chart.Y(0) - chart.Y(one.field),
          at === index ? "h2" : "h1",
        ),
      ),
      words(chart.X(0) + 4, chart.Y(size) - 4, "the whole input", "tick"),
    );
    const beyond = [top, left].some((low) => low < 0 || low + now.field > size);
    setAll(verdict, {
      text: `${now.name} of ${name}: ${now.size}×${now.size} units, each sees ${now.field}×${now.field} pixels (${format((100 * Math.min(now.field, size)) / size, 0)}% of the side); neighbours are ${now.jump} pixel${now.jump > 1 ? "s" : ""} apart.${beyond ? " Here the field reaches beyond the image." : ""}`,
    });
    ui.say(verdict.textContent);
  }

  draw();
  return ui.dispose;
}

export default { render };
