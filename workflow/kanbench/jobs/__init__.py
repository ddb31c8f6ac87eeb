"""What a rule of the workflow runs, from its settings to its files."""
