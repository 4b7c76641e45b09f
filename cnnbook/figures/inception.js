import { choice, grouped, h, mount, select, setAll, slider } from "./toolkit.js";
import { PLOT_STYLE, box, path, picture, words, reachable } from "./plot.js";

// The convolutions of one module, branch by branch: [branch, side of the kernel, channels in, filters]. `filters` are
// the six numbers of the paper's table: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection. The naive module has
// no reductions.
export function convolutions({ channels, filters: [one, reduce3, three, reduce5, five, project], form }) {
  if (form === "naive")
    return [
      [0, 1, channels, one],
      [1, 3, channels, three],
      [2, 5, channels, five],
    ];
  return [
    [0, 1, channels, one],
    [1, 1, channels, reduce3],
    [1, 3, reduce3, three],
    [2, 1, channels, reduce5],
    [2, 5, reduce5, five],
    [3, 1, channels, project],
  ];
}

// Weights without biases, biases, and multiply-adds for a map of side x side; channels of the concatenated output.
export function cost(module) {
  const list = convolutions(module);
  const [one, , three, , five, project] = module.filters;
  const weights = list.reduce((sum, [, kernel, before, after]) => sum + kernel * kernel * before * after, 0);
  return {
    weights,
    biases: list.reduce((sum, [, , , after]) => sum + after, 0),
    multiplyAdds: weights * module.side * module.side,
    channels: one + three + five + (module.form === "naive" ? module.channels : project),
  };
}

const NAMES = ["1×1", "3×3 reduce", "3×3", "5×5 reduce", "5×5", "pool projection"];
const FORMS = [
  ["naive", "Naive"],
  ["reduced", "With reductions"],
];

const CSS = `
.plot .block { fill: var(--panel); stroke: var(--edge); }
.plot .cheap { fill: var(--wash); stroke: var(--mark); }
.plot text.on { fill: var(--paper); font-weight: 650; }
.six {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 4px 14px; margin-bottom: 12px;
}
`;

export function render({ model, el }) {
  const keys = ["modules", "module", "form", "channels", "side", "filters"];
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE + CSS,
    title: "Build an Inception module",
    keys,
    draw,
    about: "Four branches side by side, their maps stacked. 1×1 convolutions before the large ones can make them cheap.",
  });
  const forms = choice({ label: "Form", options: FORMS, onchange: (form) => ui.set({ form }) });
  const which = select({
    label: "Numbers of GoogLeNet's module",
    options: [...Object.keys(ui.get("modules")).map((name) => [name, name]), ["own", "own numbers"]],
    onchange(name) {
      if (name !== "own") ui.set({ module: name, ...ui.get("modules")[name] });
    },
  });
  const own = (patch) =>
    ui.set({
      ...patch,
      module:
        Object.entries(ui.get("modules")).find(
          ([, numbers]) =>
            JSON.stringify({
              channels: ui.get("channels"),
              side: ui.get("side"),
              filters: ui.get("filters"),
              ...patch,
            }) === JSON.stringify({ channels: numbers.channels, side: numbers.side, filters: numbers.filters }),
        )?.[0] ?? "own",
    });
  const channels = slider({
    label: "Channels in",
    min: 8,
    max: 1024,
    step: 8,
    onchange: (value) => own({ channels: value }),
  });
  const six = NAMES.map((label, index) =>
    slider({
      label,
      min: 8,
      max: 512,
      step: 8,
      onchange: (value) => own({ filters: ui.get("filters").map((old, at) => (at === index ? value : old)) }),
    }),
  );
  const drawing = picture();
  const table = h("div", { class: "scroll" });
  const verdict = h("p", {});
  ui.body.append(
    h("div", { class: "bar" }, forms.el, which.el),
    h(
      "div",
      { class: "six" },
      channels.el,
      six.map((control) => control.el),
    ),
    drawing.el,
    table,
    verdict,
  );

  function draw() {
    const now = Object.fromEntries(keys.map((key) => [key, ui.get(key)]));
    forms.update(now.form);
    which.update(now.module);
    channels.update(now.channels);
    six.forEach((control, index) => {
      control.update(now.filters[index]);
      control.el.querySelector("input").disabled = now.form === "naive" && [1, 3, 5].includes(index);
    });
    const naive = now.form === "naive";
    const [one, reduce3, three, reduce5, five, project] = now.filters;
    const branches = naive
      ? [[["1×1", one]], [["3×3", three]], [["5×5", five]], [["pool", now.channels]]]
      : [
          [["1×1", one]],
          [
            ["1×1", reduce3],
            ["3×3", three],
          ],
          [
            ["1×1", reduce5],
            ["5×5", five],
          ],
          [
            ["pool", now.channels],
            ["1×1", project],
          ],
        ];
    const ends = branches.map((branch) => branch.at(-1)[1]);
    const total = ends.reduce((sum, value) => sum + value, 0);
    const width = ui.width();
    const gap = 10;
    const column = (width - 5 * gap) / 4;
    const bottom = 196;
    const parts = [
      box(gap, 6, width - 2 * gap, 28, "block", 'rx="4"'),
      words(width / 2, 25, `${now.channels} channels, ${now.side}×${now.side}`, "", "middle"),
    ];
    let left = gap;
    branches.forEach((branch, index) => {
      const x = gap + index * (column + gap);
      branch.forEach(([name, filters], level) => {
        const y = branch.length === 1 ? 100 : 66 + level * 66;
        const reduction = !naive && name === "1×1" && index > 0;
        parts.push(
          path(
            [
              [x + column / 2, level || branch.length === 1 ? (branch.length === 1 ? 34 : y - 26) : 34],
              [x + column / 2, y],
            ],
            "axis",
          ),
        );
        parts.push(
          box(x, y, column, 40, reduction ? "cheap" : "block", 'rx="4"'),
          words(x + column / 2, y + 17, name, "strong", "middle"),
          words(x + column / 2, y + 33, filters, "tick", "middle"),
        );
      });
      const span = ((width - 2 * gap) * ends[index]) / total;
      parts.push(
        path(
          [
            [x + column / 2, branch.length === 1 ? 140 : 172],
            [left + span / 2, bottom],
          ],
          "axis",
        ),
      );
      parts.push(
        box(left, bottom, span, 28, `h${index + 1}`),
        span > 30 ? words(left + span / 2, bottom + 19, ends[index], "on", "middle") : "",
      );
      left += span;
    });
    parts.push(words(width / 2, bottom + 46, `${total} channels, stacked`, "", "middle"));
    drawing.draw(
      width,
      bottom + 56,
      `The ${now.form} module: branches with ${ends.join(", ")} channels, ${total} together`,
      parts,
    );
    const costs = Object.fromEntries(FORMS.map(([form]) => [form, cost({ ...now, form })]));
    const line = (form, name) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, form === now.form ? h("strong", { text: name }) : name),
        ["weights", "multiplyAdds", "channels"].map((key) => h("td", { text: grouped(costs[form][key]) })),
      );
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
            ["Form", "weights", "multiply-adds", "channels out"].map((text) => h("th", { scope: "col", text })),
          ),
        ),
        h(
          "tbody",
          {},
          FORMS.map(([form, name]) => line(form, name)),
        ),
      ),
    );
    reachable(table, "What both forms cost");
    const ratio = costs.naive.weights / costs.reduced.weights;
    setAll(verdict, {
      text: `The naive module has ${ratio.toFixed(2)} times the weights and multiply-adds of the one with reductions${costs.naive.channels > costs.reduced.channels ? `, and passes on ${costs.naive.channels} channels instead of ${costs.reduced.channels}: the next module pays for them again` : ""}.`,
    });
    ui.say(
      `${naive ? "Naive" : "With reductions"}: ${grouped(costs[now.form].weights)} weights, ${grouped(costs[now.form].multiplyAdds)} multiply-adds, ${costs[now.form].channels} channels.`,
    );
  }

  draw();
  return ui.dispose;
}

export default { render };
