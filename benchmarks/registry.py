"""Every benchmark, by hand: a new one is a module in `entries` and a line here."""

from entries.columns import COLUMNS
from entries.quickstart import QUICKSTART_SOLVE
from entries.start_up import HELP_TIME, IMPORT_TIME
from entries.step_law import STEP_LAW

BENCHMARKS = (QUICKSTART_SOLVE, IMPORT_TIME, HELP_TIME, STEP_LAW, COLUMNS)
