"""The functions to learn, and their samples. Importing a module of problems registers them."""

from kanbench.problems import feynman, initialization, kan_paper, multilevel, poisson, section1
from kanbench.problems.registry import PROBLEMS, Array, Interval, Problem, problem

__all__ = ["PROBLEMS", "Array", "Interval", "Problem", "problem"]
__all__ += ["feynman", "initialization", "kan_paper", "multilevel", "poisson", "section1"]  # in the order of PROBLEMS
