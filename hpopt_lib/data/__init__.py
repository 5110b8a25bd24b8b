"""Structures: readers, checks and the embedded data sets."""
