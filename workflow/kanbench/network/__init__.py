"""The network: a value in numpy, and what is done with it: initialisation, refinement, attribution, merging, files."""
