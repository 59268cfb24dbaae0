"""Decisions only: state and clock in, actions out."""
