"""Many groups of servers together: mixed clusters, their size, and fleets of several models over a day."""
