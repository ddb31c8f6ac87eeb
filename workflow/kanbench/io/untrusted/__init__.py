"""Readers of untrusted pickles and YAML; they execute no code from the file."""
