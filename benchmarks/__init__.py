"""Speed beside peers: in one run, several repeats, medians and ratios.  ``python -m benchmarks [names] [--quick]``."""
