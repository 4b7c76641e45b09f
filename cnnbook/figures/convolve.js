// A convolution for every figure that runs a network. Maps are flat arrays, channel after channel, each side x side.
// These are plain functions that use nothing but each other, so that a worker can be made of their source.

// What each tap of the kernel reads at all output positions: channels * kernel * kernel rows, as the weights are
// ordered. A kernel of 1x1 without stride or padding reads the input as it is.
function columns(x, channels, side, kernel, stride, padding) {
  if (kernel === 1 && stride === 1 && padding === 0) return x;
  const out = Math.floor((side + 2 * padding - kernel) / stride) + 1;
  const rows = new x.constructor(channels * kernel * kernel * out * out);
  let to = 0;
  for (let channel = 0; channel < channels; channel += 1) {
    for (let i = 0; i < kernel; i += 1) {
      for (let j = 0; j < kernel; j += 1) {
        const first = Math.max(0, Math.ceil((padding - j) / stride));
        const behind = Math.min(out, Math.floor((side - 1 + padding - j) / stride) + 1);
        for (let r = 0; r < out; r += 1) {
          const row = r * stride + i - padding;
          if (row >= 0 && row < side) {
            const from = (channel * side + row) * side + j - padding;
            for (let c = first; c < behind; c += 1) rows[to + c] = x[from + c * stride];
          }
          to += out;
        }
      }
    }
  }
  return rows;
}

// y += weight * row for the four taps from `tap` on, `count` numbers of each row: the innermost loop, along contiguous
// numbers. A row beyond the last is the last once more, with a weight of 0.
function addRows(y, to, rows, first, size, weight, at, tap, taps, count) {
  const last = taps - 1;
  const a = tap * size + first;
  const b = Math.min(tap + 1, last) * size + first;
  const c = Math.min(tap + 2, last) * size + first;
  const d = Math.min(tap + 3, last) * size + first;
  const v = weight[at + tap];
  const w = tap + 1 < taps ? weight[at + tap + 1] : 0;
  const s = tap + 2 < taps ? weight[at + tap + 2] : 0;
  const t = tap + 3 < taps ? weight[at + tap + 3] : 0;
  for (let p = 0; p < count; p += 1) {
    y[to + p] += v * rows[a + p] + w * rows[b + p] + s * rows[c + p] + t * rows[d + p];
  }
}

export function convolve(x, channels, side, weight, bias, kernel, stride = 1, padding = 0) {
  const rows = columns(x, channels, side, kernel, stride, padding);
  const taps = channels * kernel * kernel;
  const size = rows.length / taps;
  const y = new x.constructor(bias.length * size);
  // Positions at a time, so that what all filters read stays in the processor's cache.
  const strip = 1024;
  for (let first = 0; first < size; first += strip) {
    const count = Math.min(strip, size - first);
    for (let filter = 0; filter < bias.length; filter += 1) {
      const to = filter * size + first;
      y.fill(bias[filter], to, to + count);
      for (let tap = 0; tap < taps; tap += 4) {
        addRows(y, to, rows, first, size, weight, filter * taps, tap, taps, count);
      }
    }
  }
  return y;
}

export const CONVOLVE = [columns, addRows, convolve];
