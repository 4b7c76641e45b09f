import { CONVOLVE, convolve } from "./convolve.js";

// SqueezeNet 1.1 on a picture, in a worker made of these functions' source or, without workers, in the page, a layer at
// a time. So they use nothing but each other, LAYERS and SIZE.

// The middle square becomes 256 x 256; the network gets its middle.
export const SIZE = 227;
export const LAYERS =
  "conv1 pool1 fire2 fire3 pool3 fire4 fire5 pool5 fire6 fire7 fire8 fire9 conv10".split(" ");

function bytes(content) {
  if (typeof content !== "string") return content;
  const letters = atob(content);
  const values = new Uint8Array(letters.length);
  for (let index = 0; index < values.length; index += 1) values[index] = letters.charCodeAt(index);
  return values;
}

// The convolutions in the order of their weights: name, filters, channels, kernel.
function convolutions() {
  const fires = [2, 3, 4, 5, 6, 7, 8, 9].flatMap((number) => {
    // Two by two they have 16, 32, 48 and 64 filters to squeeze, and four times as many of each kind to expand.
    const squeeze = 16 * Math.floor(number / 2);
    const channels = number === 2 ? 64 : 128 * Math.floor((number - 1) / 2);
    return [
      [`fire${number}.squeeze`, squeeze, channels, 1],
      [`fire${number}.expand1x1`, 4 * squeeze, squeeze, 1],
      [`fire${number}.expand3x3`, 4 * squeeze, squeeze, 3],
    ];
  });
  return [["conv1", 64, 3, 3], ...fires, ["conv10", 1000, 512, 1]];
}

// A scale for each filter and all biases as 32-bit floats, the weights as 8-bit integers, the names of the classes.
function unpack(content) {
  // A copy, since floats have to begin at an even address.
  const data = bytes(content).slice().buffer;
  const layers = convolutions();
  const filters = layers.reduce((sum, [, count]) => sum + count, 0);
  const scales = new Float32Array(data, 0, filters);
  const biases = new Float32Array(data, 4 * filters, filters);
  let [filter, at] = [0, 8 * filters];
  const weights = {};
  for (const [name, count, channels, kernel] of layers) {
    const taps = channels * kernel * kernel;
    const weight = Float32Array.from(new Int8Array(data, at, count * taps));
    for (let index = 0; index < weight.length; index += 1) weight[index] *= scales[filter + Math.floor(index / taps)];
    weights[name] = { weight, bias: biases.slice(filter, filter + count), kernel };
    filter += count;
    at += weight.length;
  }
  const names = new TextDecoder().decode(new Uint8Array(data, at)).split("\n");
  return { weights, names };
}

// Pillow's "bilinear" along one axis: which pixels each of `to` outputs reads, and with what weight. Where the picture
// gets smaller, the triangle is as much wider.
function triangles(size, start, length, to) {
  const scale = length / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, index) => {
    const centre = start + (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const behind = Math.min(size, Math.trunc(centre + reach + 0.5));
    const shares = Array.from({ length: behind - first }, (_, tap) =>
      Math.max(0, 1 - Math.abs(first + tap + 0.5 - centre) / reach),
    );
    const total = shares.reduce((sum, share) => sum + share, 0);
    return { first, shares: shares.map((share) => share / total) };
  });
}

// What the network gets of an image, {data (red, green, blue, alpha), width, height}. See-through parts count as white.
export function viewed(image) {
  const [width, height, to] = [image.width, image.height, 256];
  const side = Math.min(width, height);
  const across = triangles(width, (width - side) / 2, side, to);
  const down = triangles(height, (height - side) / 2, side, to);
  const rows = new Uint8ClampedArray(height * to * 3);
  for (let r = 0; r < height; r += 1) {
    for (let c = 0; c < to; c += 1) {
      for (let colour = 0; colour < 3; colour += 1) {
        const { first, shares } = across[c];
        let sum = 0;
        for (let tap = 0; tap < shares.length; tap += 1) {
          const at = (r * width + first + tap) * 4;
          const alpha = image.data[at + 3] / 255;
          sum += shares[tap] * (255 + alpha * (image.data[at + colour] - 255));
        }
        // The array rounds.
        rows[(r * to + c) * 3 + colour] = sum;
      }
    }
  }
  const view = new Uint8ClampedArray(SIZE * SIZE * 4).fill(255);
  const margin = Math.floor((to - SIZE) / 2);
  for (let r = 0; r < SIZE; r += 1) {
    const { first, shares } = down[r + margin];
    for (let c = 0; c < SIZE; c += 1) {
      for (let colour = 0; colour < 3; colour += 1) {
        let sum = 0;
        for (let tap = 0; tap < shares.length; tap += 1) {
          sum += shares[tap] * rows[((first + tap) * to + c + margin) * 3 + colour];
        }
        view[(r * SIZE + c) * 4 + colour] = sum;
      }
    }
  }
  return view;
}

// A picture as the network gets it; no view if the browser can't read it. Of a very large one the canvas makes a
// smaller one first.
async function prepare(picture) {
  const file = typeof picture === "string" || ArrayBuffer.isView(picture) ? new Blob([bytes(picture)]) : picture;
  // Older browsers don't know the option, and turn pictures upright without it.
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" })
    .catch(() => createImageBitmap(file))
    .catch(() => null);
  if (!bitmap) return { view: null };
  const { width, height } = bitmap;
  const side = Math.min(width, height);
  const scale = Math.min(1, 1024 / side);
  const [left, top] = [Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
  // An odd pixel more than the square, so that its middle is that of the picture.
  const [wide, high] = [side + ((width - side) % 2), side + ((height - side) % 2)];
  const [w, h] = [Math.round(wide * scale), Math.round(high * scale)];
  const canvas =
    typeof OffscreenCanvas === "undefined"
      ? Object.assign(document.createElement("canvas"), { width: w, height: h })
      : new OffscreenCanvas(w, h);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, left, top, wide, high, 0, 0, w, h);
  bitmap.close();
  const image = pen.getImageData(0, 0, w, h);
  const seeThrough = image.data.some((value, index) => index % 4 === 3 && value < 255);
  return { view: viewed(image), width, height, seeThrough };
}

// Red, green and blue less ImageNet's means, one after the other; covered pixels, a square [left, top, side], are 0.
function tensor(view, cover) {
  const area = SIZE * SIZE;
  const values = new Float32Array(3 * area);
  for (let pixel = 0; pixel < area; pixel += 1) {
    const [x, y] = [pixel % SIZE, Math.floor(pixel / SIZE)];
    const [left, top, side] = cover;
    if (x >= left && x < left + side && y >= top && y < top + side) continue;
    values[pixel] = view[4 * pixel] - 123;
    values[area + pixel] = view[4 * pixel + 1] - 117;
    values[2 * area + pixel] = view[4 * pixel + 2] - 104;
  }
  return values;
}

// The maximum of 3 x 3, by 2; rounded up, so that the last windows may hang over.
function pool({ values, count, side }) {
  const out = Math.ceil((side - 3) / 2) + 1;
  const pooled = new Float32Array(count * out * out);
  let to = 0;
  for (let channel = 0; channel < count; channel += 1) {
    for (let r = 0; r < out; r += 1) {
      for (let c = 0; c < out; c += 1) {
        // Behind a ReLU nothing is less.
        let most = 0;
        for (let y = 2 * r; y < Math.min(side, 2 * r + 3); y += 1) {
          for (let x = 2 * c; x < Math.min(side, 2 * c + 3); x += 1) {
            most = Math.max(most, values[(channel * side + y) * side + x]);
          }
        }
        pooled[to] = most;
        to += 1;
      }
    }
  }
  return { values: pooled, count, side: out };
}

// Yields behind each layer, and returns the maps of all of them.
function* squeezenet(values, weights) {
  const convolved = (from, name, stride = 1, padding = 0) => {
    const { weight, bias, kernel } = weights[name];
    const maps = convolve(from.values, from.count, from.side, weight, bias, kernel, stride, padding);
    for (let index = 0; index < maps.length; index += 1) if (maps[index] < 0) maps[index] = 0;
    return { values: maps, count: bias.length, side: Math.sqrt(maps.length / bias.length) };
  };
  const fire = (from, name) => {
    const squeezed = convolved(from, `${name}.squeeze`);
    const [ones, threes] = [convolved(squeezed, `${name}.expand1x1`), convolved(squeezed, `${name}.expand3x3`, 1, 1)];
    const both = new Float32Array(ones.values.length + threes.values.length);
    both.set(ones.values);
    both.set(threes.values, ones.values.length);
    return { values: both, count: ones.count + threes.count, side: ones.side };
  };
  const maps = {};
  let x = { values, count: 3, side: SIZE };
  for (const name of LAYERS) {
    if (name.startsWith("pool")) x = pool(x);
    else if (name.startsWith("fire")) x = fire(x, name);
    else x = convolved(x, name, name === "conv1" ? 2 : 1);
    maps[name] = x;
    yield name;
  }
  return maps;
}

// A class's score is the mean of its map, so the map says exactly how much each place gives.
function judged({ values, count, side }) {
  const area = side * side;
  const scores = Array.from({ length: count }, (_, index) => {
    const map = values.subarray(index * area, (index + 1) * area);
    return map.reduce((sum, value) => sum + value, 0) / area;
  });
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  const best = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a] || a - b);
  const evidence = best.slice(0, 5).map((index) => values.slice(index * area, (index + 1) * area));
  return { scores, shares: powers.map((power) => power / total), best: best.slice(0, 5), evidence, side };
}

// The strongest `most` maps side by side, about 2 : 1, each on its own scale, black is 0.
function sheet({ values, count, side }, most) {
  const area = side * side;
  const sums = Array.from({ length: count }, (_, index) =>
    values.subarray(index * area, (index + 1) * area).reduce((sum, value) => sum + value, 0),
  );
  const chosen = sums
    .map((_, index) => index)
    .sort((a, b) => sums[b] - sums[a] || a - b)
    .slice(0, most);
  const across = Math.round(Math.sqrt(2 * chosen.length));
  const step = side + Math.max(1, Math.round(side / 28));
  const width = across * step - (step - side);
  const height = Math.ceil(chosen.length / across) * step - (step - side);
  const pixels = new Uint8ClampedArray(4 * width * height);
  chosen.forEach((channel, place) => {
    const map = values.subarray(channel * area, (channel + 1) * area);
    const largest = map.reduce((high, value) => Math.max(high, value), 0) || 1;
    for (let index = 0; index < area; index += 1) {
      const row = Math.floor(place / across) * step + Math.floor(index / side);
      const at = 4 * (row * width + (place % across) * step + (index % side));
      pixels.fill((255 * map[index]) / largest, at, at + 3);
      pixels[at + 3] = 255;
    }
  });
  return { pixels, width, height, count, side, shown: chosen.length };
}

// Answers one task after the other: {network}, {picture}, {view, cover} or {layer, most}.
function desk(pause) {
  let [weights, maps] = [null, null];
  return async function answer(task) {
    if (task.network) {
      const { names, ...rest } = unpack(task.network);
      weights = rest.weights;
      return { names };
    }
    if (task.picture) return prepare(task.picture);
    if (!task.view) return sheet(maps[task.layer], task.most);
    const began = performance.now();
    const run = squeezenet(tensor(task.view, task.cover), weights);
    let step = run.next();
    while (!step.done) {
      await pause();
      step = run.next();
    }
    maps = step.value;
    return { ...judged(maps.conv10), seconds: (performance.now() - began) / 1000 };
  };
}

// What the twin test calls: red, green and blue in bytes, one after the other, and the weights, in base64.
export function classify(picture, network) {
  const [pixels, view] = [bytes(picture), new Uint8ClampedArray(4 * SIZE * SIZE)];
  pixels.forEach((value, index) => {
    view[4 * (index % (SIZE * SIZE)) + Math.floor(index / (SIZE * SIZE))] = value;
  });
  const run = squeezenet(tensor(view, [0, 0, 0]), unpack(network).weights);
  let step = run.next();
  while (!step.done) step = run.next();
  const { evidence, ...rest } = judged(step.value.conv10);
  return { ...rest, evidence: evidence.map((map) => Array.from(map)) };
}

const PARTS = [...CONVOLVE, bytes, convolutions, unpack, triangles, viewed, prepare, tensor, pool, squeezenet, judged];
const WORKER = () =>
  [
    `const SIZE = ${SIZE}, LAYERS = ${JSON.stringify(LAYERS)};`,
    ...[...PARTS, sheet, desk].map(String),
    `const answer = desk(async () => {});
    onmessage = ({ data: { id, task } }) => answer(task).then(
      (found) => postMessage({ id, found }),
      (error) => postMessage({ id, error: String(error) }),
    );`,
  ].join("\n");

// ask(task) promises the answer; `inPage()` is called where there is no worker to ask.
export function engine(inPage) {
  const waiting = new Map();
  const answer = desk(() => new Promise((done) => setTimeout(done)));
  let worker = null;
  const leave = () => {
    worker?.terminate();
    worker = null;
    inPage();
    for (const { task, resolve, reject } of waiting.values()) answer(task).then(resolve, reject);
    waiting.clear();
  };
  try {
    const address = URL.createObjectURL(new Blob([WORKER()], { type: "text/javascript" }));
    worker = new Worker(address);
    worker.addEventListener("message", ({ data: { id, found, error } }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(found);
    });
    // It did not start: a policy of the page forbids it.
    worker.addEventListener("error", leave, { once: true });
  } catch {
    leave();
  }
  let count = 0;
  return {
    ask(task) {
      // A worker without a canvas of its own can't read a picture.
      if (!worker || (task.picture && typeof OffscreenCanvas === "undefined")) return answer(task);
      count += 1;
      const id = count;
      return new Promise((resolve, reject) => {
        waiting.set(id, { task, resolve, reject });
        worker.postMessage({ id, task });
      });
    },
    stop: () => worker?.terminate(),
  };
}
