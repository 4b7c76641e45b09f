// What every live figure shares: elements, controls, drawing on demand. Python joins the files that a figure imports
// and the figure into one module string; nothing is imported at run time.

const SVG = "http://www.w3.org/2000/svg";

function build(node, props, children) {
  setAll(node, props);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function setAll(node, props) {
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "text") {
      if (node.textContent !== value) node.textContent = value;
    } else if (key === "value") node.value = value;
    else if (value === false || value === null || value === undefined) node.removeAttribute(key);
    else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, value === true ? "" : value);
  }
  return node;
}

// h("div", {class: "x", onclick: f, text: "..."}, child, ...) for HTML, s(...) for SVG.
export const h = (tag, props = {}, ...children) => build(document.createElement(tag), props, children);
export const s = (tag, props = {}, ...children) => build(document.createElementNS(SVG, tag), props, children);

// Below this width in pixels things that stand side by side go below each other.
export const NARROW = 500;

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const range = (count) => Array.from({ length: count }, (_, index) => index);

const whole = (value) => Math.abs(value - Math.round(value)) < 1e-9;

// Integers plainly, small ninths and the like as fractions, everything else rounded; a true minus sign.
export function format(value, decimals = 2) {
  if (!Number.isFinite(value)) return String(value);
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (whole(size)) return Math.round(size) ? sign + Math.round(size) : "0";
  if (size < 1 && !whole(size * 100)) {
    const bottom = [9, 16, 25, 27].find((number) => whole(size * number));
    if (bottom) return `${sign}${Math.round(size * bottom)}/${bottom}`;
  }
  const text = String(Number(size.toFixed(decimals)));
  return text === "0" ? (size > 0 ? `${sign}${size.toExponential(0).replace("-", "−")}` : "0") : sign + text;
}

// 10⁻⁶ for -6; 4.6·10⁻⁶ for 0.0000046, plainly where that is as short.
export const power = (exponent) =>
  `10${String(exponent)
    .replace("-", "⁻")
    .replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])}`;
export function scientific(value) {
  const [digits, exponent] = value.toExponential(1).split("e");
  return value === 0 || (value >= 1e-3 && value < 1e4)
    ? format(value, 4)
    : `${format(Number(digits), 1)}·${power(Number(exponent))}`;
}

export const grouped = (count) =>
  Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");

// "-1", "0.5", "1/9", a true minus sign; NaN for anything else.
export function parse(text) {
  const match = /^([+-]?\d*\.?\d+)(?:\/(\d+))?$/.exec(text.trim().replace("−", "-").replace(",", "."));
  const value = match ? Number(match[1]) / Number(match[2] ?? 1) : NaN;
  return Number.isFinite(value) ? value : NaN;
}

// A seeded generator of uniform numbers in [0, 1), so that "random" is the same for every reader (mulberry32).
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// The figure's frame in a shadow tree, so that no page's style reaches in: title, body, the spoken status line. The
// figure calls draw() itself the first time; after that it runs at most once a frame, on any change of the model or
// of the width.
export function mount({ model, el, title, about, css = "", keys, draw }) {
  if (!el.closest(".cnnlib-demo")) el.classList.add("cnnlib-demo");
  // The attribute keeps JupyterLab from taking keys that are meant for the figure as its own shortcuts.
  const host = el.appendChild(h("div", { "data-lm-suppress-shortcuts": "true" }));
  const body = h("div", { class: "body" });
  const status = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
  // A figure that stands on the page twice has two names.
  const name = `${title}. ${about}`;
  const twins = [...document.querySelectorAll("[data-figure]")].filter((other) => other.dataset.figure === name).length;
  host.dataset.figure = name;
  const frame = h(
    "section",
    { class: "frame", "aria-label": twins ? `${name} (${twins + 1})` : name },
    h("p", { class: "title", text: title }),
    body,
    status,
  );
  host.attachShadow({ mode: "open" }).append(h("style", { text: STYLE + css }), frame);
  let asked = 0;
  let spoken = 0;
  let width = 0;
  const ticking = new Set();
  const inner = () => {
    width = host.clientWidth || 640;
    return width - 2 - 2 * (width < NARROW ? 10 : 16);
  };
  const redraw = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw();
    });
  };
  for (const key of keys) model.on(`change:${key}`, redraw);
  const watcher = new ResizeObserver(() => {
    if (host.clientWidth !== width) {
      width = host.clientWidth;
      redraw();
    }
  });
  watcher.observe(host);
  return {
    body,
    redraw,
    width: inner,
    // The width of each of two drawings in ".halves".
    half: () => (inner() < NARROW ? inner() : (inner() - 20) / 2),
    get: (key) => model.get(key),
    set(patch) {
      let changed = false;
      for (const [key, value] of Object.entries(patch)) {
        if (JSON.stringify(model.get(key)) === JSON.stringify(value)) continue;
        model.set(key, value);
        changed = true;
      }
      if (changed) model.save_changes();
    },
    // Said once the reader pauses, so that holding a key down does not flood a screen reader.
    say(text) {
      clearTimeout(spoken);
      spoken = setTimeout(() => {
        if (status.textContent !== text) status.textContent = text;
      }, 400);
    },
    // Calls step(milliseconds since the last call) every frame until it returns false or the figure goes away.
    animate(step) {
      let last = performance.now();
      let id = 0;
      const run = (now) => {
        ticking.delete(id);
        if (step(now - last) !== false) {
          last = now;
          ticking.add((id = requestAnimationFrame(run)));
        }
      };
      ticking.add((id = requestAnimationFrame(run)));
      return () => {
        cancelAnimationFrame(id);
        ticking.delete(id);
      };
    },
    dispose() {
      watcher.disconnect();
      clearTimeout(spoken);
      cancelAnimationFrame(asked);
      ticking.forEach(cancelAnimationFrame);
      for (const key of keys) model.off(`change:${key}`, redraw);
    },
  };
}

// A whole number with buttons a thumb can hit; the field itself takes arrow keys and typing.
export function stepper({ label, min, max, onchange }) {
  const field = h("input", { type: "number", min, max, step: 1, "aria-label": label, inputmode: "numeric" });
  const pick = (value) => {
    if (Number.isInteger(value)) onchange(clamp(value, min, max));
  };
  field.addEventListener("input", () => {
    if (field.value !== "") pick(Number(field.value));
  });
  const button = (step, sign, word) =>
    h("button", {
      type: "button",
      tabindex: -1,
      "aria-label": `${word} ${label}`,
      text: sign,
      onclick: () => pick(Number(field.value) + step),
    });
  const less = button(-1, "−", "decrease");
  const more = button(1, "+", "increase");
  return {
    el: h(
      "div",
      { class: "stepper" },
      h("span", { "aria-hidden": "true", text: label }),
      h("span", { class: "set" }, less, field, more),
    ),
    update(value) {
      if (field.value !== String(value)) field.value = value;
      less.disabled = value <= min;
      more.disabled = value >= max;
    },
  };
}

export function slider({ label, min, max, step, show = format, onchange }) {
  const field = h("input", {
    type: "range",
    min,
    max,
    step,
    "aria-label": label,
    oninput: () => onchange(Number(field.value)),
  });
  const output = h("b", { "aria-hidden": "true" }); // the field says it, by aria-valuetext
  return {
    el: h("label", { class: "slider" }, h("span", { text: label }), field, output),
    update(value) {
      if (field.value !== String(value)) field.value = value;
      setAll(output, { text: show(value) });
      setAll(field, { "aria-valuetext": show(value) });
    },
  };
}

// One of a few, as buttons side by side that behave as radio buttons do.
export function choice({ label, options, onchange }) {
  const name = `choice-${Math.random().toString(36).slice(2)}`;
  const inputs = options.map(([value]) =>
    h("input", { type: "radio", name, value: String(value), onchange: () => onchange(value) }),
  );
  const items = options.map(([, text], index) => h("label", {}, inputs[index], h("span", { text })));
  return {
    el: h("fieldset", { class: "choice" }, h("legend", { text: label }), h("span", { class: "set" }, items)),
    update(value) {
      inputs.forEach((input, index) => {
        input.checked = options[index][0] === value;
      });
    },
  };
}

export function select({ label, options, onchange }) {
  const field = h(
    "select",
    { "aria-label": label, onchange: () => onchange(field.value) },
    options.map(([value, text]) => h("option", { value, text })),
  );
  return {
    el: h("label", { class: "select" }, h("span", { text: label }), field),
    update(value) {
      if (field.value !== String(value)) field.value = value;
    },
  };
}

export function button(text, onclick, props = {}) {
  return h("button", { type: "button", text, onclick, ...props });
}

export const STYLE = `
:host { display: block; container-type: inline-size; }
* { box-sizing: border-box; }
.frame {
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif;
  color: var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 14px
  16px; font-variant-numeric: tabular-nums; overflow: hidden;
}
@container (max-width: 499px) { .frame { padding: 12px 10px; } }
p { margin: .4em 0; }
.title { font-weight: 650; margin: 0 0 .6em; font-size: 16px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.muted { color: var(--muted); }
.small { font-size: 13px; }
.bar { display: flex; flex-wrap: wrap; gap: 9px 10px; align-items: end; margin: 0 0 12px; }
.row { display: flex; flex-wrap: wrap; gap: 14px 18px; align-items: flex-start; }
.stepper > span:first-child, .slider > span:first-child, .select > span:first-child, legend {
  display: block; font-size: 12.5px; color: var(--muted); margin: 0 0 3px; padding: 0; white-space: nowrap;
}
fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
.set {
  display: inline-flex; border: 1px solid var(--edge); border-radius: 6px; overflow: hidden; background:
  var(--paper);
}
.set:focus-within { outline: 2.5px solid var(--link); outline-offset: 1px; }
button, select, input { font: inherit; color: var(--ink); }
button {
  border: 1px solid var(--edge); border-radius: 6px; background: var(--panel); min-height: 34px; min-width: 34px;
  padding: 2px 10px; cursor: pointer; touch-action: manipulation;
}
button:hover:not(:disabled) { background: var(--wash); }
button:disabled { color: var(--edge); cursor: default; opacity: .55; }
.set button { border: 0; border-radius: 0; padding: 0; width: 34px; min-width: 32px; }
input[type=number] {
  width: 32px; border: 0; background: none; text-align: center; padding: 0; appearance: textfield; -moz-appearance:
  textfield; outline: none; font-weight: 600;
}
input[type=number]::-webkit-inner-spin-button, input[type=number]::-webkit-outer-spin-button {
  appearance: none; margin: 0;
}
.select { max-width: 100%; }
select {
  min-height: 36px; border: 1px solid var(--edge); border-radius: 6px; background: var(--paper); padding: 2px 6px;
  max-width: 100%;
}
button:focus-visible, select:focus-visible, a:focus-visible, svg:focus-visible, [tabindex]:focus-visible {
  outline: 2.5px solid var(--link); outline-offset: 1px;
}
.choice .set label { position: relative; display: block; }
.choice .set label + label { border-left: 1px solid var(--edge); }
.choice input { position: absolute; inset: 0; opacity: 0; margin: 0; cursor: pointer; width: 100%; height: 100%; }
.choice label span {
  display: block; margin: 0; padding: 6px 11px; font-size: 14px; line-height: 22px; color: var(--ink); white-space:
  nowrap;
}
.choice input:checked + span { background: var(--link); color: var(--paper); }
.slider {
  display: grid; grid-template-columns: 1fr auto; gap: 0 8px; align-items: baseline; min-width: min(100%, 150px);
  flex: 1 1 max-content;
}
.slider > span:first-child { margin: 0; }
.slider input {
  grid-column: 1 / 3; grid-row: 2; width: 100%; height: 30px; margin: 0; accent-color: var(--link); cursor: pointer;
  touch-action: pan-y;
}
.slider b { font-weight: 600; font-size: 14px; }
.slider input:focus-visible { outline: 2.5px solid var(--link); outline-offset: 0; border-radius: 6px; }
.slider b { min-width: 3.2em; text-align: right; font-weight: 600; }
.math { overflow-wrap: anywhere; line-height: 1.75; }
.math b { color: var(--mark); font-weight: 650; }
.note {
  background: var(--wash); border-left: 3px solid var(--mark); padding: 8px 12px; margin: 10px 0; border-radius: 0
  6px 6px 0;
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
`;
