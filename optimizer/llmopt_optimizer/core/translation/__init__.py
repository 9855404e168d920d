"""From expressions to a Pyomo model, one reduction a file."""
