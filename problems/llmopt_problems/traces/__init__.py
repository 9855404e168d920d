"""Recorded traces: one reader a format, and a generator for a trace that can be shipped."""
