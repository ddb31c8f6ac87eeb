"""Tables of a run, and comparisons of its errors: winners with factor and certainty."""
