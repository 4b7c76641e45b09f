import {
  button,
  choice,
  clamp,
  format,
  h,
  mount,
  random,
  range,
  select,
  setAll,
  stepper,
  NARROW,
} from "./toolkit.js";
import { outputSize, sizeRule, span, suggestions, unreadRows } from "./windows.js";
import { GRID_STYLE, grid, tint } from "./grid.js";

export const LIMITS = { size: [1, 11], kernel: [1, 5], stride: [1, 4], padding: [0, 3], dilation: [1, 3] };

// The products that make up output (row, col): one for each channel and tap. input (C, W, W), kernel (C, F, F).
// (y, x) is the place in the padded input, `value` is 0 there outside the input.
export function terms(input, kernel, { stride, padding, dilation }, [row, col]) {
  return kernel.flatMap((slice, channel) =>
    slice.flatMap((line, i) =>
      line.map((weight, j) => {
        const y = row * stride + i * dilation;
        const x = col * stride + j * dilation;
        return { channel, i, j, y, x, weight, value: input[channel][y - padding]?.[x - padding] ?? 0 };
      }),
    ),
  );
}

// Cross-correlation, as in every deep-learning library: the kernel is not flipped. Returns (M, M).
export function conv2d(input, kernel, geometry) {
  const count = outputSize({ ...geometry, size: input[0].length, kernel: kernel[0].length });
  return range(count).map((row) =>
    range(count).map((col) =>
      terms(input, kernel, geometry, [row, col]).reduce((sum, { weight, value }) => sum + weight * value, 0),
    ),
  );
}

// Square kernels of any size; `channels` shares the averaging ones out over the depth.
export function presetKernel(name, size, channels) {
  const middle = Math.floor((size - 1) / 2);
  const side = (at) => (at === 0 ? -1 : at === size - 1 ? 1 : 0);
  const make = {
    identity: (i, j) => (i === middle && j === middle ? 1 / channels : 0),
    blur: () => 1 / (size * size * channels),
    vertical: (i, j) => (size === 1 ? 1 : side(j)),
    horizontal: (i, j) => (size === 1 ? 1 : side(i)),
    outline: (i, j) => (i === middle && j === middle ? size * size - 1 : -1),
    sharpen: (i, j) => (i === middle && j === middle ? size * size : -1),
  }[name];
  return range(channels).map(() => range(size).map((i) => range(size).map((j) => make(i, j))));
}

export function presetInput(name, size, channels) {
  const draw = random(7);
  const make = {
    square: (c, i, j) => (Math.min(i, j, size - 1 - i, size - 1 - j) >= Math.floor(size / 4) ? 3 - c : 0),
    edge: (c, i, j) => (j >= Math.floor((size + c) / 2) ? 3 : 0),
    dot: (c, i, j) => (i === Math.floor(size / 2) && j === Math.floor(size / 2) ? 1 + c : 0),
    random: () => Math.floor(draw() * 4),
  }[name];
  return range(channels).map((c) => range(size).map((i) => range(size).map((j) => make(c, i, j))));
}

const KERNELS = [
  ["identity", "Identity"],
  ["blur", "Blur"],
  ["vertical", "Vertical edges"],
  ["horizontal", "Horizontal edges"],
  ["outline", "Outline"],
  ["sharpen", "Sharpen"],
];
const INPUTS = [
  ["random", "Random"],
  ["square", "Square"],
  ["edge", "Step edge"],
  ["dot", "One pixel"],
];
const OWN = ["own", "Own numbers"];
const WORDS = { size: "input", kernel: "kernel", padding: "padding", dilation: "dilation" };

// Larger grids keep the numbers that are there; smaller ones are cut.
const resized = (planes, size) =>
  planes.map((plane) => range(size).map((i) => range(size).map((j) => plane[i]?.[j] ?? 0)));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const product = ({ weight, value }) =>
  `<b>${weight < 0 ? `(${format(weight)})` : format(weight)}</b>·${value < 0 ? `(${format(value)})` : format(value)}`;
const rounded = (value) => Math.abs(value * 100 - Math.round(value * 100)) > 1e-9 && format(value).indexOf("/") < 0;
const signed = (values) =>
  values
    .map((value, index) => (index === 0 ? format(value) : `${value < 0 ? "−" : "+"} ${format(Math.abs(value))}`))
    .join(" ");

const CSS = `
.cards { display: flex; gap: 16px; overflow-x: auto; padding: 4px 4px 10px; margin: 0 -4px; }
.card { flex: none; }
.flat .cards { flex-wrap: wrap; overflow: visible; align-items: flex-start; }
.flat .card { display: flex; flex: 1 1 100%; flex-wrap: wrap; gap: 14px 18px; min-width: 0; }
.head { font-size: 13px; color: var(--muted); margin: 0 0 5px; white-space: nowrap; }
.head b { color: var(--ink); font-weight: 600; }
.under { display: flex; gap: 12px; align-items: center; margin-top: 12px; }
.flat .under { flex: 1 1 240px; flex-wrap: wrap; align-items: flex-start; margin: 0; gap: 12px 18px; }
.partial { font-weight: 600; }
.kernel .grid { border: 2px solid var(--mark); }
.result { display: flex; flex-wrap: wrap; gap: 14px 22px; align-items: flex-start; }
.sum { flex: 1 1 260px; min-width: 0; }
.flat .sum { flex-basis: 100%; }
.sum span[data-t] { padding: 1px 2px; border-radius: 4px; white-space: nowrap; }
.sum .zero, .sum .zero b { color: var(--muted); font-weight: 400; }
.sum .lit { background: var(--wash); outline: 2px solid var(--mark); }
.total { font-size: 17px; font-weight: 650; }
.transport { display: flex; gap: 6px; align-items: center; flex-wrap: wrap; margin: 2px 0 10px; }
.transport .where { min-width: 7em; }
.play { min-width: 84px; }
`;

export function render({ model, el }) {
  const ui = mount({
    model,
    el,
    css: GRID_STYLE + CSS,
    title: "Convolution, one output at a time",
    keys: ["input", "kernel", "stride", "padding", "dilation", "position"],
    draw,
    about:
      "The kernel slides over the input. Each output is the sum of the products of the kernel with the numbers below it, over all channels.",
  });
  let stopPlaying = null;
  let hovered = null;

  const shape = () => ({
    size: ui.get("input")[0].length,
    kernel: ui.get("kernel")[0].length,
    stride: ui.get("stride"),
    padding: ui.get("padding"),
    dilation: ui.get("dilation"),
  });
  // The kernel's place survives a change of geometry as far as it can.
  function change(patch) {
    const count = Math.max(
      1,
      outputSize({
        ...shape(),
        ...("input" in patch ? { size: patch.input[0].length } : {}),
        ...("kernel" in patch ? { kernel: patch.kernel[0].length } : {}),
        ...Object.fromEntries(Object.entries(patch).filter(([key]) => !["input", "kernel"].includes(key))),
      }),
    );
    ui.set({ ...patch, position: ui.get("position").map((at) => clamp(at, 0, count - 1)) });
  }
  const channels = () => ui.get("input").length;
  const inputName = () =>
    INPUTS.find(([name]) => same(presetInput(name, shape().size, channels()), ui.get("input")))?.[0] ?? "own";
  const kernelName = () =>
    KERNELS.find(([name]) => same(presetKernel(name, shape().kernel, channels()), ui.get("kernel")))?.[0] ?? "own";

  function resize(name, value) {
    if (name === "size")
      change({
        input: inputName() === "own" ? resized(ui.get("input"), value) : presetInput(inputName(), value, channels()),
      });
    else if (name === "kernel")
      change({
        kernel:
          kernelName() === "own" ? resized(ui.get("kernel"), value) : presetKernel(kernelName(), value, channels()),
      });
    else change({ [name]: value });
  }
  function deepen(count) {
    const [input, kernel] = [inputName(), kernelName()];
    const deeper = (planes) => range(count).map((c) => planes[c] ?? planes[0]);
    change({
      input: input === "own" ? deeper(ui.get("input")) : presetInput(input, shape().size, count),
      kernel: kernel === "own" ? deeper(ui.get("kernel")) : presetKernel(kernel, shape().kernel, count),
    });
  }

  const inputs = select({
    label: "Input",
    options: [...INPUTS, OWN],
    onchange: (name) => name !== "own" && change({ input: presetInput(name, shape().size, channels()) }),
  });
  const kernels = select({
    label: "Kernel",
    options: [...KERNELS, OWN],
    onchange: (name) => name !== "own" && change({ kernel: presetKernel(name, shape().kernel, channels()) }),
  });
  const depth = choice({
    label: "Channels",
    options: [
      [1, "1"],
      [3, "3"],
    ],
    onchange: deepen,
  });
  const steppers = Object.fromEntries(
    [
      ["size", "Input W"],
      ["kernel", "Kernel F"],
      ["stride", "Stride S"],
      ["padding", "Padding P"],
      ["dilation", "Dilation D"],
    ].map(([name, label]) => [
      name,
      stepper({ label, min: LIMITS[name][0], max: LIMITS[name][1], onchange: (value) => resize(name, value) }),
    ]),
  );

  const cards = h("div", { class: "cards" });
  const output = grid({
    label: "Output",
    onpick: (r, c, how) => {
      if (how === "key") stop();
      go([r, c]);
    },
    onkey: (event) => event.key === " " && (play(), true),
  });
  const outputHead = h("p", { class: "head" });
  const playButton = button("▶ Play", () => play(), { class: "play" });
  const where = h("span", { class: "where small muted" });
  const transport = h(
    "div",
    { class: "transport" },
    button("←", () => move(-1), { "aria-label": "previous output" }),
    playButton,
    button("→", () => move(1), { "aria-label": "next output" }),
    where,
  );
  const outputBox = h("div", {}, outputHead, output.el);
  const sum = h("div", { class: "math" });
  const size = h("div", { class: "math" });
  const unread = h("p", { class: "small muted" });
  const problem = h("div", { class: "note", role: "alert" });
  const result = h("div", { class: "result" });
  const sumBox = h(
    "div",
    { class: "sum" },
    transport,
    h("p", { class: "head" }, h("b", { text: "The sum at this output: " }), "kernel · input"),
    sum,
  );
  ui.body.append(
    h("div", { class: "bar" }, inputs.el, kernels.el),
    h(
      "div",
      { class: "bar" },
      depth.el,
      Object.values(steppers).map((control) => control.el),
    ),
    cards,
    problem,
    result,
    h("div", { class: "size" }, size, unread),
  );
  sum.addEventListener("pointerover", (event) => light(event.target.closest("[data-t]")?.dataset.t ?? null));
  sum.addEventListener("pointerleave", () => light(null));

  let planes = [];
  function setChannels(count) {
    if (planes.length === count) return;
    planes = range(count).map((channel) => {
      const tail = count > 1 ? `, channel ${channel + 1}` : "";
      const edit = (key) => (r, c, value) =>
        change({
          [key]: ui
            .get(key)
            .map((plane, index) =>
              index !== channel
                ? plane
                : plane.map((line, i) => line.map((old, j) => (i === r && j === c ? value : old))),
            ),
        });
      const onPadded = edit("input");
      const inputGrid = grid({
        label: `Input${tail}`,
        onedit: (r, c, value) => onPadded(r - ui.get("padding"), c - ui.get("padding"), value),
        onhover: (at) => hover(channel, at, "input"),
      });
      const kernelGrid = grid({
        label: `Kernel${tail}`,
        onedit: edit("kernel"),
        onhover: (at) => hover(channel, at, "kernel"),
      });
      const plane = {
        inputGrid,
        kernelGrid,
        inputHead: h("p", { class: "head" }),
        kernelHead: h("p", { class: "head" }),
        partial: h("span", { class: "partial" }),
      };
      plane.kernelBox = h("div", { class: "kernel" }, plane.kernelHead, kernelGrid.el);
      plane.el = h(
        "div",
        { class: "card" },
        h("div", {}, plane.inputHead, inputGrid.el),
        h("div", { class: "under" }, plane.kernelBox, plane.partial),
      );
      return plane;
    });
    cards.replaceChildren(...planes.map((plane) => plane.el));
    ui.body.classList.toggle("flat", count === 1);
    (count === 1 ? planes[0].el.lastChild : result).append(outputBox, sumBox);
  }

  const go = (position) => ui.set({ position });
  function move(step) {
    const count = outputSize(shape());
    if (!count) return;
    const [r, c] = ui.get("position");
    const next = (r * count + c + step + count * count) % (count * count);
    go([Math.floor(next / count), next % count]);
  }
  function stop() {
    stopPlaying?.();
    stopPlaying = null;
    setAll(playButton, { text: "▶ Play" });
  }
  function play() {
    if (stopPlaying) return stop();
    setAll(playButton, { text: "⏸ Pause" });
    let waited = 0;
    stopPlaying = ui.animate((elapsed) => {
      waited += elapsed;
      if (waited > 700) {
        waited = 0;
        move(1);
      }
    });
  }

  function hover(channel, at, where) {
    if (!at) return light(null);
    const found = current.findIndex(
      (term) =>
        term.channel === channel &&
        (where === "kernel" ? term.i === at[0] && term.j === at[1] : term.y === at[0] && term.x === at[1]),
    );
    light(found < 0 ? null : found);
  }
  function light(index) {
    const next = index === null ? null : Number(index);
    if (next !== hovered) {
      hovered = next;
      ui.redraw();
    }
  }

  let current = [];
  function draw() {
    const now = shape();
    const { stride, padding, dilation } = now;
    const [input, kernel] = [ui.get("input"), ui.get("kernel")];
    const count = outputSize(now);
    const padded = now.size + 2 * padding;
    const position = ui.get("position").map((at) => clamp(at, 0, Math.max(0, count - 1)));
    const result2d = conv2d(input, kernel, now);
    current = count ? terms(input, kernel, now, position) : [];
    setChannels(input.length);

    inputs.update(inputName());
    kernels.update(kernelName());
    depth.update(input.length);
    for (const [name, control] of Object.entries(steppers)) control.update(now[name]);

    const width = ui.width();
    const narrow = width < NARROW;
    const deep = input.length > 1;
    const total = padded + now.kernel + count;
    const cell = deep
      ? clamp((narrow ? Math.max(190, width * 0.62) : (width - 40) / 3) / padded, 15, 34)
      : narrow
        ? clamp((width - 4) / padded, 20, 36)
        : clamp((width - 60) / total, 20, 40);
    const small = deep ? 32 : narrow ? clamp((width - 24) / Math.max(1, now.kernel + count), 20, 36) : cell;
    const most = (values) => Math.max(...values.flat(3).map(Math.abs), 1e-12);
    const [mostInput, mostKernel] = [most(input), most(kernel)];
    const lost = new Set(count ? unreadRows(now) : []);
    const reads = new Map(current.map((term, index) => [`${term.channel} ${term.y} ${term.x}`, index]));

    planes.forEach((plane, channel) => {
      const tag = deep ? `channel ${channel + 1}` : "";
      plane.inputHead.replaceChildren(
        h("b", { text: deep ? `Input, ${tag}` : "Input" }),
        deep ? "" : ` ${now.size}×${now.size}${padding ? `, padded ${padded}×${padded}` : ""}`,
      );
      plane.kernelHead.replaceChildren(h("b", { text: "Kernel" }), deep ? ` ${tag}` : ` ${now.kernel}×${now.kernel}`);
      plane.inputGrid.update(
        padded,
        padded,
        (r, c) => {
          const [y, x] = [r - padding, c - padding];
          const inside = input[channel][y]?.[x] !== undefined;
          const index = reads.get(`${channel} ${r} ${c}`);
          const value = inside ? input[channel][y][x] : 0;
          const kind =
            index === undefined ? (lost.has(r) || lost.has(c) ? "unread" : "") : index === hovered ? "hot" : "in";
          return {
            text: format(value),
            edit: inside,
            kind: `${kind} ${inside ? "" : "pad"}`,
            tint: kind === "unread" ? "transparent" : tint(value, mostInput),
            note: index !== undefined && cell >= 27 ? `×${format(current[index].weight)}` : null,
            name: inside
              ? `input${deep ? ` channel ${channel + 1}` : ""} row ${y + 1} column ${x + 1}${kind === "unread" ? ", never read" : ""}`
              : null,
          };
        },
        cell,
      );
      plane.kernelGrid.update(
        now.kernel,
        now.kernel,
        (r, c) => ({
          text: format(kernel[channel][r][c]),
          edit: true,
          tint: tint(kernel[channel][r][c], mostKernel),
          kind:
            hovered !== null &&
            current[hovered]?.channel === channel &&
            current[hovered].i === r &&
            current[hovered].j === c
              ? "hot"
              : "",
          name: `kernel${deep ? ` channel ${channel + 1}` : ""} row ${r + 1} column ${c + 1}`,
        }),
        small,
      );
      const part = current
        .filter((term) => term.channel === channel)
        .reduce((value, term) => value + term.weight * term.value, 0);
      setAll(plane.partial, { text: deep && count ? `sum ${format(part)}` : "" });
    });

    problem.hidden = count > 0;
    outputBox.hidden = sumBox.hidden = count === 0;
    if (count) {
      const mostOutput = most(result2d);
      outputHead.replaceChildren(h("b", { text: "Output" }), ` ${count}×${count}`);
      output.update(
        count,
        count,
        (r, c) => ({
          text: format(result2d[r][c], Math.abs(result2d[r][c]) >= 10 ? 0 : 1),
          tint: tint(result2d[r][c], mostOutput),
          selected: r === position[0] && c === position[1],
          kind: r === position[0] && c === position[1] ? "hot" : "",
          name: `output row ${r + 1} column ${c + 1}: ${format(result2d[r][c])}`,
        }),
        small,
      );
      output.seat(...position);
      writeSum(result2d[position[0]][position[1]]);
      setAll(where, { text: `${position[0] * count + position[1] + 1} of ${count * count}` });
      ui.say(
        `Output row ${position[0] + 1}, column ${position[1] + 1} of ${count} by ${count}: the ${current.length} products add up to ${format(result2d[position[0]][position[1]])}.`,
      );
    } else {
      stop();
      const room = span(now.kernel, dilation);
      problem.replaceChildren(
        h("p", {
          text: `This kernel does not fit: ${now.kernel} taps, ${dilation} apart, span ${dilation}·(${now.kernel} − 1) + 1 = ${room} rows, but the padded input has only ${now.size} + 2·${padding} = ${padded}. The nearest values that work:`,
        }),
        h(
          "div",
          { class: "row" },
          suggestions(now, LIMITS).map((patch) =>
            Object.entries(patch).map(([name, value]) =>
              button(`${WORDS[name]} ${name === "size" || name === "kernel" ? `${value}×${value}` : value}`, () =>
                resize(name, value),
              ),
            ),
          ),
        ),
      );
      ui.say(problem.firstChild.textContent);
    }
    const free = padded - span(now.kernel, dilation);
    size.replaceChildren(
      h("b", { text: "Output size " }),
      sizeRule(now),
      count ? h("b", { text: String(count) }) : "",
    );
    const rest = count ? free % stride : 0;
    const plural = lost.size > 1 ? "s" : "";
    const which = [...lost].map((row) => row + 1).join(", ");
    setAll(unread, {
      text: lost.size
        ? `${rest ? `${free} / ${stride} leaves a remainder of ${rest}. ` : ""}Hatched, never read: row${plural} ${which} and column${plural} ${which} of the ${padding ? "padded " : ""}input.`
        : "Every row and column of the input is read.",
    });
    unread.hidden = count === 0;
  }

  function writeSum(value) {
    const lines = planes.map((_, channel) =>
      current.map((term, index) => [term, index]).filter(([term]) => term.channel === channel),
    );
    const totals = lines.map((line) => line.reduce((sumSoFar, [term]) => sumSoFar + term.weight * term.value, 0));
    const equals = (number) => `${rounded(number) ? "≈" : "="} ${format(number)}`;
    sum.innerHTML =
      lines
        .map(
          (line, channel) =>
            `<p>${line
              .map(
                ([term, index]) =>
                  `<span data-t="${index}" class="${term.weight * term.value === 0 ? "zero" : ""} ${index === hovered ? "lit" : ""}">${product(term)}</span>`,
              )
              .join(" + ")} <strong>${equals(totals[channel])}</strong></p>`,
        )
        .join("") + (totals.length > 1 ? `<p class="total">${signed(totals)} ${equals(value)}</p>` : "");
  }

  draw();
  return () => {
    stop();
    ui.dispose();
  };
}

export default { render };
