"""What is decided before anything runs: names, configuration, settings, targets. The Snakefile imports it."""
