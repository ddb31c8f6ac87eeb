"""A machine compiles kernels once. A small package of kernels stands for the engine's; its users are processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

INNER = """
from pathlib import Path
from numba import njit
from kanbench.engine.cache import KernelCache

cache = KernelCache(Path(__file__).parent.glob("*.py"))
compiled = cache.keep(njit(cache=True))

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
        return self.result(*self.start(**how).communicate(timeout=60))

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
    first_result = toy.result(*first.communicate("\n", timeout=60))
    assert first_result[:2] == (4, 1)
    assert toy.result(*second.communicate(timeout=60))[:2] == (4, 0)


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
        assert "cannot be written (Not a directory)" in log
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
