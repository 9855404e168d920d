"""Microbenchmarks of the operators on a machine of one's own, written as the CSV that calibration reads.

What to measure (`plan`) and how rows are kept (`table`) need nothing but Python; only `operators`, `timing`
and `collectives` import PyTorch, the extra `profile`.
"""
