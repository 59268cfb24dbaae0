"""The nouns, without I/O."""
