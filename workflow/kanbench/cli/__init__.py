"""`python -m kanbench`: one subcommand for every rule of the workflow."""
