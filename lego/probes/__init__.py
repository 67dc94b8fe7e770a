"""Measurements of what a model does inside, against the task's own graph as ground truth."""
