"""The Python test kit: starts a guard, a tool server and other programs for the end-to-end tests, the corpus and the benches."""
