import { range } from "./toolkit.js";

// Where the windows of a convolution or pooling stand along one axis, and how many there are.

// Rows that a kernel of `kernel` taps, `dilation` apart, spans.
export const span = (kernel, dilation) => dilation * (kernel - 1) + 1;

// floor((size + 2 padding - span) / stride) + 1; 0 where the kernel does not fit. `ceil` rounds up instead, so that the
// last window, even the only one, may hang over, but never starts one beyond the input and its left padding (torch's
// rule).
export function outputSize({ size, kernel, stride, padding, dilation, ceil = false }) {
  const free = size + 2 * padding - span(kernel, dilation);
  const count = Math.max(0, (ceil ? Math.ceil(free / stride) : Math.floor(free / stride)) + 1);
  return ceil && (count - 1) * stride >= size + padding ? count - 1 : count;
}

// Which rows of the padded input no output position reads.
export function unreadRows(shape) {
  const read = new Set(
    range(outputSize(shape)).flatMap((out) =>
      range(shape.kernel).map((tap) => out * shape.stride + tap * shape.dilation),
    ),
  );
  return range(shape.size + 2 * shape.padding).filter((row) => !read.has(row));
}

// For a kernel that does not fit: the nearest value of each single argument that would make it fit, within the
// limits.
export function suggestions({ size, kernel, padding, dilation }, limits) {
  const room = size + 2 * padding;
  const nearest = {
    padding: Math.ceil((span(kernel, dilation) - size) / 2),
    dilation: Math.floor((room - 1) / (kernel - 1)),
    kernel: Math.floor((room - 1) / dilation) + 1,
    size: span(kernel, dilation) - 2 * padding,
  };
  return Object.entries(nearest)
    .filter(([name, value]) => value >= limits[name][0] && value <= limits[name][1])
    .map(([name, value]) => ({ [name]: value }));
}

// The rule for the output size with the numbers put in; symbols as in cnnlib.functional.conv_output_size.
export function sizeRule({ size, kernel, stride, padding, dilation, ceil = false }) {
  const [open, shut] = ceil ? "⌈⌉" : "⌊⌋";
  const free = size + 2 * padding - span(kernel, dilation);
  const rule = `${open}(W + 2P − D(F − 1) − 1) / S${shut} + 1 = ${open}(${size} + 2·${padding} − ${dilation}·${kernel - 1} − 1) / ${stride}${shut} + 1`;
  const room = String(free).replace("-", "−");
  return outputSize({ size, kernel, stride, padding, dilation, ceil }) === 0
    ? `${rule}: ${room} is negative, no output`
    : `${rule} = ${open}${room} / ${stride}${shut} + 1 = `;
}
