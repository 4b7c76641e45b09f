import { choice, format, h, mount, select } from "./toolkit.js";
import { PLOT_STYLE, axes, box, picture, words } from "./plot.js";

// The rows that have the measure and pass the filters, best first. nets: "any", "one", "many"; test time: "any" or a
// view.
export function pick(rows, { measure, nets, views, source }) {
  return rows
    .filter((row) => row[measure] !== null)
    .filter((row) => nets === "any" || (row.nets === 1) === (nets === "one"))
    .filter((row) => views === "any" || row.views === views)
    .filter((row) => source === "any" || row.source === source)
    .sort((a, b) => a[measure] - b[measure] || a.method.localeCompare(b.method, "en"));
}

const MEASURES = { top5test: "Top-5, test", top5val: "Top-5, validation", top1val: "Top-1, validation" };
const HUES = { 2012: 1, 2013: 2, 2014: 3 };

export function render({ model, el }) {
  const keys = ["rows", "measure", "nets", "views", "source"];
  const ui = mount({
    model,
    el,
    css: PLOT_STYLE,
    title: "Results on ILSVRC",
    keys,
    draw,
    about:
      "Error rates as the papers print them. Compare like with like: one network or several, one view of each image or many, validation or test.",
  });
  const measure = select({
    label: "Error",
    options: Object.entries(MEASURES),
    onchange: (value) => ui.set({ measure: value }),
  });
  const nets = choice({
    label: "Networks",
    options: [
      ["any", "All"],
      ["one", "One"],
      ["many", "Several"],
    ],
    onchange: (value) => ui.set({ nets: value }),
  });
  const unique = (key) => [...new Set(ui.get("rows").map((row) => row[key]))];
  const views = select({
    label: "Views of a test image",
    options: [["any", "all"], ...unique("views").map((value) => [value, value])],
    onchange: (value) => ui.set({ views: value }),
  });
  const source = select({
    label: "Source",
    options: [["any", "all"], ...unique("source").map((value) => [value, value])],
    onchange: (value) => ui.set({ source: value }),
  });
  const drawing = picture();
  const empty = h("p", {
    class: "note",
    text: "No row has this error under these filters. Choose another error, or fewer filters.",
  });
  const note = h("p", { class: "small muted" });
  ui.body.append(
    h("div", { class: "bar" }, measure.el, nets.el),
    h("div", { class: "bar" }, views.el, source.el),
    drawing.el,
    empty,
    note,
  );

  function draw() {
    const now = Object.fromEntries(keys.map((key) => [key, ui.get(key)]));
    measure.update(now.measure);
    nets.update(now.nets);
    views.update(now.views);
    source.update(now.source);
    const rows = pick(now.rows, now);
    empty.hidden = rows.length > 0;
    drawing.el.style.display = rows.length ? "" : "none";
    const width = ui.width();
    const step = 36;
    const top = 6;
    const bottom = top + rows.length * step;
    const end = now.measure === "top1val" ? 45 : 20;
    const ticks = [0, 1, 2, 3, 4].map((part) => [(end * part) / 4, part ? `${format((end * part) / 4)}%` : "0"]);
    const scale = axes({ frame: [8, top, width - 42, bottom], x: [0, end], y: [0, 1], xticks: ticks });
    const label = (row) =>
      `${row.method} ${row.year}, ${row.nets === 1 ? "1 net" : row.nets ? `${row.nets} nets` : "several nets"}${row.views === "not stated" ? "" : `, ${row.views}`}`;
    const bars = rows.map((row, index) => {
      const y = top + index * step;
      return (
        words(12, y + 14, label(row), "tick") +
        box(8, y + 18, scale.X(row[now.measure]) - 8, 13, `h${HUES[row.year]}`) +
        words(scale.X(row[now.measure]) + 6, y + 30, `${row[now.measure]}%`, "strong")
      );
    });
    const spoken = rows.length
      ? `${MEASURES[now.measure]} error, ${rows.length} rows; least: ${label(rows[0])}, ${rows[0][now.measure]}%.`
      : empty.textContent;
    drawing.draw(width, bottom + 22, spoken, scale.html, bars);
    note.innerHTML = `Colour is the year: ${Object.entries(HUES)
      .map(([year, hue]) => `<strong style="color: var(--hue-${hue})">${year}</strong>`)
      .join(", ")}. Sources: ${unique("source").join("; ")}.`;
    ui.say(spoken);
  }

  draw();
  return ui.dispose;
}

export default { render };
