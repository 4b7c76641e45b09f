import { button, choice, clamp, h, mount, range, setAll } from "./toolkit.js";
import { NoFile, fetchFile } from "./files.js";
import { LAYERS, SIZE, engine } from "./squeezenet.js";

// Side of the patch in pixels of the view.
const COVER = 64;
const STEP = 8;
const THUMB = 44;
// What the network takes as 0.
const MEAN = "rgb(123 117 104)";
const DARKEST = 0.85;

const CSS = `
.thumbs { margin: 0 0 10px; }
.thumbs .all { display: flex; flex-wrap: wrap; gap: 4px; }
.thumbs label { position: relative; display: block; border-radius: 5px; cursor: pointer; }
.thumbs input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: pointer; }
.thumbs i { display: block; width: ${THUMB}px; height: ${THUMB}px; border-radius: 5px; }
.thumbs input:checked + i { box-shadow: 0 0 0 3px var(--mark); }
.thumbs label:focus-within { outline: 2.5px solid var(--link); outline-offset: 3px; }
.bar { margin: 0 0 6px; }
.bar button:nth-child(2) { min-width: 148px; }
.said { min-height: 2.9em; margin: 8px 0; }
.split { display: grid; grid-template-columns: minmax(0, 300px) minmax(0, 1fr); gap: 12px 20px; margin-bottom: 14px; }
@container (max-width: 499px) { .said { min-height: 5.8em; } .split { grid-template-columns: minmax(0, 1fr); } }
.stage {
  position: relative; aspect-ratio: 1; width: 100%; max-width: 300px; border: 2px dashed var(--edge); border-radius: 6px;
  overflow: hidden; cursor: crosshair; touch-action: none; background: var(--panel);
}
.stage::after { content: "Drop a picture here"; position: absolute; inset: 45% 0 0; text-align: center; color: var(--muted); }
.stage.full { border-style: solid; }
.stage.full::after { content: none; }
.over .stage { border-color: var(--mark); }
.stage canvas, .stage video { position: absolute; inset: 0; width: 100%; height: 100%; }
.stage video { object-fit: cover; }
.stage [hidden] { display: none; }
.caption { min-height: 7em; margin: 6px 0; overflow-wrap: anywhere; }
.under { display: flex; gap: 10px; align-items: center; }
.guesses { display: grid; gap: 4px; align-content: start; }
.guesses button {
  display: grid; grid-template-columns: 1fr auto; gap: 1px 8px; text-align: left; width: 100%; padding: 4px 8px 7px;
  min-height: 46px; opacity: 1;
}
.guesses button[aria-pressed=true] { border-color: var(--mark); box-shadow: inset 0 0 0 1.5px var(--mark); }
.guesses span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.guesses b { font-weight: 600; }
.guesses .track {
  grid-column: 1 / 3; position: relative; overflow: visible; height: 9px; background: var(--paper); border: 1px solid var(--line);
}
.track i { position: absolute; inset: 0 auto 0 0; background: var(--hue-1); }
.track u { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--mark); }
.why { min-height: 4.5em; margin: 4px 0 0; }
.choice .set { flex-wrap: wrap; }
.sheet { aspect-ratio: 2; width: 100%; max-width: 640px; background: var(--panel); border: 1px solid var(--line); }
.sheet canvas { display: block; width: 100%; height: 100%; object-fit: contain; image-rendering: pixelated; }
.count { min-height: 3em; }
`;

const percent = (share) => `${Math.round(100 * share)}%`;

const MISSING = {
  kernel: "The kernel doesn't hand out the network: run the cell again, and choose once more.",
  page: "The network is not beside this page. The built book has it; in a notebook, end the cell with figures.classifier().widget().",
};

// What a browser's refusal of the camera means.
const REFUSALS = {
  NotAllowedError: "The camera was refused. Allow it in the browser's settings, or choose a file.",
  NotFoundError: "No camera was found. Choose a file instead.",
  NotReadableError: "Another program has the camera. Close it, or choose a file.",
};

export function render({ model, el }) {
  const photographs = model.get("photographs").map(([name, shows, credit]) => ({ name, shows, credit }));
  const ui = mount({
    model,
    el,
    title: "Show it something",
    about: "A network trained on ImageNet looks at a photograph, at a file of yours, or through the camera.",
    css: `${CSS} .thumbs i { background-image: url(${model.get("thumbnails")}); }`,
    keys: ["photograph", "cover", "layer", "all"],
    draw,
  });

  // On the stage: {view, width, height, seeThrough, title}; what the network says of it, and said of all of it.
  let [shown, found, whole, maps] = [null, null, null, null];
  let [names, machine, stream, chosen] = [null, null, null, null];
  let [turn, busy, again, inPage] = [0, false, false, false];

  const thumbs = photographs.map(({ name, shows, credit }, index) => {
    const field = h("input", {
      type: "radio",
      name: `photograph-${Math.random().toString(36).slice(2)}`,
      "aria-label": shows,
      onchange: () => ui.set({ photograph: name }),
    });
    return { field, el: h("label", { title: credit }, field, h("i", { style: `background-position: ${-THUMB * index}px 0` })) };
  });
  for (const { field } of thumbs) field.name = thumbs[0].field.name;
  const files = h("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    onchange: () => {
      if (files.files.length) own(files.files[0]);
      // The same file may be chosen again.
      files.value = "";
    },
  });
  const start = button("Start the camera", () => (stream ? take() : film()));
  const stop = button("Stop", () => {
    unfilm();
    tell("The camera is off.");
  });
  const said = h("p", { class: "said note" });
  const canvas = h("canvas", { width: SIZE, height: SIZE });
  const video = h("video", { muted: true, playsinline: true, hidden: true });
  video.muted = true;
  const stage = h("div", { class: "stage", role: "application", tabindex: 0 }, canvas, video);
  const caption = h("p", { class: "caption small muted" });
  const clear = button("Uncover", () => ui.set({ cover: [] }));
  const rows = range(5).map((place) => {
    const [name, share, bar, before] = [h("span"), h("b"), h("i"), h("u")];
    const row = button("", () => {
      chosen = chosen === found.best[place] ? null : found.best[place];
      draw();
    });
    row.append(name, share, h("span", { class: "track" }, bar, before));
    return { row, name, share, bar, before };
  });
  const why = h("p", { class: "why small muted" });
  const layer = choice({
    label: "Maps of",
    options: LAYERS.map((name) => [name, name]),
    onchange: (name) => ui.set({ layer: name }),
  });
  const all = choice({
    label: "How many",
    options: [
      [false, "the 32 strongest"],
      [true, "all"],
    ],
    onchange: (value) => ui.set({ all: value }),
  });
  const sheet = h("canvas", { role: "img", width: 2, height: 1 });
  const count = h("p", { class: "count small muted" });
  ui.body.append(
    h(
      "fieldset",
      { class: "thumbs" },
      h("legend", { text: "A photograph" }),
      h("div", { class: "all" }, thumbs.map((one) => one.el)),
    ),
    h("div", { class: "bar" }, button("Your file", () => files.click()), start, stop, files),
    h("p", {
      class: "small muted",
      text: "Or drop one here. The network computes in this page: no picture leaves this machine. The browser asks before the camera starts.",
    }),
    said,
    h(
      "div",
      { class: "split" },
      h("div", {}, stage, caption, h("div", { class: "under small muted" }, clear, "Drag over the picture to cover a part.")),
      h("div", {}, h("div", { class: "guesses" }, rows.map((one) => one.row)), why),
    ),
    h("div", { class: "bar" }, layer.el, all.el),
    h("div", { class: "sheet" }, sheet),
    count,
  );

  function tell(text) {
    setAll(said, { text });
    ui.say(text);
  }

  async function ready() {
    if (names) return;
    tell("The network is being loaded: 1.7 MB, once.");
    machine ??= engine(() => {
      inPage = true;
    });
    const network = await fetchFile(model, "classifier", "network");
    ({ names } = await machine.ask({ network }));
  }

  // Puts a picture on the stage and asks the network; `picture` promises a file, base64 or a bitmap.
  async function show(title, picture) {
    turn += 1;
    const mine = turn;
    unfilm();
    try {
      await ready();
      tell("The picture is being read.");
      const seen = await machine.ask({ picture: await picture() });
      if (mine !== turn) return;
      if (!seen.view) {
        return tell(`${title} is no picture that this browser can read. JPEG and PNG are.`);
      }
      shown = { ...seen, title };
      [found, whole, chosen] = [null, null, null];
      draw();
      judge();
    } catch (error) {
      if (!(error instanceof NoFile)) throw error;
      if (mine !== turn) return;
      // It may be chosen again.
      ui.set({ photograph: "" });
      tell(MISSING[model.send ? "kernel" : "page"]);
    }
  }

  const own = (file) => {
    ui.set({ photograph: "" });
    show(`“${file.name}”`, async () => file);
  };

  // One task at a time: what is moved meanwhile is asked once more when the answer is there.
  async function judge() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const [asked, cover] = [shown, ui.get("cover")];
    if (!found) tell("The network looks.");
    try {
      const answer = await machine.ask({ view: asked.view, cover: square(cover) });
      if (asked === shown) await answered(answer, cover);
    } finally {
      busy = false;
    }
    if (again) {
      again = false;
      judge();
    }
  }

  async function answered(answer, cover) {
    found = answer;
    if (!cover.length) whole = answer;
    if (!found.best.includes(chosen)) chosen = null;
    const [best] = found.best;
    const first = `${cover.length ? "With a part covered, first guess" : "First guess"}: ${names[best]}, ${percent(found.shares[best])}.`;
    tell(
      `${first} It took ${found.seconds.toFixed(2)} s${inPage ? ", a layer at a time, since the browser lets this page start no worker" : ""}.`,
    );
    ui.say(first);
    await unroll();
    draw();
  }

  // Draws the maps of the chosen layer, as of the last answer.
  async function unroll() {
    if (!found) return;
    const name = ui.get("layer");
    maps = { name, ...(await machine.ask({ layer: name, most: ui.get("all") ? Infinity : 32 })) };
    [sheet.width, sheet.height] = [maps.width, maps.height];
    sheet.getContext("2d").putImageData(new ImageData(maps.pixels, maps.width, maps.height), 0, 0);
  }

  async function film() {
    if (!navigator.mediaDevices?.getUserMedia) {
      return tell("This page can't ask for the camera: browsers allow it on https only. Choose a file instead.");
    }
    // A picture that is being read comes to nothing.
    turn += 1;
    const mine = turn;
    tell("The browser asks whether the camera may be used.");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      // Meanwhile another picture was chosen.
      if (mine !== turn) return unfilm();
      video.srcObject = stream;
      await video.play();
    } catch (error) {
      unfilm();
      return tell(REFUSALS[error.name] ?? `The camera could not be started (${error.message}). Choose a file instead.`);
    }
    ui.set({ photograph: "" });
    tell("The camera is on. What it shows stays in this page.");
    draw();
  }

  function unfilm() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
    draw();
  }

  async function take() {
    const bitmap = await createImageBitmap(video);
    show("The camera's picture", async () => bitmap);
  }

  function square(cover) {
    return cover.length ? [...cover.map((at) => at - COVER / 2), COVER] : [0, 0, 0];
  }
  const inside = (at) => Math.round(clamp(at, 0, SIZE));
  const over = (x, y) => ui.set({ cover: [inside(x), inside(y)] });
  const point = (event) => {
    const edge = canvas.getBoundingClientRect();
    over(((event.clientX - edge.left) / edge.width) * SIZE, ((event.clientY - edge.top) / edge.height) * SIZE);
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    point(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) point(event);
  });
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, -STEP], ArrowDown: [0, STEP], ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0] }[event.key];
    const [x, y] = ui.get("cover").length ? ui.get("cover") : [SIZE / 2, SIZE / 2];
    if (step) over(x + step[0], y + step[1]);
    else if (/^(Delete|Backspace)$/.test(event.key)) ui.set({ cover: [] });
    else return;
    event.preventDefault();
  });
  const frame = ui.body.parentElement;
  const hover = (event) => {
    event.preventDefault();
    frame.classList.toggle("over", event.type === "dragover");
  };
  frame.addEventListener("dragover", hover);
  frame.addEventListener("dragleave", hover);
  frame.addEventListener("drop", (event) => {
    hover(event);
    const [file] = event.dataTransfer.files;
    if (file) own(file);
    else tell("That was no file: save the picture first, and drop the file.");
  });

  // What was last acted on, so that a change by Python, by a reader or by a linked widget is the same.
  let last = { photograph: "", cover: [], layer: ui.get("layer"), all: ui.get("all") };
  function react() {
    const now = Object.fromEntries(Object.keys(last).map((key) => [key, ui.get(key)]));
    const changed = (key) => JSON.stringify(now[key]) !== JSON.stringify(last[key]);
    const news = Object.keys(last).filter(changed);
    last = now;
    if (news.includes("photograph") && now.photograph) {
      const { name, credit } = photographs.find((one) => one.name === now.photograph);
      show(credit, () => fetchFile(model, "classifier", name));
    } else if (news.includes("cover")) {
      if (shown) judge();
      else tell(now.cover.length ? "A part is covered, and nothing is shown yet." : "Nothing is shown yet.");
    }
    if (news.includes("layer") || news.includes("all")) unroll().then(draw);
  }

  function draw() {
    react();
    const cover = ui.get("cover");
    thumbs.forEach(({ field }, index) => {
      field.checked = photographs[index].name === ui.get("photograph");
    });
    setAll(start, { text: stream ? "Take the picture" : "Start the camera" });
    stop.disabled = !stream;
    clear.disabled = !cover.length;
    setAll(video, { hidden: !stream });
    setAll(stage, {
      class: shown ? "stage full" : "stage",
      "aria-label": `The picture${shown ? `, ${cover.length ? `covered around ${cover[0]}, ${cover[1]}` : "nothing covered"}` : ": none yet"}. Arrow keys move a patch over it, Delete removes it.`,
    });
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, SIZE, SIZE);
    if (shown) pen.putImageData(new ImageData(shown.view, SIZE, SIZE), 0, 0);
    const place = found ? found.best.indexOf(chosen) : -1;
    if (place >= 0) shade(pen, found.evidence[place], found.side);
    if (cover.length) {
      pen.fillStyle = MEAN;
      pen.strokeStyle = "white";
      pen.lineWidth = 2;
      pen.fillRect(...square(cover).slice(0, 2), COVER, COVER);
      pen.strokeRect(...square(cover).slice(0, 2), COVER, COVER);
    }
    setAll(caption, {
      text: shown
        ? `${shown.title}: ${shown.width} × ${shown.height} pixels. The network gets its middle square at 256 × 256, cut to ${SIZE} × ${SIZE}${shown.seeThrough ? "; see-through parts count as white" : ""}.`
        : "",
    });
    rows.forEach(({ row, name, share, bar, before }, index) => {
      const guess = found?.best[index];
      row.disabled = !found;
      setAll(row, { "aria-pressed": String(found !== null && guess === chosen) });
      setAll(name, { text: found ? names[guess] : "–", title: found ? names[guess] : null });
      setAll(share, { text: found ? percent(found.shares[guess]) : "" });
      bar.style.width = found ? `${100 * found.shares[guess]}%` : "0";
      const compared = found && whole && whole !== found;
      before.style.left = compared ? `${100 * whole.shares[guess]}%` : "0";
      before.style.visibility = compared ? "visible" : "hidden";
    });
    setAll(why, {
      text:
        place >= 0
          ? `Bright where the map of “${names[chosen]}” is large. The mean of its ${found.side} × ${found.side} numbers is the score, ${found.scores[chosen].toFixed(1)}; the shares are the softmax of all scores.`
          : `Choose a guess to see where in the picture its score comes from.${whole && whole !== found ? " The upright marks: nothing covered." : ""}`,
    });
    layer.update(ui.get("layer"));
    all.update(ui.get("all"));
    setAll(sheet, { "aria-label": maps ? `activations of ${maps.name}` : "no activations yet" });
    setAll(count, {
      text: maps
        ? `${maps.name}: ${maps.shown === maps.count ? `all ${maps.count}` : `the ${maps.shown} strongest of ${maps.count}`} maps of ${maps.side} × ${maps.side} numbers, the strongest first. Each has its own scale; black is 0.`
        : "Nothing shown yet.",
    });
  }

  // Darkens the picture where the map is small. Its units' middles are 16 pixels apart, the first at the 16th; the
  // outermost go on to the edge.
  function shade(pen, map, side) {
    const largest = Math.max(...map) || 1;
    const wide = side + 2;
    const veil = h("canvas", { width: wide, height: wide });
    const pixels = new ImageData(wide, wide);
    for (const index of range(wide * wide)) {
      const [r, c] = [Math.floor(index / wide), index % wide].map((at) => clamp(at - 1, 0, side - 1));
      pixels.data[4 * index + 3] = 255 * DARKEST * (1 - map[r * side + c] / largest);
    }
    veil.getContext("2d").putImageData(pixels, 0, 0);
    pen.drawImage(veil, -9, -9, 16 * wide, 16 * wide);
  }

  draw();
  tell("Choose a photograph or a picture of yours. The network, 1.7 MB, is loaded then.");
  return () => {
    unfilm();
    machine?.stop();
    ui.dispose();
  };
}

export default { render };
