"""Who imports whom, and what `import cnnlib` costs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "matplotlib", "ipywidgets", "anywidget", "pandas", "safetensors", "typer", "rich"}

# What each part of cnnlib may import of cnnlib; a part is a module or a package, `functional._arrays` excepted, which
# only says what an array is.
BELOW = {
    "functional": set(),
    "kernels": {"functional", "module", "optim"},
    "init": set(),
    "module": {"functional"},
    "layers": {"functional", "module", "init"},
    "containers": {"functional", "module", "init"},
    "losses": {"functional", "module"},
    "optim": {"functional", "module"},
    "lr_scheduler": {"optim"},
    "fetch": set(),
    "data": {"fetch"},
    "models": {"functional", "module", "init", "layers", "containers", "fetch"},
    "pretrained": {"module", "data", "models"},
    "cost": {"functional", "module", "layers", "containers", "models"},
    "training": {"functional", "module", "losses", "optim", "lr_scheduler", "data", "models", "layers", "containers"},
    "memory": {"functional", "module", "layers", "optim", "cost", "training"},
    "visualize": {"functional", "module", "layers", "containers", "models", "cost"},
    "demos": {"functional"},
    "questions": {"demos"},
}
ABOVE_ALL = ("__init__", "__main__", "commands", "plotting", "controls")
# What names torch beside the kernels does so within functions only.
LAZY_TORCH = {"module.py", "memory.py", "models/_weights.py", "training/distributed.py", "training/precision.py"}


def sources():
    return {path.relative_to(ROOT / "cnnlib").as_posix(): path for path in sorted((ROOT / "cnnlib").rglob("*.py"))}


def imported(path):
    """Yield (module, whether at the file's top level) for every import, `from cnnlib import x` as cnnlib.x."""
    tree = ast.parse(path.read_text())
    package = ("cnnlib", *path.relative_to(ROOT / "cnnlib").parts[:-1])
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*package[: len(package) - node.level + 1],)) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            if module == "cnnlib":
                yield from ((f"cnnlib.{alias.name}", top) for alias in node.names)
            else:
                yield module, top


def part_of(name):
    return name.removesuffix(".py").split("/")[0]


def test_imports_run_downward():
    above = []
    for name, path in sources().items():
        part = part_of(name)
        if part in ABOVE_ALL:
            continue
        for module, _ in imported(path):
            if module.split(".")[0] != "cnnlib":
                continue
            other = module.split(".")[1]
            if other != part and other not in BELOW[part]:
                above.append(f"{name} imports {module}")
    assert not above, "\n".join(above)
    parts = {part_of(name) for name in sources()} - set(ABOVE_ALL)
    assert parts == set(BELOW), "a part that this test does not know"


def test_the_rules_have_no_circle():
    """BELOW itself runs downward: what is taken away last needs nothing."""
    rest = {part: set(others) for part, others in BELOW.items()}
    while rest:
        free = {part for part, others in rest.items() if not others & rest.keys()}
        assert free, f"a circle among {sorted(rest)}"
        rest = {part: others for part, others in rest.items() if part not in free}


def test_only_the_torch_kernels_load_torch():
    found = {name: {module.split(".")[0] for module, _ in imported(path)} for name, path in sources().items()}
    allowed = LAZY_TORCH | {"kernels/torch_kernels.py", "kernels/winograd.py"}
    assert {name for name, modules in found.items() if "torch" in modules} == allowed
    for name in LAZY_TORCH:
        assert not [m for m, top in imported(ROOT / "cnnlib" / name) if top and m.split(".")[0] == "torch"], name


def test_nothing_imports_the_graders():
    for name, path in sources().items():
        assert not {module.split(".")[0] for module, _ in imported(path)} & {"autograder", "homework", "tests"}, name


def loaded_by(code):
    code = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    assert not loaded_by("import cnnlib") & HEAVY
    assert not loaded_by("import cnnlib.demos, cnnlib.controls") & HEAVY
    work = "import cnnlib, numpy as np\ncnnlib.models.lenet()(cnnlib.data.digits().test.images[:2])"
    assert not loaded_by(work) & HEAVY, "NumPy users load no torch"
    assert "torch" in loaded_by("import cnnlib\ncnnlib.models.lenet().to('cpu')")


@pytest.mark.slow
def test_import_takes_little_longer_than_numpys():
    """Processor time of the import itself, by turns; the quickest of each, which other load can't shorten."""
    loaded_by("import cnnlib")  # compiles it
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}

    def seconds(module):
        command = [sys.executable, "-c", code.format(module)]
        return float(subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True).stdout)

    pairs = [(seconds("numpy"), seconds("cnnlib")) for _ in range(15)]
    numpy, cnnlib = (min(column) for column in zip(*pairs, strict=True))
    assert cnnlib / numpy <= 1.5
