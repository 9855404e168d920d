"""Predicting measured serving points: the closed loop of every row simulated, and how far off it is."""
