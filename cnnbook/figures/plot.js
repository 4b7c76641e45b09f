import { h, s, setAll } from "./toolkit.js";

// Line drawings at one pixel a unit, so that text keeps its size on every screen.

// An SVG that is drawn anew from a string of elements each time; its label is the text alternative.
export function picture() {
  const el = s("svg", { role: "img", class: "plot" });
  return {
    el,
    draw(width, height, label, ...parts) {
      setAll(el, { viewBox: `0 0 ${width} ${height}`, width, height, "aria-label": label });
      el.innerHTML = parts.flat(Infinity).join("");
    },
  };
}

const fixed = (value) => Math.round(value * 10) / 10;
export const path = (points, kind, shut = false) =>
  points.length
    ? `<path class="${kind}" d="M${points.map(([x, y]) => `${fixed(x)} ${fixed(y)}`).join("L")}${shut ? "Z" : ""}"/>`
    : "";
export const dot = (x, y, radius, kind) =>
  `<circle class="${kind}" cx="${fixed(x)}" cy="${fixed(y)}" r="${radius}"/>`;
export const box = (x, y, width, height, kind, more = "") =>
  `<rect class="${kind}" x="${fixed(x)}" y="${fixed(y)}" width="${fixed(width)}" height="${fixed(height)}" ${more}/>`;
export const words = (x, y, text, kind = "", anchor = "start") =>
  `<text class="${kind}" x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}">${text}</text>`;

// Axes in the frame [left, top, right, bottom]: scales X and Y, and the drawing of the ticks, each [value, text].
export function axes({ frame: [left, top, right, bottom], x, y, xticks = [], yticks = [], xname = "", yname = "" }) {
  const X = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (right - left);
  const Y = (value) => bottom - ((value - y[0]) / (y[1] - y[0])) * (bottom - top);
  const parts = [
    xticks.map(
      ([value, text]) =>
        path(
          [
            [X(value), top],
            [X(value), bottom],
          ],
          "rule",
        ) + words(X(value), bottom + 15, text, "tick", "middle"),
    ),
    yticks.map(
      ([value, text]) =>
        path(
          [
            [left, Y(value)],
            [right, Y(value)],
          ],
          "rule",
        ) + words(left - 5, Y(value) + 4, text, "tick", "end"),
    ),
    path(
      [
        [left, top],
        [left, bottom],
        [right, bottom],
      ],
      "axis",
    ),
    words((left + right) / 2, bottom + 31, xname, "tick", "middle"),
    words(left, top - 6, yname, "tick"),
  ];
  return { X, Y, html: parts.flat(Infinity).join("") };
}

// move([x, y], "down" or "move"), in the drawing's units, while a pointer is held down on it.
export function drag(el, move, pan = "none") {
  el.style.touchAction = pan;
  el.style.cursor = "grab";
  const at = (event) => {
    const edge = el.getBoundingClientRect();
    const view = el.viewBox.baseVal;
    return [
      ((event.clientX - edge.left) / edge.width) * view.width,
      ((event.clientY - edge.top) / edge.height) * view.height,
    ];
  };
  el.addEventListener("pointerdown", (event) => {
    el.setPointerCapture(event.pointerId);
    event.preventDefault();
    move(at(event), "down");
  });
  el.addEventListener("pointermove", (event) => {
    if (el.hasPointerCapture(event.pointerId)) move(at(event), "move");
  });
}

// A grey image of values from -1 (black) to 1 (white), each row as long as the first; NaN is left clear.
export function image(label) {
  const el = h("canvas", { role: "img", class: "image" });
  return {
    el,
    draw(values, text = label) {
      const [rows, columns] = [values.length, values[0].length];
      if (el.width !== columns || el.height !== rows) {
        [el.width, el.height] = [columns, rows];
        el.style.aspectRatio = `${columns} / ${rows}`;
      }
      const pixels = new ImageData(columns, rows);
      let at = 0;
      for (const row of values) {
        for (const value of row) {
          const light = 127.5 * (1 + Math.max(-1, Math.min(1, value)));
          pixels.data[at] = pixels.data[at + 1] = pixels.data[at + 2] = light;
          pixels.data[at + 3] = Number.isNaN(value) ? 0 : 255;
          at += 4;
        }
      }
      el.getContext("2d").putImageData(pixels, 0, 0);
      setAll(el, { "aria-label": text });
    },
  };
}

// A table that may be wider than its place: then it scrolls, by the keyboard too.
export function reachable(table, label) {
  const wide = table.scrollWidth > table.clientWidth;
  setAll(table, { tabindex: wide ? 0 : null, role: "group", "aria-label": label });
}

// A list of coloured names; with onchange each is a check box.
export function legend(entries, onchange) {
  const boxes = entries.map(
    ([name]) =>
      onchange && h("input", { type: "checkbox", onchange: (event) => onchange(name, event.target.checked) }),
  );
  return {
    el: h(
      "div",
      { class: "legend" },
      entries.map(([name, hue], index) =>
        h(onchange ? "label" : "span", {}, boxes[index], h("i", { style: `background: var(${hue})` }), name),
      ),
    ),
    update(chosen) {
      boxes.forEach((field, index) => {
        field.checked = chosen.includes(entries[index][0]);
      });
    },
  };
}

export const PLOT_STYLE = `
.plot { display: block; max-width: 100%; font-size: 12.5px; }
.plot text { fill: var(--ink); }
.plot .tick { fill: var(--muted); font-size: 12px; }
.plot .strong { font-weight: 650; font-size: 13.5px; }
.plot path { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.plot .rule { stroke: var(--line); stroke-width: 1; opacity: .7; }
.plot .axis { stroke: var(--edge); }
.plot .mark { stroke: var(--mark); }
.plot rect.mark { fill: none; stroke-width: 2.5; }
.plot circle.mark { fill: var(--mark); stroke: var(--paper); stroke-width: 2; }
.plot .panel { fill: var(--panel); stroke: var(--line); }
.plot .faint { stroke: var(--line); }
.plot .dashed { stroke-dasharray: 4 4; }
.plot .thick { stroke-width: 2.5; }
${[1, 2, 3, 4, 5, 6].map((number) => `.plot path.h${number} { stroke: var(--hue-${number}); stroke-width: 2; } .plot circle.h${number}, .plot rect.h${number} { fill: var(--hue-${number}); stroke: var(--paper); }`).join("\n")}
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 13.5px; }
.legend label, .legend > span { display: inline-flex; gap: 6px; align-items: center; min-height: 30px; }
.legend input { width: 17px; height: 17px; margin: 0; accent-color: var(--link); }
.legend i { width: 16px; height: 4px; border-radius: 2px; }
.halves { display: flex; flex-wrap: wrap; gap: 12px 20px; }
table { border-collapse: collapse; font-size: 14px; width: 100%; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--line); font-weight: 400; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--muted); font-size: 12.5px; vertical-align: bottom; }
tfoot td, tfoot th { font-weight: 650; border-bottom: 0; }
.scroll { overflow-x: auto; }
.scroll th, .scroll td { font-size: 13px; padding: 4px 3px; }
.scroll th:first-child { padding-left: 0; }
@container (max-width: 330px) { .scroll th, .scroll td { font-size: 11.5px; padding: 4px 2px; } }
.image { width: 100%; image-rendering: pixelated; border: 1px solid var(--line); display: block; }
`;
