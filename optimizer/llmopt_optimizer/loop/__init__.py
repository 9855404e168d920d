"""The loop: propose by solving, confirm by simulating, re-measure, and say how far the answer reaches."""

from llmopt_optimizer.loop.observation import Observation as Simulation
from llmopt_optimizer.loop.single import SingleRun, simulate_once
from llmopt_optimizer.loop.solve import first_run, simulate_problem, solve_problem

__all__ = ["Simulation", "SingleRun", "first_run", "simulate_once", "simulate_problem", "solve_problem"]
