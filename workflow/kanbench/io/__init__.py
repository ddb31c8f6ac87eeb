"""Reading and writing files; nothing here knows about networks."""
