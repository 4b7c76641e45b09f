"""Who imports whom, and what `import cnnlib` costs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "matplotlib", "ipywidgets", "anywidget", "pandas", "safetensors", "typer", "rich"}

# What each part of the two packages may import of them; a part is a module or a package.
BELOW = {
    "cnnlib": {
        "arrays": set(),
        "settled": set(),
        "operation": {"arrays"},
        "functional": {"arrays", "operation"},
        "kernels": {"arrays", "operation", "functional", "optim"},
        "init": set(),
        "losses": {"arrays", "functional"},
        "module": {"arrays", "functional", "losses", "settled"},
        "layers": {"arrays", "functional", "losses", "module", "init"},
        "containers": {"arrays", "losses", "module", "settled"},
        "optim": {"arrays", "operation", "module", "settled"},
        "lr_scheduler": {"optim"},
        "fetch": set(),
        "data": {"arrays", "fetch"},
        "models": {"arrays", "functional", "module", "init", "layers", "containers", "fetch"},
        "cost": {"functional", "module"},
        "visualize": {"arrays", "functional", "module", "layers"},
        "training": {"arrays", "functional", "losses", "module", "optim", "lr_scheduler", "data"},
        "memory": {"arrays", "module", "optim", "cost"},
        "recipes": set(),
    },
    "cnnbook": {
        "ilsvrc_results": set(),
        "figures": {"cnnlib", "ilsvrc_results", "pretrained"},
        "questions": {"figures"},
        "plotting": set(),
        "controls": {"plotting"},
        "pretrained": {"cnnlib"},
        "claims": {"cnnlib", "ilsvrc_results"},
        "race": {"cnnlib", "pretrained"},
    },
}
ABOVE_ALL = ("__init__", "__main__", "commands")
# What names torch beside the kernels does so within functions only.
LAZY_TORCH = {"arrays.py", "memory.py", "models/_weights.py"}
LAZY_TORCH |= {f"training/{name}.py" for name in ("distributed", "precision", "threads")}


def sources(package="cnnlib"):
    return {path.relative_to(ROOT / package).as_posix(): path for path in sorted((ROOT / package).rglob("*.py"))}


def imported(path):
    """Yield (module, whether at the file's top level) for every import, `from cnnlib import x` as cnnlib.x."""
    tree = ast.parse(path.read_text())
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*package[: len(package) - node.level + 1],)) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            if module in BELOW:
                yield from ((f"{module}.{alias.name}", top) for alias in node.names)
            else:
                yield module, top


def part_of(name):
    return name.removesuffix(".py").split("/")[0]


@pytest.mark.parametrize("package", BELOW)
def test_imports_run_downward(package):
    above = []
    for name, path in sources(package).items():
        part = part_of(name)
        if part in ABOVE_ALL:
            continue
        for module, _ in imported(path):
            top, _, rest = module.partition(".")
            other = rest.partition(".")[0] if top == package else top
            if top in BELOW and other != part and other not in BELOW[package][part]:
                above.append(f"{name} imports {module}")
    assert not above, "\n".join(above)
    parts = {part_of(name) for name in sources(package)} - set(ABOVE_ALL)
    assert parts == set(BELOW[package]), "a part that this test does not know"


@pytest.mark.parametrize("package", BELOW)
def test_an_underscore_name_never_leaves_its_folder(package):
    away = []
    for name, path in sources(package).items():
        for module, _ in imported(path):
            words = module.split(".")
            private = [at for at, word in enumerate(words) if word.startswith("_")]
            if private and words[0] in BELOW and tuple(words[: private[0]]) != path.relative_to(ROOT).parts[:-1]:
                away.append(f"{package}/{name} imports {module}")
    assert not away, "\n".join(away)


def test_the_library_knows_nothing_of_the_book():
    for name, path in sources().items():
        assert "cnnbook" not in {module.partition(".")[0] for module, _ in imported(path)}, name


@pytest.mark.parametrize("package", BELOW)
def test_the_rules_have_no_circle(package):
    """BELOW itself runs downward: what is taken away last needs nothing."""
    rest = {part: set(others) for part, others in BELOW[package].items()}
    while rest:
        free = {part for part, others in rest.items() if not others & rest.keys()}
        assert free, f"a circle among {sorted(rest)}"
        rest = {part: others for part, others in rest.items() if part not in free}


def drawing():
    """The rooms of cnnlib as a graph: an arrow for each allowed import that no longer way implies."""
    below = BELOW["cnnlib"]

    def reached(part):
        return below[part].union(*(reached(other) for other in below[part]))

    lines = ["graph BT"]
    for part, others in below.items():
        direct = sorted(other for other in others if not any(other in reached(way) for way in others - {other}))
        lines += [f"  {part} --> {other}" for other in direct] or [f"  {part}"]
    return "\n".join(lines)


def test_contributing_draws_the_rooms():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"<!-- rooms -->\n```mermaid\n{drawing()}\n```\n" in guide, f"CONTRIBUTING should draw:\n{drawing()}"


def test_only_the_torch_kernels_load_torch():
    found = {name: {module.split(".")[0] for module, _ in imported(path)} for name, path in sources().items()}
    allowed = LAZY_TORCH | {f"kernels/{name}.py" for name in ("outer_product", "torch_kernels", "winograd")}
    assert {name for name, modules in found.items() if "torch" in modules} == allowed
    for name in LAZY_TORCH:
        assert not [m for m, top in imported(ROOT / "cnnlib" / name) if top and m.split(".")[0] == "torch"], name


def test_nothing_imports_the_graders():
    for name, path in (*sources().items(), *sources("cnnbook").items()):
        assert not {module.split(".")[0] for module, _ in imported(path)} & {"autograder", "homework", "tests"}, name


def loaded_by(code):
    code = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    assert not loaded_by("import cnnlib") & HEAVY
    assert not loaded_by("from cnnbook import figures, plotting, questions") & HEAVY
    work = "import cnnlib, numpy as np\ncnnlib.models.lenet()(cnnlib.data.digits().test.images[:2])"
    assert not loaded_by(work) & HEAVY, "NumPy users load no torch"
    assert "torch" in loaded_by("import cnnlib\ncnnlib.models.lenet().to('cpu')")


def test_an_import_does_little_more_than_numpys():
    """Counted in calls, of which there are as many in each run; seconds have neighbours."""
    loaded_by("import cnnlib")  # compiles it
    count = "import sys\ncalls = []\nsys.setprofile(lambda *event: calls.append(1))\nimport {}\nsys.setprofile(None)\n"

    def calls(module):
        command = [sys.executable, "-c", count.format(module) + "print(len(calls))"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        return int(subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True).stdout)

    assert calls("cnnlib") / calls("numpy") <= 1.25  # 1.15 when this was written
