"""The network as an immutable value in numpy: initialization, refinement, attribution, merging, files."""
