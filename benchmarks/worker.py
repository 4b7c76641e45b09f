"""One side of one case, in a process of its own: does its work when told, and says how long it took.

Reads lines of standard input: "time N" answers the seconds of N times the work, "memory" the peak resident memory in
bytes while it is done once, above what was resident before it was made ready and had its operands.
"""

import resource
import sys
import time
from pathlib import Path

from benchmarks.cases import GROUPS


def main(group: str, case: str, side: str) -> None:
    work = GROUPS[group][case][side]()
    print("ready", flush=True)
    for line in sys.stdin:
        what, *count = line.split()
        if what == "time":
            started = time.perf_counter()
            for _ in range(int(count[0])):
                work()
            print(time.perf_counter() - started, flush=True)
        else:
            print(peak(work), flush=True)


def peak(work: object) -> int:
    """Return by how many bytes resident memory rises above its present size while the work is done."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark so far
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * resource.getpagesize() // (resource.getpagesize() // 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
