"""The features against two public GMP codes (values kept in the shared folder, not in the repository)."""

from __future__ import annotations

import json

import ase
import numpy as np
import pytest
from golden_densities import densities_of

from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings


@pytest.mark.parametrize(
    ("name", "columns", "power"),
    [
        ("B_ordernorm_solid", slice(None), 1),
        ("D_tri", slice(1, None), 1),  # its first column is the density itself, order -1
        ("E_highorder_sq", slice(None), 2),
    ],
)
def test_agrees_with_published_codes(golden, name, columns, power):
    info = json.loads(str(golden["info_json"]))
    parameters = info["params"][name]
    settings = GMPSettings(
        sigmas=parameters["sigmas"],
        max_order=max(parameters["orders"]),
        cutoff=parameters["cutoff"],
        smooth_cutoff=False,
    )
    featurizer = GMPFeaturizer(settings, densities_of(golden, parameters["densities"]), backend="exact")
    ours, theirs = [], []
    for index in range(len(info["structures"])):
        key = f"s{index:02d}_"
        atoms = ase.Atoms(
            golden[key + "numbers"],
            golden[key + "positions"],
            cell=golden[key + "cell"],
            pbc=golden[key + "pbc"],
        )
        ours.append(featurizer(atoms) ** power)
        theirs.append(golden[key + name][:, columns])
    expected = np.concatenate(theirs)
    deviation = np.abs(np.concatenate(ours) - expected).max(0) / np.abs(expected).max(0)
    assert len(info["structures"]) == 13
    assert deviation.max() < 1e-11
