"""Files: where compiled kernels are kept."""
