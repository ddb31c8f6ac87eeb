"""Tables of a run, and comparisons of its errors: every winner is computed, with the factor and its certainty."""
