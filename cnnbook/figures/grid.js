import { clamp, h, parse, range, setAll } from "./toolkit.js";

// Grids of numbers, to read and to edit.

// Background of a value: blue for positive, orange for negative, stronger the nearer to the largest size.
export function tint(value, largest) {
  if (!largest || !value) return "transparent";
  const share = Math.round(18 + 82 * Math.min(1, Math.abs(value) / largest));
  return `color-mix(in srgb, var(${value > 0 ? "--plus" : "--minus"}) ${share}%, var(--paper))`;
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// A grid of numbers with one tab stop: arrow keys, Home and End move inside it. update(rows, cols, cell, size):
// cell(r, c) -> {text, tint, kind, note, edit, name}; `edit` makes it a field whose new value goes to onedit(r, c,
// value); onpick(r, c, how) hears pointer and keyboard moves where there are no fields.
export function grid({ label, onedit, onpick, onkey, onhover }) {
  const el = h("div", { role: "grid", class: "grid", "aria-label": label });
  let shape = "";
  let cells = [];
  let seat = [0, 0];
  const target = (r, c) => cells[r]?.[c]?.firstElementChild ?? cells[r]?.[c];
  const place = (node) => {
    const cell = node.closest?.("[data-r]");
    return cell && [Number(cell.dataset.r), Number(cell.dataset.c)];
  };

  function sit(r, c, focus) {
    target(...seat)?.setAttribute("tabindex", -1);
    seat = [r, c];
    const next = target(r, c);
    next?.setAttribute("tabindex", 0);
    if (focus) {
      next?.focus({ preventScroll: true });
      next?.select?.();
    }
  }

  function commit(field) {
    const value = parse(field.value);
    const [r, c] = place(field);
    const bad = Number.isNaN(value);
    setAll(field, { "aria-invalid": bad && field.value.trim() !== "" ? "true" : null });
    if (!bad) onedit(r, c, value);
  }

  el.addEventListener("keydown", (event) => {
    const here = place(event.target);
    if (!here) return;
    const step = event.key === "Enter" ? [1, 0] : STEPS[event.key];
    const rows = cells.length;
    const cols = cells[0].length;
    let next = null;
    if (step) next = [here[0] + step[0], here[1] + step[1]];
    else if (event.key === "Home") next = event.ctrlKey ? [0, 0] : [here[0], 0];
    else if (event.key === "End") next = event.ctrlKey ? [rows - 1, cols - 1] : [here[0], cols - 1];
    else if (onkey?.(event)) return event.preventDefault();
    if (!next) return;
    event.preventDefault();
    next = [clamp(next[0], 0, rows - 1), clamp(next[1], 0, cols - 1)];
    if (onedit && target(...next).tagName !== "INPUT") return;
    sit(...next, true);
    onpick?.(...next, "key");
  });
  el.addEventListener("focusin", (event) => {
    const here = place(event.target);
    if (here) sit(...here, false);
    event.target.select?.();
  });
  // A click would leave the cursor beside the old number; the new one is to replace it.
  el.addEventListener("click", (event) => event.target.select?.());
  if (onedit) {
    el.addEventListener("input", (event) => commit(event.target));
    el.addEventListener("focusout", (event) => {
      setAll(event.target, { "aria-invalid": null });
      event.target.value = event.target.dataset.shown ?? event.target.value;
    });
  }
  if (onpick) {
    const point = (event) => {
      const here = place(event.target);
      if (!here) return;
      if (event.type === "pointerdown") {
        sit(...here, true);
        event.preventDefault();
      }
      if (event.type === "pointerdown" || event.pointerType === "mouse") {
        sit(...here, false);
        onpick(...here, "point");
      }
    };
    el.addEventListener("pointerdown", point);
    el.addEventListener("pointerover", point);
  }
  if (onhover) {
    el.addEventListener("pointerover", (event) => onhover(place(event.target)));
    el.addEventListener("pointerleave", () => onhover(null));
  }

  return {
    el,
    seat: (r, c) => {
      if (r !== seat[0] || c !== seat[1]) sit(r, c, el.contains(el.getRootNode().activeElement));
    },
    update(rows, cols, cell, size) {
      const specs = range(rows).map((r) => range(cols).map((c) => cell(r, c)));
      const now = `${rows} ${cols} ${specs
        .flat()
        .map((spec) => (spec.edit ? 1 : 0))
        .join("")}`;
      if (now !== shape) {
        const had = el.contains(el.getRootNode().activeElement);
        shape = now;
        cells = specs.map((row, r) =>
          row.map((spec, c) => {
            const box = h("div", { role: "gridcell", "data-r": r, "data-c": c });
            if (spec.edit)
              box.append(h("input", { type: "text", tabindex: -1, autocomplete: "off", spellcheck: "false" }));
            else if (onpick) box.tabIndex = -1;
            return box;
          }),
        );
        el.replaceChildren(...cells.map((row) => h("div", { role: "row" }, row)));
        if (onedit || onpick) {
          let [r, c] = [clamp(seat[0], 0, rows - 1), clamp(seat[1], 0, cols - 1)];
          if (onedit && !specs[r][c].edit) {
            r = specs.findIndex((row) => row.some((spec) => spec.edit));
            c = specs[r].findIndex((spec) => spec.edit);
          }
          sit(r, c, had);
        }
      }
      el.style.setProperty("--cell", `${size}px`);
      specs.forEach((row, r) =>
        row.forEach((spec, c) => {
          const box = cells[r][c];
          const inner = box.firstElementChild;
          setAll(box, {
            class: `cell ${spec.kind ?? ""}`,
            "data-note": spec.note ?? null,
            "aria-selected": spec.selected === undefined ? null : String(spec.selected),
          });
          if (box.dataset.tint !== spec.tint)
            box.style.setProperty("--tint", (box.dataset.tint = spec.tint ?? "transparent"));
          if (inner) {
            inner.dataset.shown = spec.text;
            setAll(inner, { "aria-label": spec.name });
            if (inner !== inner.getRootNode().activeElement && inner.value !== spec.text) inner.value = spec.text;
            else if (
              inner === inner.getRootNode().activeElement &&
              parse(inner.value) !== parse(spec.text) &&
              !Number.isNaN(parse(inner.value))
            )
              inner.value = spec.text;
          } else setAll(box, { text: spec.text, "aria-label": spec.name ?? null });
        }),
      );
    },
  };
}

export const GRID_STYLE = `
.grid {
  display: inline-grid; width: max-content; border: 1px solid var(--edge); background: var(--line); gap: 1px;
  font-size: calc(var(--cell) * .42); line-height: 1; touch-action: manipulation;
}
.grid > div { display: flex; gap: 1px; }
.cell {
  position: relative; width: calc(var(--cell) - 1px); height: calc(var(--cell) - 1px); display: grid; place-items:
  center; background: linear-gradient(var(--tint), var(--tint)), var(--paper); user-select: none;
  -webkit-user-select: none;
}
.cell input {
  width: 100%; height: 100%; border: 0; padding: 0; text-align: center; background: none; outline: none; cursor:
  text; min-width: 0; border-radius: 0;
}
.cell input:focus { box-shadow: inset 0 0 0 2.5px var(--link); }
.cell input[aria-invalid] { box-shadow: inset 0 0 0 2.5px var(--bad); }
.cell[tabindex] { cursor: pointer; }
.cell[tabindex]:focus-visible { outline: 2.5px solid var(--link); outline-offset: 1px; z-index: 3; }
.cell.in { box-shadow: 0 0 0 2px var(--mark); z-index: 1; }
.cell.hot { box-shadow: 0 0 0 3.5px var(--mark); z-index: 2; }
.cell.pad { color: var(--muted); background: var(--panel); }
.cell.unread { background: repeating-linear-gradient(135deg, transparent 0 3px, var(--edge) 3px 4px), var(--panel); }
.cell.unread input { background: var(--paper); width: 62%; height: 66%; }
.cell[data-note]::after {
  content: attr(data-note); position: absolute; right: 1px; bottom: 1px; font-size: calc(var(--cell) * .27); color:
  var(--mark); font-weight: 650; pointer-events: none;
}
`;
