"""Errors of the optimizer room that a user caused and can mend."""

from __future__ import annotations


class DeploymentError(Exception):
    """A deployment that cannot be launched: which pool, which rule, what to do."""


class LaunchError(Exception):
    """A deployment that an engine cannot be told to run: which part, which engine, what to do."""


class WorkersError(Exception):
    """Workers that cannot be reached or do not stay: where, why, what to do."""
