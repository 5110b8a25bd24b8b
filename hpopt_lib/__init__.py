"""Tuning the hyperparameters of Gaussian-multipole neural-network potentials."""

__version__ = "0.1.0"
