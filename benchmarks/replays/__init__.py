"""Measured runs of real engines, replayed."""
