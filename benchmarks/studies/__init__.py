"""Studies: a module a claim, by the name that ``python -m benchmarks list`` shows.

``bias-separable`` is the module ``bias_separable``, which has a ``STUDY`` (``benchmarks.study``).
"""
