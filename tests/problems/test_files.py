"""Problems in users' files: what is accepted, and the one line that says what is wrong."""

import dataclasses
import re

import numpy as np
import pytest

import kanbench
from kanbench.errors import InputError
from kanbench.problems import PROBLEMS
from kanbench.problems.files import find_problem, problems_in
from kanbench.problems.registry import problem, registering
from kanbench.problems.samples import make_dataset
from kanbench.problems.source import Source

HEAD = "import numpy as np\nfrom kanbench import problem\n"


def written(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(HEAD + text)
    return path


def made(function, domain=((0, 1), (-1, 1)), **more):
    """The problem of a function of this test."""
    with registering(None) as problems:
        problem(domain, name="made", **more)(function)
    return problems["made"]


def test_a_file_defines_problems(tmp_path):
    path = written(
        tmp_path,
        """
        @problem(domain=[(0, 100), (-1, 1)], width=[2, 3, 1])
        def mine(x, y):
            return np.exp(-x / 50) * np.sin(3 * y)

        @problem(domain=[(0, 1)] * 3, name="other")
        def anything(x):
            return x.sum(axis=1)
        """.replace("\n        ", "\n"),
    )
    problems = problems_in(path)
    assert list(problems) == ["mine", "other"] and not PROBLEMS.keys() & problems.keys()
    mine, other = problems.values()
    assert (mine.domain, mine.width) == (((0, 100), (-1, 1)), (2, 3, 1))
    assert (other.dim, other.width) == (3, None)
    assert mine.source.path == str(path) and mine.source.digest != other.source.digest
    data = make_dataset(mine, 30, 20, 64, seed=1)
    x, y = data.train_input.T
    np.testing.assert_allclose(data.train_label[:, 0], np.exp(-x / 50) * np.sin(3 * y), rtol=1e-15)
    assert data.domain == mine.domain and data.train_input[:, 0].max() > 90
    assert find_problem("mine", mine.source) == mine


def by_input(x, y):
    return x + 2 * y


def of_all(x):
    return x[:, 0] + 2 * x[:, 1]


def column(x):
    return x[:, [0]] + 2 * x[:, [1]]


def any_number(*x):
    return x[0] + 2 * x[1]


def with_default(x, y, factor=2):
    return x + factor * y


def in_place(x):
    x[:, 1] *= 2
    return x.sum(axis=1)


def single_precision(x, y):
    return (x + 2 * y).astype(np.float32)


FORMS = [by_input, of_all, column, any_number, with_default, in_place, single_precision]


@pytest.mark.parametrize("function", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_forms_of_a_function_give_one_column_in_the_precision_of_the_inputs(function, dtype):
    x = np.random.default_rng(0).random((7, 2)).astype(dtype)
    before = x.copy()
    values = made(function).values(x)
    assert values.shape == (7, 1) and values.dtype == dtype
    np.testing.assert_array_equal(x, before)
    rounding = np.finfo(np.float32 if function is single_precision else dtype).eps
    np.testing.assert_allclose(values, x[:, [0]] + 2 * x[:, [1]], rtol=4 * rounding)


def test_a_function_of_one_input_is_given_a_column():
    x = np.linspace(0, 1, 5)[:, None]
    for function in (np.sin, lambda x: np.sin(1 * x), lambda x: np.sin(x[:, 0]), lambda *x: np.sin(x[0])):
        np.testing.assert_array_equal(made(function, [(0, 1)]).values(x), np.sin(x))


WRONG_VALUES = {
    "two columns": (lambda x: x, r"values of shape \(5, 2\); allowed: \(5,\) or \(5, 1\)"),
    "a row": (lambda x: x[:, :1].T, r"values of shape \(1, 5\)"),
    "a number": (lambda x: 2.0, r"values of shape \(\)"),
    "masked": (lambda x: np.ma.masked_less(x[:, 0], x[:, 0].max()), "not finite at 4 of 5 samples"),
    "integers": (lambda x: np.arange(5), "values of type int64; allowed: floating-point numbers"),
    "complex": (lambda x: x[:, 0] + 1j, "values of type complex128"),
    "not finite": (lambda x, y: 1 / np.floor(3 * x), r"not finite at 2 of 5 samples, such as \[0\.\s*, 0\.\s*\]"),
    "an exception": (lambda x, y: x + y + undefined, "NameError: name 'undefined' is not defined"),  # noqa: F821
    "a long exception": (lambda x, y: np.zeros((3, 4)) @ x, "ValueError: matmul: "),
    "three parameters": (lambda x, y, z: x, r"3 parameters; allowed: one, the inputs of shape \(n, d\), or 2"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_wrong_values_are_one_line_that_names_the_problem(case):
    function, words = WRONG_VALUES[case]
    x = np.repeat(np.linspace(0, 1, 5)[:, None], 2, axis=1)
    with pytest.raises(InputError, match=words) as error:
        made(function).values(x)
    assert error.value.where.endswith("problem made") and "test_files.py" in error.value.where
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert str(error.value).count("problem made") == 1


WRONG_FILES = {
    "not there": (None, "cannot be read (No such file or directory)"),
    "no Python": ("def mine(x:\n", "line 3: SyntaxError: "),
    "a mistake": ("x = 1\nnp.nonsense\n", "line 4: AttributeError: "),
    "an exit": ("import sys\nsys.exit('bye')\n", "line 4: SystemExit: bye"),
    "nothing in it": ("def mine(x): return x\n", "found no problems; allowed: functions with the decorator @problem"),
    "a name twice": (
        "@problem(domain=[(0, 1)])\ndef one(x): return x\n" * 2,
        "problem one: duplicate name, also defined in ",
    ),
    "a name of the package": (
        "@problem(domain=[(0, 1)])\ndef poisson_2d_sin(x): return x\n",
        "problem poisson_2d_sin: duplicate name, also defined in ",
    ),
    "a name that is none": (
        "problem(domain=[(0, 1)], name='a b')(np.sin)\n",
        "the name 'a b'; allowed: a letter, then",
    ),
    "no domain": ("@problem(domain=[])\ndef one(x): return x\n", "problem one: domain: found []; allowed: (low, high)"),
    "one number": ("@problem(domain=(0, 1))\ndef one(x): return x\n", "domain: found (0, 1); allowed: (low, high)"),
    "a domain that is empty": ("@problem(domain=[(1, 1)])\ndef one(x): return x\n", "domain: found [(1, 1)]"),
    "an endless domain": ("@problem(domain=[(0, np.inf)])\ndef one(x): return x\n", "domain: found [(0, inf)]"),
    "two parameters for one input": (
        "@problem(domain=[(0, 1)])\ndef two(x, y): return x\n",
        "mine.py: problem two: found 2 parameters; allowed: one, the inputs of shape (n, d)",
    ),
    "a width for others": (
        "@problem(domain=[(0, 1)], width=[2, 1])\ndef one(x): return x\n",
        "width [2, 1]; allowed: integers from 1, its inputs, to 1",
    ),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files_are_one_line_that_names_them(tmp_path, case):
    text, words = WRONG_FILES[case]
    path = tmp_path / "mine.py" if text is None else written(tmp_path, text)
    before = dict(PROBLEMS)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        problems_in(path)
    assert str(path) in str(error.value) or "domain" in words
    assert "\n" not in str(error.value)
    assert before == PROBLEMS


def test_a_file_is_run_once_for_every_content(tmp_path):
    path = written(tmp_path, "@problem(domain=[(0, 1)])\ndef one(x): return x\n")
    first = problems_in(path)["one"]
    assert problems_in(path)["one"] is first
    path.write_text(path.read_text().replace("return x", "return 2 * x"))
    second = problems_in(path)["one"]
    assert second.source.digest != first.source.digest
    np.testing.assert_array_equal(second.values(np.ones((1, 1))), [[2]])
    with pytest.raises(InputError, match="has changed since"):
        find_problem("one", first.source)


def test_dataclasses_and_unusual_functions_can_be_used(tmp_path):
    path = written(
        tmp_path,
        "from dataclasses import dataclass\nfrom functools import partial\n"
        "@dataclass\nclass Wave:\n    rate: float\n    def __call__(self, x): return np.sin(self.rate * x[:, 0])\n"
        "problem([(0, 1)], name='wave')(Wave(3.0))\nproblem([(0, 1)], name='power')(partial(np.power, 2.0))\n",
    )
    found = problems_in(path)
    x = np.linspace(0, 1, 4)[:, None]
    np.testing.assert_array_equal(found["wave"].values(x), np.sin(3 * x))
    np.testing.assert_array_equal(found["power"].values(x), 2.0**x)


def test_a_problem_that_is_not_there_is_named(tmp_path):
    path = written(tmp_path, "@problem(domain=[(0, 1)])\ndef one(x): return x\n")
    with pytest.raises(InputError, match="found 'two'; allowed: one"):
        find_problem("two", Source(str(path)))
    with pytest.raises(InputError, match=r"problem: found 'two'; allowed: .*poisson_2d_sin"):
        find_problem("two")


def test_the_decorator_is_public():
    assert kanbench.problem is problem
    assert "problem" in kanbench.__all__
    assert dataclasses.is_dataclass(made(by_input))
