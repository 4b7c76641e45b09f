"""Write constraints.txt: the exact version of everything that requirements.txt brings along, as pip resolves it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Written by `make lock`: the packages that requirements.txt brings along. Do not edit.
# A CUDA build of torch has more of them, pinned by torch itself.
"""
CUDA_ONLY = ("nvidia-", "cuda-", "triton")

report = subprocess.run(
    [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    + ["-r", str(ROOT / "requirements.txt")],
    check=True,
    stdout=subprocess.PIPE,
)
packages = [
    (item["metadata"]["name"].lower(), item["metadata"]["version"].split("+")[0])
    for item in json.loads(report.stdout)["install"]
    if not item["requested"]
]
lines = [f"{name}=={version}\n" for name, version in sorted(packages) if not name.startswith(CUDA_ONLY)]
(ROOT / "constraints.txt").write_text(HEADER + "".join(lines))
print(f"constraints.txt: {len(lines)} packages")
