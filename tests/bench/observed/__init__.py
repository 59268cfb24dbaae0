"""Commands run for real, and what they were seen to touch held against what was predicted."""
