"""The potential: one small network for all elements on standardised GMP features."""
