"""The network of a job with an allowlist: its namespace leads to a relay that connects to what is allowed, by name."""
