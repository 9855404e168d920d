"""Systems of queueing theory as deployments, and what theory says of them."""
