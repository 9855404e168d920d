"""Scenarios that the benchmarks of the simulator share, and a plain loop to hold it against."""
