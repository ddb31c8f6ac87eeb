"""The jobs that workflow rules run, from settings to files."""
