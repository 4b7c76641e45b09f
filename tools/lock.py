"""Write constraints.txt: the exact version of everything that requirements.txt brings along, as pip resolves it.

The versions have to run on the oldest Python that pyproject.toml allows, so pip resolves for that one.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Written by `make lock`: the packages that requirements.txt brings along. Do not edit.
# A CUDA build of torch has more of them, pinned by torch itself; so have Windows and macOS.
"""
CUDA_ONLY = ("nvidia-", "cuda-", "triton")

oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
packages = [line for line in lines if line and not line.startswith("-")]  # neither cnnlib nor the old constraints
report = subprocess.run(
    [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    + ["--python-version", f"{oldest}.0", "--only-binary", ":all:", "--target", "unused", *packages],
    check=True,
    stdout=subprocess.PIPE,
)
brought = [
    (item["metadata"]["name"].lower(), item["metadata"]["version"].split("+")[0])
    for item in json.loads(report.stdout)["install"]
    if not item["requested"]
]
pins = [f"{name}=={version}\n" for name, version in sorted(brought) if not name.startswith(CUDA_ONLY)]
(ROOT / "constraints.txt").write_text(HEADER + "".join(pins))
print(f"constraints.txt: {len(pins)} packages")
