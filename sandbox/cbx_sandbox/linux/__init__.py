"""The kernel, one file per area, thin and typed."""
