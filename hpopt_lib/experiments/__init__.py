"""Experiments on the tuning itself, whose long runs are recorded and replayed."""
