"""Readers of pickles that somebody else may have made, which run nothing that is in them."""
