"""Where a plan runs: the only place that knows Spark."""
