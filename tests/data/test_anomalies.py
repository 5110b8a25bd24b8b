"""Broken and desorbed adsorbates are recognised."""

from __future__ import annotations

import numpy as np
import pytest

from hpopt_lib.data.anomalies import anomaly
from hpopt_lib.data.slabs import Bulk, clean_slab, place_adsorbate


@pytest.fixture
def adsorbed():
    atoms = place_adsorbate(clean_slab(Bulk("fcc", ("Cu",)), "111"), "CO", np.random.default_rng(0))
    atoms.info["adsorbate"] = "CO"
    return atoms


def test_a_freshly_placed_adsorbate_is_whole_and_adsorbed(adsorbed):
    assert anomaly(adsorbed) == ""


@pytest.mark.parametrize(("stretch", "expected"), [(0.2, ""), (0.9, "broken")])
def test_a_stretched_bond_is_broken(adsorbed, stretch, expected):
    adsorbed.positions[-1, 2] += stretch
    assert anomaly(adsorbed) == expected


def test_an_adsorbate_far_away_is_desorbed(adsorbed):
    adsorbed.positions[-2:, 2] += 3.0
    assert anomaly(adsorbed) == "desorbed"


def test_distances_are_those_of_nearest_images(adsorbed):
    adsorbed.positions[-1] += adsorbed.cell[0]
    assert anomaly(adsorbed) == ""
