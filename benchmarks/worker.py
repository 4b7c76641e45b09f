"""One side of one case, in a process of its own: does its work when told, and says how long it took.

Reads lines of standard input: "time N" answers the seconds of N times the work, "memory" the megabytes that resident
memory rises, while it is done, above what the imports and the batch take.
"""

import sys
import time
from pathlib import Path

from benchmarks import cases


def main(group: str, case: str, side: str) -> None:
    if group in cases.MEMORY:
        cases.load(case)
    before = _status("VmRSS")
    work = cases.GROUPS[group][case][side]()
    print("ready", flush=True)
    for line in sys.stdin:
        what, *count = line.split()
        if what == "time":
            started = time.perf_counter()
            for _ in range(int(count[0])):
                work()
            print(time.perf_counter() - started, flush=True)
        else:
            work()  # a first step makes what later ones keep, such as momentum
            Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark so far
            work()
            print((_status("VmHWM") - before) / 1e3, flush=True)


def _status(name: str) -> int:
    """Return one of the kernel's figures for this process, in kB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
