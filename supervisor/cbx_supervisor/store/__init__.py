"""SQLite: what is remembered."""
