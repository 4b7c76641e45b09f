import { button, h, mount } from "./toolkit.js";

// The content that Python encoded: base64 of JSON in UTF-8.
export function decode(payload) {
  const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

const SCALES = { k: 1e3, thousand: 1e3, m: 1e6, million: 1e6, g: 1e9, billion: 1e9, "%": 1 };

// "34,944", "34 944", "-0.5", "−1/9", "6.2e7", "6.2·10^7", "10⁶", "60 million", "60M", "40%", each with or without the
// unit behind it; a comma that parts no groups of three is a decimal comma. NaN for anything else.
export function read(text, unit = "") {
  let rest = text.trim().toLowerCase().replace(/[−–]/g, "-").replace(/[\s\u00a0_']+/g, " ");
  if (unit && rest.endsWith(unit.toLowerCase())) rest = rest.slice(0, -unit.length).trim();
  rest = rest.replace(/[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+/g, (digits) => `^${[...digits].map((one) => "⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(one)).join("").replace("-1", "-")}`);
  const [, size, scale] = /^(.*?)\s*(thousand|million|billion|[kmg%])?$/.exec(rest);
  let number = size.replace(/ /g, "");
  number = /^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$/.test(number) ? number.replaceAll(",", "") : number.replace(",", ".");
  const match =
    /^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?:\/(\d+))?(?:[·*×x]10(?:\^|\*\*)([+-]?\d+))?$/.exec(number) ??
    /^([+-]?10)()(?:\^|\*\*)([+-]?\d+)$/.exec(number);
  if (!match) return NaN;
  const power = number.startsWith("10^") || number.startsWith("10**") ? Number(match[3]) - 1 : Number(match[3] ?? 0);
  const value = (Number(match[1]) / Number(match[2] || 1)) * 10 ** power * (scale ? SCALES[scale] : 1);
  return Number.isFinite(value) ? value : NaN;
}

const off = (value, target) => Math.abs(value - target) / (Math.abs(target) || 1);
const near = (value, target, tolerance) => Math.abs(value - target) <= tolerance * Math.abs(target);

// What is said to an answer: the number of a choice, or a number.
export function judge(content, given) {
  if (content.choices) {
    const right = given === content.answer;
    const [text, explanation] = content.choices[content.answer];
    return { right, texts: [content.choices[given][1], ...(right ? [] : [`The answer: <b>${text}</b>. ${explanation}`])] };
  }
  const right = near(given, content.answer, content.tolerance);
  const answer = `<b>${content.shown}${content.unit && ` ${content.unit}`}</b>`;
  if (right) return { right, texts: content.percent ? [`The exact answer: ${answer}.`] : [] };
  const [mistake] = content.wrong
    .filter(([value]) => near(given, value, content.tolerance))
    .sort(([one], [other]) => off(given, one) - off(given, other));
  const generic = content.percent ? `That is not within ${content.percent} of the answer.` : "That is not the number.";
  return { right, texts: [mistake ? mistake[1] : generic, `The answer: ${answer}.`] };
}

export const written = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 12 }).replace("-", "−");

// The browser keeps what was committed, unless it keeps nothing: a private window, a sandboxed page.
const KEY = "cnnlib-question:";
function recall(content) {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY + content.id));
    if (!content.choices) return typeof kept === "number" ? kept : null;
    const index = content.choices.findIndex(([text]) => text === kept); // a choice that was reworded is forgotten
    return index < 0 ? null : index;
  } catch {
    return null;
  }
}
function keep(content, given) {
  try {
    if (given === null) localStorage.removeItem(KEY + content.id);
    else localStorage.setItem(KEY + content.id, JSON.stringify(content.choices ? content.choices[given][0] : given));
  } catch {
    // then it lasts as long as the page
  }
}

function withHTML(node, html) {
  node.innerHTML = html; // the author's own words
  return node;
}

const CSS = `
legend, .ask { font-size: 15px; color: var(--ink); white-space: normal; margin: 0 0 8px; display: block; float: none; }
.answers label { display: flex; gap: 10px; align-items: baseline; padding: 9px 12px; margin: 0 0 6px; cursor: pointer;
  border: 1px solid var(--line); border-radius: 6px; }
.answers label:hover:not(.done) { background: var(--wash); }
.answers label:has(:focus-visible) { outline: 2.5px solid var(--link); outline-offset: 1px; }
.answers input { accent-color: var(--link); margin: 0; flex: none; width: 16px; height: 16px; position: relative; top: 2px;
  outline: none; }
.answers .done { cursor: default; }
.answers .right { border: 2px solid var(--good); padding: 8px 11px; }
.answers .missed { border: 2px solid var(--bad); padding: 8px 11px; }
.answers span { flex: 1; overflow-wrap: anywhere; }
.answers i { font-style: normal; font-weight: 650; font-size: 13px; }
.right i, .verdict.good { color: var(--good); } .missed i, .verdict.bad { color: var(--bad); }
.entry { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 0 0 10px; }
.entry input { min-height: 36px; width: 11em; max-width: 100%; border: 1px solid var(--edge); border-radius: 6px;
  background: var(--paper); padding: 2px 10px; }
.entry input:focus-visible { outline: 2.5px solid var(--link); outline-offset: 1px; }
.commit { background: var(--link); color: var(--paper); border-color: var(--link); font-weight: 650; padding: 5px 18px; }
.commit:hover:not(:disabled) { background: var(--ink); }
.alert { color: var(--bad); min-height: 1.45em; margin: 6px 0 0; }
.alert:empty { display: none; }
.feedback { border-top: 1px solid var(--line); padding-top: 8px; margin: 12px 0; outline-offset: 2px; }
.feedback:focus-visible { outline: 2.5px solid var(--link); }
.verdict { font-weight: 650; }
code { font-size: .92em; overflow-wrap: anywhere; }
`;

export function render({ model, el }) {
  const content = decode(model.get("payload"));
  const about = withHTML(document.createElement("template"), content.question).content.textContent;
  const ui = mount({ model, el, css: CSS, title: "Predict", about, keys: [], draw() {} });
  const alert = h("p", { class: "alert", role: "alert" });
  const feedback = h("div", { class: "feedback", tabindex: -1, role: "group", "aria-label": "What your answer says" });
  const unit = content.unit ?? "";

  let fields;
  let form;
  let given = () => null; // what the reader has entered; null for nothing yet
  if (content.choices) {
    fields = content.choices.map((_, index) => h("input", { type: "radio", name: "answer", value: String(index) }));
    const labels = content.choices.map(([text], index) =>
      h("label", {}, fields[index], withHTML(h("span"), text), h("i")),
    );
    form = h("fieldset", { class: "answers" }, withHTML(h("legend"), content.question), labels);
    given = () => {
      const index = fields.findIndex((field) => field.checked);
      return index < 0 ? null : index;
    };
  } else {
    // "text": a number field would refuse "34,944" and hide what was typed
    fields = [h("input", { type: "text", inputmode: "text", autocomplete: "off", id: "answer", class: "number" })];
    form = h(
      "div",
      {},
      withHTML(h("label", { class: "ask", for: "answer" }), content.question),
      h("div", { class: "entry" }, fields, unit && h("span", { text: unit })),
    );
    given = () => {
      const value = read(fields[0].value, unit);
      return Number.isNaN(value) ? null : value;
    };
    fields[0].addEventListener("keydown", (event) => {
      if (event.key === "Enter") commit();
    });
  }
  const action = button("Commit", () => commit(), { class: "commit" });
  const clear = button(
    "Clear my answer",
    () => {
      keep(content, null);
      show(null);
      fields[0].focus();
    },
    { class: "small" },
  );
  // "Clear" stands elsewhere than "Commit": a double click there shall not undo it.
  ui.body.append(form, action, alert, feedback, clear);

  function commit() {
    const answer = given();
    if (answer === null) {
      alert.textContent = content.choices
        ? "Pick one first."
        : fields[0].value.trim()
          ? "That can't be read as a number. Examples: 12,345, 0.5, 1/9, 6.2e7, 60 million."
          : "Enter a number first.";
      fields[0].focus();
      return;
    }
    keep(content, answer);
    show(answer);
    feedback.focus({ preventScroll: true });
    feedback.scrollIntoView({ block: "nearest" });
    ui.say(feedback.innerText);
  }

  // Shows the question as answered, or, for null, as new.
  function show(answer) {
    const done = answer !== null;
    alert.textContent = "";
    fields.forEach((field, index) => {
      field.disabled = done;
      if (content.choices) {
        field.checked = done && index === answer;
        const label = field.parentElement;
        const right = done && index === content.answer;
        const missed = done && index === answer && !right;
        label.className = [done && "done", right && "right", missed && "missed"].filter(Boolean).join(" ");
        label.lastChild.textContent = right
          ? `✓ ${index === answer ? "your answer, right" : "right"}`
          : missed
            ? "✗ your answer"
            : "";
      } else field.value = done ? written(answer) : "";
    });
    action.hidden = done;
    clear.hidden = feedback.hidden = !done;
    if (!done) return feedback.replaceChildren();
    const { right, texts } = judge(content, answer);
    const verdict = right ? "✓ Right." : "✗ Not right.";
    feedback.replaceChildren(
      h("p", { class: `verdict ${right ? "good" : "bad"}`, text: verdict }),
      ...[...texts, content.because].filter(Boolean).map((text) => withHTML(h("p"), text)),
    );
  }

  show(recall(content));
  return ui.dispose;
}

export default { render };
