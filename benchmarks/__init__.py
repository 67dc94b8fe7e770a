"""Studies and speed comparisons; they run from a checkout: ``python -m benchmarks list``."""
