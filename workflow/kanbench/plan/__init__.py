"""Everything decided before a job runs: names, configuration, settings, targets. The Snakefile imports this package."""
