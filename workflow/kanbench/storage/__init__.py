"""Results on disk: training records, frames with attrs, checkpoints and their metadata, and whole runs."""
