"""One page for readers: of every section the question, the set-up, the answer, the evidence and what is to be known."""
