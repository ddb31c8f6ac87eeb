"""Digests of problems: they change with what defines a problem, and with nothing else."""

import pytest

from kanbench.problems import PROBLEMS
from kanbench.problems.source import digest_of_function

FILE = '''
"""Problems of mine."""

import numpy as np
import math

from kanbench import problem

RATE = 3.0  # of one
OTHER = 5.0
np.seterr(all="ignore")


def helper(x):
    """Used by one."""
    return RATE * x


def unused(x):
    return OTHER * x


@problem(domain=[(0, 1)])
def one(x):
    """The first."""
    return helper(x)


@problem(domain=[(0, 1)])
def two(x):
    return OTHER + one(x) * math.pi
'''

CHANGES = {  # what is changed, into what, and whose digest changes
    "a comment": ("  # of one", "", ""),
    "the file's docstring": ("Problems of mine", "Something else", ""),
    "a function's docstring": ('"""The first."""', '"""A curve."""', ""),
    "layout": ("def one(x):\n", "def one(\n    x,\n):\n\n", ""),
    "the function, which the other uses": ("return helper(x)", "return 2 * helper(x)", "one two"),
    "what the function uses": ("return RATE * x", "return x / RATE", "one two"),
    "a number that it uses indirectly": ("RATE = 3.0", "RATE = 4.0", "one two"),
    "the domain": ("@problem(domain=[(0, 1)])\ndef two", "@problem(domain=[(0, 2)])\ndef two", "two"),
    "a number of the other": ("OTHER = 5.0", "OTHER = 6.0", "two"),
    "a function that nobody uses": ("return OTHER * x", "return x", ""),
    "an import of the other": ("import math", "import cmath as math", "two"),
    "an import more": ("import math", "import math\nimport sys", ""),
    "a statement that does something": ('all="ignore"', 'all="warn"', "one two"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_digest_changes_with_what_defines_the_problem(case):
    before, after, whose = CHANGES[case]
    assert FILE.count(before) == 1
    first, second = FILE.encode(), FILE.replace(before, after).encode()
    different = {n for n in ("one", "two") if digest_of_function(first, n) != digest_of_function(second, n)}
    assert different == set(whose.split())


def test_a_function_that_is_no_statement_depends_on_the_whole_file():
    assert digest_of_function(b"x = 1\ny = 2\n", "<lambda>") != digest_of_function(b"x = 1\ny = 3\n", "<lambda>")


def test_the_problems_of_the_package_have_digests_and_no_path():
    digests = {name: problem.source.digest for name, problem in PROBLEMS.items()}
    assert all(digests.values())
    assert digests["poisson_2d_sin"] != digests["poisson_2d_poly"]
    assert all(problem.source.path is None for problem in PROBLEMS.values())
