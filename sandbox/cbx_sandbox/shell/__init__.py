"""Text in, Analysis out; touches nothing."""
