"""Write constraints.txt: the exact version of everything that requirements.txt brings along, as pip resolves it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Written by `make lock`: the packages that requirements.txt brings along. Do not edit.
# A CUDA build of torch has more of them, pinned by torch itself.
"""
CUDA_ONLY = ("nvidia-", "cuda-", "triton")

pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
wanted = (ROOT / "requirements.txt").read_text().splitlines()
with tempfile.TemporaryDirectory() as folder:
    free = Path(folder) / "requirements.txt"  # without the old lock, which would only confirm itself
    free.write_text("\n".join(line for line in wanted if not line.startswith("-c ")))
    report = subprocess.run([*pip, "-r", str(free)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
packages = [
    (item["metadata"]["name"].lower(), item["metadata"]["version"].split("+")[0])
    for item in json.loads(report.stdout)["install"]
    if not item["requested"]
]
lines = [f"{name}=={version}\n" for name, version in sorted(packages) if not name.startswith(CUDA_ONLY)]
(ROOT / "constraints.txt").write_text(HEADER + "".join(lines))
print(f"constraints.txt: {len(lines)} packages")
