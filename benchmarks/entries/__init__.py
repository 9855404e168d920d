"""One module a benchmark, of the same name: `run(smoke)` measures once and gives an `Outcome`."""
