"""Results on disk: what a training hands over, frames with attrs, checkpoints and their metadata, whole runs."""
