"""Tables of a run, and statements about it: every winner is computed, with the factor and its certainty."""
