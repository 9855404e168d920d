"""One module a benchmark: a `BENCHMARK` and the function that runs it once."""
