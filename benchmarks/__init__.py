"""Comparisons of speed and studies, run from a checkout: ``python -m benchmarks list``."""

import os

# A thread a process, said before a library starts its own: comparisons are of one thread, the parts
# of a study run side by side, and threads that wait for each other on a busy core cost more than
# they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")
