"""The golden values of the peers, for the tests that compare with them."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def golden(shared):
    with np.load(shared / "reference" / "gmp_golden.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}
