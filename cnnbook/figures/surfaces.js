import { range } from "./toolkit.js";

// Error surfaces over two weights (x, y): the error E, its gradient, its least value, where a race starts (on the
// saddle almost on the ridge, so that plain descent is held up there), and the part of the plane that is shown.

export const SURFACES = {
  valley: {
    E: ([x, y]) => (x * x + 20 * y * y) / 2,
    gradient: ([x, y]) => [x, 20 * y],
    least: 0,
    start: [-1.6, 1],
  },
  saddle: {
    E: ([x, y]) => (x * x - y * y) / 2 + y ** 4 / 4,
    gradient: ([x, y]) => [x, y ** 3 - y],
    least: -0.25,
    start: [-1.6, 1e-3],
  },
  plateau: {
    E: ([x, y]) => 1 - Math.exp(-(x * x + y * y) / 0.72),
    gradient: ([x, y]) => [x, y].map((w) => (w / 0.36) * Math.exp(-(x * x + y * y) / 0.72)),
    least: 0,
    start: [-1.5, 0.9],
  },
};
export const VIEW = { x: [-2, 2], y: [-1.5, 1.5] };

export const errorAt = (surface, w) => SURFACES[surface].E(w);
export const gradientAt = (surface, w) => SURFACES[surface].gradient(w);

// Lines of equal error as SVG path data, by marching squares; X and Y are the plot's scales. The levels split the
// view's values into equal shares, so that flat parts get lines too.
export function contours(surface, X, Y, levels = 12) {
  const [columns, rows] = [48, 36];
  const at = (column, row) => [
    VIEW.x[0] + ((VIEW.x[1] - VIEW.x[0]) * column) / columns,
    VIEW.y[0] + ((VIEW.y[1] - VIEW.y[0]) * row) / rows,
  ];
  const E = range(rows + 1).map((row) => range(columns + 1).map((column) => errorAt(surface, at(column, row))));
  const sorted = E.flat().sort((a, b) => a - b);
  let data = "";
  for (let level = 1; level <= levels; level += 1) {
    const value = sorted[Math.floor((sorted.length * level) / (levels + 1))];
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const below =
          (E[row][column] < value) +
          (E[row][column + 1] < value) +
          (E[row + 1][column + 1] < value) +
          (E[row + 1][column] < value);
        if (below === 0 || below === 4) continue;
        const corners = [
          [column, row],
          [column + 1, row],
          [column + 1, row + 1],
          [column, row + 1],
        ];
        const crossings = [];
        for (let side = 0; side < 4; side += 1) {
          const [from, to] = [corners[side], corners[(side + 1) % 4]];
          const [a, b] = [E[from[1]][from[0]] - value, E[to[1]][to[0]] - value];
          if (a < 0 === b < 0) continue;
          const share = a / (a - b);
          const [x, y] = at(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]));
          crossings.push(`${X(x).toFixed(1)} ${Y(y).toFixed(1)}`);
        }
        for (let pair = 0; pair + 1 < crossings.length; pair += 2)
          data += `M${crossings[pair]}L${crossings[pair + 1]}`;
      }
    }
  }
  return data;
}
