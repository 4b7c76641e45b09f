import { button, choice, clamp, format, h, mount, range, setAll, slider, stepper, NARROW } from "./toolkit.js";
import { outputSize } from "./windows.js";
import { GRID_STYLE, grid, tint } from "./grid.js";

// The picture moved down and to the right; what comes in from outside is 0. (N, N) to (N, N).
export const shifted = (image, down, right) =>
  image.map((row, i) => row.map((_, j) => image[i - down]?.[j - right] ?? 0));

// Max or average over windows of the image, no padding; `kind` "none" leaves it as it is.
export function pool(image, { kind, window, stride }) {
  if (kind === "none") return image;
  const count = outputSize({ size: image.length, kernel: window, stride, padding: 0, dilation: 1 });
  return range(count).map((r) =>
    range(count).map((c) => {
      const seen = range(window).flatMap((i) => image[r * stride + i].slice(c * stride, c * stride + window));
      return kind === "max" ? Math.max(...seen) : seen.reduce((sum, value) => sum + value, 0) / seen.length;
    }),
  );
}

// How much a shift changes a map: the share of positions with another number, and the size of the change, relative to
// the map.
export function change(before, after) {
  const [a, b] = [before.flat(), after.flat()];
  const squares = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const size = squares(a);
  return {
    places: a.filter((value, index) => value !== b[index]).length,
    total: a.length,
    relative: size ? squares(a.map((value, index) => b[index] - value)) / size : 0,
  };
}

const CSS = `
.maps { display: flex; flex-wrap: wrap; gap: 14px 20px; margin-bottom: 8px; }
.head { font-size: 13px; color: var(--muted); margin: 0 0 5px; }
.head b { color: var(--ink); }
.input .grid { touch-action: none; cursor: grab; }
.cell.other { box-shadow: inset 0 0 0 2px var(--mark); }
`;

export function render({ model, el }) {
  const ui = mount({
    model,
    el,
    css: GRID_STYLE + CSS,
    title: "Pooling under a shifted input",
    keys: ["input", "kind", "window", "stride", "down", "right"],
    draw,
    about: "The input moves by whole pixels; marked numbers differ from those without the shift.",
  });
  const kinds = choice({
    label: "Pooling",
    options: [
      ["max", "Max"],
      ["average", "Average"],
      ["none", "None"],
    ],
    onchange: (kind) => ui.set({ kind }),
  });
  const windowSize = stepper({ label: "Window F", min: 1, max: 4, onchange: (value) => ui.set({ window: value }) });
  const stride = stepper({ label: "Stride S", min: 1, max: 4, onchange: (value) => ui.set({ stride: value }) });
  const down = slider({
    label: "Shift down",
    min: -3,
    max: 3,
    step: 1,
    onchange: (value) => ui.set({ down: value }),
  });
  const right = slider({
    label: "Shift right",
    min: -3,
    max: 3,
    step: 1,
    onchange: (value) => ui.set({ right: value }),
  });
  const maps = ["Input, shifted", "Pooled", "Pooled, no shift"].map((label) => ({
    label,
    head: h("p", { class: "head" }),
    grid: grid({ label }),
  }));
  const verdict = h("p");
  ui.body.append(
    h("div", { class: "bar" }, kinds.el, windowSize.el, stride.el),
    h("div", { class: "bar" }, down.el, right.el),
    h(
      "div",
      { class: "maps" },
      maps.map((map, index) => h("div", { class: index ? "" : "input" }, map.head, map.grid.el)),
    ),
    verdict,
    button("Back to no shift", () => ui.set({ down: 0, right: 0 })),
  );

  let held = null;
  const surface = maps[0].grid.el;
  surface.addEventListener("pointerdown", (event) => {
    surface.setPointerCapture(event.pointerId);
    held = { x: event.clientX, y: event.clientY, down: ui.get("down"), right: ui.get("right") };
  });
  surface.addEventListener("pointermove", (event) => {
    if (!held || !surface.hasPointerCapture(event.pointerId)) return;
    const side = surface.clientWidth / ui.get("input").length;
    ui.set({
      down: clamp(held.down + Math.round((event.clientY - held.y) / side), -3, 3),
      right: clamp(held.right + Math.round((event.clientX - held.x) / side), -3, 3),
    });
  });

  function draw() {
    const how = { kind: ui.get("kind"), window: ui.get("window"), stride: ui.get("stride") };
    const image = ui.get("input");
    const moved = shifted(image, ui.get("down"), ui.get("right"));
    const [before, after] = [pool(image, how), pool(moved, how)];
    kinds.update(how.kind);
    windowSize.update(how.window);
    stride.update(how.stride);
    down.update(ui.get("down"));
    right.update(ui.get("right"));
    const width = ui.width();
    const most = Math.max(...image.flat(), 1);
    const sizes = [image.length, after.length, after.length];
    const cell =
      width < NARROW ? clamp(width / image.length, 16, 34) : clamp((width - 60) / (sizes[0] + sizes[1] * 2), 14, 34);
    const show = (map, values, against) =>
      map.grid.update(
        values.length,
        values.length,
        (r, c) => ({
          text: format(values[r][c], 1),
          tint: tint(values[r][c], most),
          kind: against[r][c] !== values[r][c] ? "other" : "",
        }),
        width < NARROW && map !== maps[0] ? Math.min(cell, (width - 30) / (2 * after.length)) : cell,
      );
    show(maps[0], moved, image);
    show(maps[1], after, before);
    show(maps[2], before, before);
    maps.forEach((map, index) =>
      map.head.replaceChildren(h("b", { text: map.label }), ` ${sizes[index]}×${sizes[index]}`),
    );
    const [input, output] = [change(image, moved), change(before, after)];
    const share = ({ places, total }) => `${places} of ${total} numbers (${Math.round((100 * places) / total)}%)`;
    const size = ({ relative }) => `(relative distance ${format(relative)})`;
    const uneven =
      how.kind !== "none" &&
      output.places > 0 &&
      (ui.get("down") % how.stride !== 0 || ui.get("right") % how.stride !== 0);
    setAll(verdict, {
      text:
        input.places === 0
          ? "No shift yet: drag the input, or use the sliders."
          : `The shift changes ${share(input)} of the input ${size(input)} and ${share(output)} of the output ${size(output)}.${uneven ? ` It is no multiple of the stride ${how.stride}, so the output need not be a shifted copy of itself.` : ""}`,
    });
    ui.say(verdict.textContent);
  }

  draw();
  return ui.dispose;
}

export default { render };
