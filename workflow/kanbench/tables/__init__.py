"""Tables of a run, and statements about it: every winner is computed, with how large the difference is and how sure."""
