"""The peers' element densities, as they stand in the golden file."""

from __future__ import annotations

import json

import numpy as np

from hpopt_lib.gmp.densities import ElementDensity


def densities_of(golden, name):
    return {
        int(number): ElementDensity(
            symbol=number,
            number=int(number),
            n_electrons=0,
            amplitudes=np.array(pairs)[:, 0],
            exponents=np.array(pairs)[:, 1],
            l1_residual=0.0,
            source="published",
        )
        for number, pairs in json.loads(str(golden["densities_json"]))[name].items()
    }
