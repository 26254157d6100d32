"""Samples: what is in a file, what is wrong with it, and how to mend or convert it."""
