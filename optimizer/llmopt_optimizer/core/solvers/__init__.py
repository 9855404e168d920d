"""Solver back ends, one a file, all reached through `pyomo.contrib.solver`."""
