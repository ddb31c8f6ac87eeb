"""The functions to be learned, and their samples."""

from kanbench.problems.poisson import PROBLEMS, Array, Interval, Problem, problem

__all__ = ["PROBLEMS", "Array", "Interval", "Problem", "problem"]
