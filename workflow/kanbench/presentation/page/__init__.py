"""One page for readers: the questions with their answers first, then set-up, tables, figures and notes by section."""
