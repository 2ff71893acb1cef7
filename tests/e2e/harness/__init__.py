"""Starts real programs, watches them, ends them. Knows nothing of what a case asserts."""
