"""Gaussian multipole features: from atomic densities to rotation-invariant descriptors."""
