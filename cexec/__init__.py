"""cexec: random C programs with the trace of every write, as a task of lego.

The paper (arXiv 2206.04301, v1) trains on C programs but does not publish their generator: this one
is our reconstruction of the idea.
"""
