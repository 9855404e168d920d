"""Random systems: deployments, laws and traffic of every kind, run under a watchdog."""
