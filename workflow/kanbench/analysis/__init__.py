"""Evaluation of results: equal compute, ranking, uncertainty, statements and answers."""
