"""How long a step takes: symbolic operator laws, their coefficients, and the step of a model and layout."""
