"""What LeNet-5's output layer compares F6 with: a picture of 7x12 pixels for each digit."""

import numpy as np

# Drawn for this library after the idea of figure 3 in LeCun et al. 1998: similar digits have similar codes, so that a
# network that is unsure says so. Pixel by pixel they are not the paper's.
_PICTURES = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...#...  .#####.  .#####.  .....#.  #######  ..####.  #######  .#####.  .#####.
.#...#.  ..##...  #.....#  #.....#  ....##.  #......  .#.....  ......#  #.....#  #.....#
#.....#  .#.#...  ......#  ......#  ...#.#.  #......  #......  .....#.  #.....#  #.....#
#.....#  ...#...  ......#  ......#  ..#..#.  #......  #......  .....#.  #.....#  #.....#
#.....#  ...#...  .....#.  ..####.  .#...#.  ######.  #.####.  ....#..  .#####.  .######
#.....#  ...#...  ....#..  ......#  #....#.  ......#  ##....#  ....#..  #.....#  ......#
#.....#  ...#...  ...#...  ......#  #######  ......#  #.....#  ...#...  #.....#  ......#
#.....#  ...#...  ..#....  ......#  .....#.  ......#  #.....#  ...#...  #.....#  .....#.
.#...#.  ...#...  .#.....  #.....#  .....#.  #.....#  #.....#  ..#....  #.....#  ....#..
..###..  .#####.  #######  .#####.  .....#.  .#####.  .#####.  ..#....  .#####.  .###...
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def digit_codes() -> np.ndarray:
    """Return the codes of the digits 0 to 9 as float64 (10, 84): 1 for ink, -1 for paper, row by row."""
    rows = [line.split() for line in _PICTURES.split("\n") if line]
    return np.array([[1.0 if pixel == "#" else -1.0 for row in rows for pixel in row[k]] for k in range(10)])
