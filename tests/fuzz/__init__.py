"""Fuzzing: what is fed with any bytes at all, and what must hold of it."""
