"""The house: wings that import only what is below them, one place for pykan and one for torch, short files."""

import ast
import subprocess
import sys
from functools import cache

import pytest

from kanbench.plan.config import ROOT

PACKAGE = ROOT / "workflow" / "kanbench"
# What each wing may import beside itself; whatever those may import, too.
BELOW = {
    "errors": (),
    "io": ("errors",),
    "problems": ("io",),
    "plan": ("problems",),
    "network": ("problems",),
    "engine": ("network",),
    "training": ("engine", "plan"),
    "storage": ("training",),
    "jobs": ("storage",),
    "analysis": ("storage",),
    "presentation": ("analysis",),
    "benchmark": ("training",),
    "cli": ("jobs", "presentation", "benchmark"),
}
# Modules of training that hold no engine: all that storage takes from there.
RECORDS = {"history", "selection", "threshold"}
# Who may import them; the benchmark compares with them, and verification reads checkpoints as everybody does.
PYKAN = ("network/pykan.py", "network/typed_kan.py", "storage/verification/models.py", "benchmark/")
TORCH = ("engine/torch_engine/", "engine/reference.py", "plan/devices.py", "training/history.py", "io/readers.py")
BORDER = {"kan": PYKAN, "torch": (*PYKAN, *TORCH)}
LONGEST = 350


@cache
def below(wing):
    return {wing}.union(*map(below, BELOW[wing]))


def imports(path):
    """The modules that a file imports, wherever in it, those that are packages with what is taken from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}".replace(".", "/")
                whole = (PACKAGE.parent / f"{module}.py").exists() or (PACKAGE.parent / module).is_dir()
                yield f"{node.module}.{alias.name}" if whole else node.module


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def test_the_root_holds_the_wings():
    there = {path.stem for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert there == {*BELOW, "__init__", "__main__", "py"}  # py.typed
    assert {path.relative_to(PACKAGE).parts[0] for path in SOURCES} <= set(BELOW)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    wing = path.relative_to(PACKAGE).parts[0]
    for module in imports(path):
        top, *rest = module.split(".")
        if top == "kanbench" and rest:
            assert rest[0] in below(wing), f"{wing} imports {module}"
            if wing == "storage" and rest[0] == "training":
                assert set(rest[1:]) <= RECORDS, f"{wing} imports {module}"


def test_modules_import_each_other_in_no_circle():
    names = {".".join(("kanbench", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in SOURCES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    arrows = {name: {module for module in imports(path) if module in names} - {name} for name, path in names.items()}
    while leaves := [name for name, targets in arrows.items() if not targets & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert not arrows


def test_torch_and_pykan_stand_at_the_border():
    users = {"torch": set(), "kan": set()}
    for path in SOURCES:
        for module in imports(path):
            if (top := module.split(".")[0]) in users:
                users[top].add(path.relative_to(PACKAGE).as_posix())
    for name, allowed in BORDER.items():
        assert not {user for user in users[name] if not user.startswith(allowed)}


def test_files_are_short():
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "workflow" / "rules").iterdir(), ROOT / "Snakefile"]
    long = {path.name: n for path in sources if (n := len(path.read_text().splitlines())) > LONGEST}
    assert not long


def test_what_the_snakefile_imports_is_light():
    modules = sorted(f"kanbench.plan.{path.stem}" for path in (PACKAGE / "plan").glob("[a-z]*.py"))
    heavy = "{'torch', 'kan', 'pandas', 'numba', 'scipy'}"
    code = f"import sys, {', '.join(modules)}; print(*{heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
