"""A machine compiles kernels once. A small package of kernels stands for the engine's; its users are processes.

And what is compiled ahead of time is all that trainings use.
"""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numba
import pytest
from packaging.requirements import Requirement

from kanbench.errors import InputError
from kanbench.io.kernel_cache import PACKAGE, SOURCES, KernelCache
from kanbench.plan.config import ROOT

INNER = """
from pathlib import Path
from kanbench.io.kernel_cache import KernelCache

cache = KernelCache(Path(__file__).parent.glob("*.py"))
compiled = cache.compiled

@compiled
def inner(x):
    return x + 1
"""
OUTER = """
from .inner import cache, compiled, inner

@compiled
def outer(x):
    return 2 * inner(x)
"""
USE = """
import logging, sys, tempfile
logging.basicConfig(format="%(message)s")
{before}
import numba
from toy.outer import cache, outer
def compile():
    print("inside", flush=True)
    if "wait" in sys.argv:
        sys.stdin.readline()
    outer(1.0)
cache.once("float64", compile)
cache.once("float64", compile)
print(outer(1.0), sum(outer.stats.cache_misses.values()), numba.config.CACHE_DIR, cache.folder, sep="|")
"""


class Toy:
    """A package of kernels, and processes that use it."""

    def __init__(self, tmp_path):
        self.package = tmp_path / "package" / "toy"
        self.package.mkdir(parents=True)
        for name, text in (("__init__", ""), ("inner", INNER), ("outer", OUTER)):
            (self.package / f"{name}.py").write_text(text)
        path = os.pathsep.join([str(self.package.parent), *filter(None, sys.path)])
        self.temporary = tmp_path / "temporary"
        self.temporary.mkdir()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
        self.environment |= {"PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        self.environment |= {"TMPDIR": str(self.temporary), "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, *arguments, before="", **environment):
        return subprocess.Popen(
            [sys.executable, "-c", USE.format(before=before), *arguments],
            env=self.environment | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def use(self, **how):
        """What the kernel returned, how often a process compiled it, numba's setting, and the folder; its log."""
        return self.result(*self.start(**how).communicate())

    @staticmethod
    def result(output, log):
        value, misses, setting, folder = output.splitlines()[-1].split("|")
        return float(value), int(misses), setting, Path(folder), log


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path)


def test_a_second_process_loads_what_the_first_has_compiled(toy, tmp_path):
    value, misses, setting, folder, log = toy.use()
    assert (value, misses, log) == (4, 1, "")
    assert folder.parent == tmp_path / "cache" / "kanbench"
    assert not setting  # numba keeps other people's functions where it did
    assert toy.use()[:2] == (4, 0)
    assert {path.name for path in toy.package.iterdir()} == {"__init__.py", "inner.py", "outer.py"}


def test_a_changed_function_of_another_file_is_compiled_again(toy):
    folder = toy.use()[3]
    (toy.package / "inner.py").write_text(INNER.replace("x + 1", "x + 2"))
    value, misses, _, other_folder, _ = toy.use()
    assert (value, misses) == (6, 1)
    assert other_folder != folder


def test_of_two_processes_at_once_one_compiles(toy):
    first = toy.start("wait")
    first.stdout.readline()  # it is inside, and has not compiled
    second = toy.start()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=2)
    first_result = toy.result(*first.communicate("\n"))
    assert first_result[:2] == (4, 1)
    assert toy.result(*second.communicate())[:2] == (4, 0)


@pytest.mark.slow
def test_a_process_that_is_killed_holds_nobody_up(toy):
    first = toy.start("wait")
    first.stdout.readline()
    first.kill()
    first.communicate()
    assert toy.use()[:2] == (4, 1)


def test_a_folder_of_the_users_choice(toy, tmp_path):
    _, misses, _, folder, _ = toy.use(NUMBA_CACHE_DIR=str(tmp_path / "chosen"))
    assert (misses, folder.parent) == (1, tmp_path / "chosen")


@pytest.mark.slow
def test_without_a_folder_every_process_compiles_and_says_so(toy, tmp_path):
    (tmp_path / "file").touch()
    for _ in range(2):
        value, misses, _, folder, log = toy.use(NUMBA_CACHE_DIR=str(tmp_path / "file"))
        assert (value, misses) == (4, 1)
        assert len(log.splitlines()) == 1
        assert "cannot be written (Not a directory); every job" in log
        assert folder.parent == toy.temporary
        assert not folder.exists()


@pytest.mark.slow
def test_what_a_read_only_folder_holds_is_used(toy):
    folder = toy.use()[3]
    read_only = f"""
temporary_file = tempfile.TemporaryFile
def none_there(dir=None, **options):
    if str(dir).startswith({str(folder)!r}):
        raise PermissionError(13, "Permission denied")
    return temporary_file(dir=dir, **options)
tempfile.TemporaryFile = none_there
"""
    value, misses, _, copy, log = toy.use(before=read_only)
    assert (value, misses) == (4, 0)
    assert "cannot be written (Permission denied)" in log
    assert copy != folder


@pytest.mark.slow
def test_where_nothing_can_be_written_kernels_are_compiled_when_they_are_used(toy, tmp_path):
    (tmp_path / "file").touch()
    nowhere = "tempfile._candidate_tempdir_list = lambda: ['/none']"
    value, misses, _, folder, log = toy.use(before=nowhere, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert (value, misses, str(folder)) == (4, 1, "None")
    [line] = log.splitlines()
    assert "cannot be written (Not a directory); every job" in line


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def holed(path):
    """Zeros in the middle, and a pickle that reads like a whole one: LLVM would end the process."""
    content = path.read_bytes()
    assert b"ELF" in content
    begin = content.index(b"ELF")
    path.write_bytes(content[:begin] + bytes(3) + content[begin + 3 :])


@pytest.mark.parametrize(
    ("ending", "damage"),
    [
        ("nbc", cut),
        *(pytest.param("nbi", damage, marks=pytest.mark.slow) for damage in (emptied, cut)),
        *(pytest.param("nbc", damage, marks=pytest.mark.slow) for damage in (emptied, holed)),
    ],
)
def test_what_is_damaged_is_compiled_anew(toy, ending, damage):
    folder = toy.use()[3]
    files = sorted(folder.rglob(f"*.{ending}"))
    assert len(files) == 2
    for file in files:
        damage(file)
    value, misses, _, _, log = toy.use()
    assert (value, misses) == (4, 1)
    [line] = log.splitlines()
    assert any(line.startswith(f"{file}: damaged (") for file in files)
    assert line.endswith("; damaged kernels are compiled again")
    assert toy.use()[:2] == (4, 0)


@pytest.mark.slow
def test_a_full_disk_costs_the_compiled_code_only(toy):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"  # bytes of any file
    for _ in range(2):
        value, misses, _, folder, log = toy.use(before=full)
        assert (value, misses) == (4, 1)
        [line] = log.splitlines()
        assert line.startswith(str(folder))
        assert "cannot be written (File too large); every job compiles the missing kernels" in line
    assert toy.use()[:2] == (4, 1)
    assert toy.use()[:2] == (4, 0)


def test_importing_kernels_makes_no_folder(toy, tmp_path):
    modules = "engine.numba_engine.engine", "network.refinement", "training.optimizers.lbfgs"
    code = "import toy.outer, " + ", ".join(f"kanbench.{module}" for module in modules)
    chosen = tmp_path / "chosen"
    subprocess.run([sys.executable, "-c", code], env=toy.environment | {"NUMBA_CACHE_DIR": str(chosen)}, check=True)
    assert not chosen.exists()
    assert not (tmp_path / "cache").exists()


def test_kernels_import_no_scipy_linalg_and_leave_it_whole(toy):
    code = """
import sys
import numpy as np
import numba
from toy.outer import cache, outer
cache.open()
outer(1.0)
assert "scipy.linalg" not in sys.modules
a = np.arange(6.0).reshape(2, 3)
assert np.array_equal(numba.njit(lambda a, b: a @ b)(a, a.T), a @ a.T)  # by its BLAS
import scipy.linalg
from scipy.linalg import cython_blas
assert cython_blas is sys.modules["scipy.linalg.cython_blas"]
assert np.allclose(scipy.linalg.inv(a @ a.T) @ a @ a.T, np.eye(2))
"""
    subprocess.run([sys.executable, "-c", code], env=toy.environment, check=True)


@pytest.mark.slow
def test_a_kernel_that_is_made_after_the_folder_was_opened_is_kept_too(toy):
    late = """
from toy.inner import cache, compiled
cache.open()
import toy.outer
"""
    assert toy.use(before=late)[:2] == (4, 1)
    assert toy.use()[:2] == (4, 0)


# --- the package's own kernels ---


def modules_of_kernels():
    """The modules of the package that use the decorators, or one of numba's, by path below it."""
    decorators = {"compiled", "compiled_unfused", "register_jitable", "overload_method"}
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        if decorators
        & {name.id for call in node.decorator_list for name in ast.walk(call) if isinstance(name, ast.Name)}
    }


def imported_by(source):
    """The modules of the package that one of its modules imports from, by path below it."""
    nodes = [node for node in ast.walk(ast.parse((PACKAGE / source).read_text())) if isinstance(node, ast.ImportFrom)]
    paths = {f"{node.module.removeprefix('kanbench.').replace('.', '/')}.py" for node in nodes}
    return {path for path in paths if (PACKAGE / path).exists()}


def test_the_sources_are_all_modules_of_kernels_and_what_is_compiled_with_them():
    """The digest that names the folder is of all code that a kernel depends on, and of no other."""
    kernels = modules_of_kernels()
    assert len(kernels) >= 6
    assert set(SOURCES) == kernels.union(*map(imported_by, kernels))


def test_numba_is_one_that_the_kernels_were_written_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "numba"]
    assert {specifier.operator for specifier in required.specifier} == {">=", "<"}  # a range
    assert numba.__version__ in required.specifier, (
        f"numba {numba.__version__}: allowed: {required.specifier}; for another, check engine/simd.py and "
        f"io/kernel_cache.py, which use numba's internals, with tests/test_simd.py and tests/test_kernel_cache.py"
    )


def test_numbas_internals_are_where_the_kernels_look_for_them():
    tree = ast.parse((PACKAGE / "engine/numba_engine/simd.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [(node.module, alias.name) for node in imports for alias in node.names if "numba" in node.module]
    assert len(names) >= 10
    missing = [
        f"{module}.{name}"
        for module, name in names
        if not hasattr(importlib.import_module(module), name) and importlib.util.find_spec(f"{module}.{name}") is None
    ]
    assert not missing, f"numba {numba.__version__} has none of {missing}, which simd.py uses"
    assert hasattr(numba.config, "CACHE_DIR")
    assert hasattr(numba.njit(lambda x: x), "_cache")


@pytest.mark.slow
def test_a_training_compiles_nothing_more():
    program = """
import numpy as np
from kanbench.plan.config import load_config
from kanbench.engine.numba_engine.engine import _compile
from kanbench.io.kernel_cache import cache
from kanbench.plan.settings import expert_settings, training_settings
from kanbench.training.optimizers import compile_for
from kanbench.training.trainer import Trainer, make_data

def signatures():
    return {kernel.__name__: set(kernel.signatures) for kernel in cache.kernels}

compile_for("float64")  # what others have compiled is not loaded by this
_compile("float64", 4)
ahead = signatures()
config = load_config()
section2_1 = (training_settings(config, "section2_1", optimizer, 0) for optimizer in ("adam", "lbfgs", "lm"))
for settings in (expert_settings(config, 0, 2, 2, 1), *section2_1):
    Trainer(settings, make_data(settings)).train(1)
later = signatures()
print(bool(ahead["evaluate"]), {name: later[name] - ahead[name] for name in later if later[name] != ahead[name]})
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split(maxsplit=1) == ["True", "{}\n"]


def test_checks_of_bounds_have_a_folder_of_their_own(monkeypatch):
    folder = KernelCache([Path(__file__)])._digest()
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)
    assert KernelCache([Path(__file__)])._digest() != folder


def test_without_compilation_there_are_no_kernels(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(InputError, match=r"NUMBA_DISABLE_JIT: found 1; allowed: 0"):
        KernelCache([Path(__file__)]).open()
