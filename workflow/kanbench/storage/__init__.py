"""Results on disk: training records, frames with attrs, checkpoints and their metadata, whole runs."""
