"""The functions to be learned, and their samples. Importing a module of problems registers them."""

from kanbench.problems import poisson
from kanbench.problems.registry import PROBLEMS, Array, Interval, Problem, problem

__all__ = ["PROBLEMS", "Array", "Interval", "Problem", "poisson", "problem"]
