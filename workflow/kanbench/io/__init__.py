"""What the project writes to disk and reads back, below everything that knows about networks."""
