"""Training configs: what is wrong with one, by our rules and by axolotl's own validation, and how to mend it."""
