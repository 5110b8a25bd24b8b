"""Features as other GMP codes define them: their values, their derivatives, and what they are not."""

from __future__ import annotations

import itertools
import json
import math
import warnings

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from golden_densities import densities_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hpopt_lib.gmp.compat import NotInvariantWarning, from_amptorch_config, from_gmp_featurizer_config
from hpopt_lib.gmp.compat_settings import default_cutoff
from hpopt_lib.gmp.densities import load_densities
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.polynomials import components, groups, laplacian, maxwell_cartesian, multinomial
from hpopt_lib.gmp.settings import GMPSettings

GROUPS = {"0": [1], "1": [1], "2": [1, 2], "3": [1, 2, 3]}
ETHANOL = molecule("CH3CH2OH")


def structure(golden, index):
    key = f"s{index:02d}_"
    return ase.Atoms(
        golden[key + "numbers"], golden[key + "positions"], cell=golden[key + "cell"], pbc=golden[key + "pbc"]
    )


def featurizer_of(golden, name):
    parameters = json.loads(str(golden["info_json"]))["params"][name]
    densities = densities_of(golden, parameters["densities"])
    lists = {"orders": parameters.get("orders"), "sigmas": parameters["sigmas"]}
    if parameters["peer"] == "GMPFeaturizer":
        return from_gmp_featurizer_config({**parameters, "GMPs": lists}, densities=densities)
    if "groups" in parameters:
        lists = {
            order: {"groups": numbers, "sigmas": parameters["sigmas"]}
            for order, numbers in parameters["groups"].items()
        }
        with pytest.warns(NotInvariantWarning):
            return from_amptorch_config({**parameters, "MCSHs": lists}, densities=densities)
    return from_amptorch_config({**parameters, "MCSHs": lists}, densities=densities)


SETS = {
    "A_ampopt": 32, "B_ordernorm_solid": 40, "C_ordernorm_surface_sq": 15, "D_tri": 29, "E_highorder_sq": 18,
    "F_groups_l5": 30, "G_tri_both_sq": 10,
}  # fmt: skip


@pytest.mark.parametrize(("name", "columns"), SETS.items())
def test_agrees_with_published_codes(golden, name, columns):
    featurizer = featurizer_of(golden, name)
    ours = np.concatenate([featurizer(structure(golden, index)) for index in range(13)])
    expected = np.concatenate([golden[f"s{index:02d}_{name}"] for index in range(13)])
    assert ours.shape == expected.shape == (221, columns) and len(featurizer.feature_names()) == columns
    assert (np.abs(ours - expected).max(0) / np.abs(expected).max(0)).max() < 1e-11


@pytest.mark.parametrize(
    ("name", "indices", "tolerance"),
    [
        ("A_ampopt", (0, 2), 1e-5),  # AMPtorch sets small derivatives to zero
        ("C_ordernorm_surface_sq", (2,), 1e-5),
        ("D_tri", (0, 5), 1e-11),
        ("G_tri_both_sq", (4,), 1e-11),
    ],
)
def test_derivatives_agree_with_published_codes(golden, name, indices, tolerance):
    featurizer = featurizer_of(golden, name)
    for index in indices:
        atoms, expected = structure(golden, index), golden[f"s{index:02d}_{name}_deriv"].copy()
        if tolerance < 1e-6:
            # GMP-Featurizer holds the probe fixed; here it moves with its atom
            for atom in range(len(atoms)):
                expected[atom, :, atom] -= expected[atom].sum(1)
        positions = torch.tensor(atoms.positions, requires_grad=True)
        cell = torch.tensor(atoms.cell.array)
        values = featurizer.features_torch(positions, atoms.numbers, cell, atoms.pbc)
        weights = np.random.default_rng(index).normal(size=len(atoms))
        weights /= np.abs(weights).sum()
        for column in range(values.shape[1]):
            (ours,) = torch.autograd.grad(
                values[:, column] @ torch.tensor(weights), positions, retain_graph=True
            )
            scale = np.abs(expected[:, column]).max() if tolerance < 1e-6 else 1.0
            deviation = np.abs(ours.numpy() - np.einsum("i,ija->ja", weights, expected[:, column]))
            assert deviation.max() < tolerance * scale


def grouped(**options):
    lists = {order: {"groups": numbers, "sigmas": [0.4, 1.1]} for order, numbers in GROUPS.items()}
    with pytest.warns(NotInvariantWarning):
        return from_amptorch_config({"MCSHs": lists, "cutoff": 6.0, **options}, densities=load_densities())


def order_norms(**options):
    lists = {"orders": [0, 1, 2, 3], "sigmas": [0.4, 1.1]}
    return from_amptorch_config({"MCSHs": lists, "cutoff": 6.0, **options}, densities=load_densities())


def deviation(one, other):
    return np.abs(one - other).max(0) / np.abs(one).max(0)


def test_solid_order_norms_are_those_of_the_engine():
    settings = GMPSettings(sigmas=(0.4, 1.1), max_order=3, cutoff=6.0, smooth_cutoff=False)
    plain = GMPFeaturizer(settings, backend="exact")
    assert deviation(plain(ETHANOL), order_norms(square=False)(ETHANOL)).max() < 1e-12
    assert deviation(plain(ETHANOL) ** 2, order_norms()(ETHANOL)).max() < 1e-12


few = settings(max_examples=8, deadline=None, derandomize=True)


@few
@given(st.integers(0, 2**32 - 1))
def test_only_groups_change_when_turned(seed):
    turned = ETHANOL.copy()
    turned.positions = ETHANOL.positions @ Rotation.random(rng=np.random.default_rng(seed)).as_matrix().T
    for options in (
        {},
        {"solid_harmonics": False, "square": False},
        {"rs_setup": {"setup": "scale", "scale_factor": 2.0}},
    ):
        featurizer = order_norms(**options)
        assert deviation(featurizer(ETHANOL), featurizer(turned)).max() < 1e-10
    featurizer = grouped()
    changes = deviation(featurizer(ETHANOL), featurizer(turned))
    for name, change in zip(featurizer.feature_names(), changes):
        assert (change < 1e-10) == (name[:2] in ("l0", "l1")), name


def test_the_warning_comes_once_and_says_what_to_do():
    lists = {order: {"groups": numbers, "sigmas": [0.4, 1.1]} for order, numbers in GROUPS.items()}
    config = {"dataset": {"fp_scheme": "gmp", "fp_params": {"MCSHs": lists, "cutoff": 5.0}}}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        featurizer = from_amptorch_config(config, densities=load_densities())
        featurizer(ETHANOL)
        featurizer(ETHANOL)
    assert [w.category for w in caught] == [NotInvariantWarning]
    assert issubclass(NotInvariantWarning, UserWarning) and caught[0].filename == __file__
    text = str(caught[0].message)
    assert "10 of 14 features" in text and "not rotation invariant" in text and "gmpordernorm" in text


def test_the_group_of_one_component_keeps_its_sign():
    featurizer, mirror = grouped(), ETHANOL.copy()
    mirror.positions[:, 0] *= -1
    column = featurizer.feature_names().index("l3_group3_sigma0.4")
    turned = ETHANOL.copy()
    turned.rotate(35.0, (1.0, 2.0, 3.0))
    mirror = turned.copy()
    mirror.positions[:, 0] *= -1
    one, other = featurizer(turned)[:, column], featurizer(mirror)[:, column]
    assert np.abs(one).max() > 1e-4 and (one < 0).any()
    np.testing.assert_allclose(one, -other, atol=1e-12)


def test_logarithm_and_default_cutoff():
    plain, logarithm = order_norms(), order_norms(log=True)
    np.testing.assert_allclose(logarithm(ETHANOL), np.log10(np.maximum(plain(ETHANOL), 1e-8)), atol=1e-9)
    assert order_norms(cutoff=None).settings.cutoff == default_cutoff(1.1) == 6.49


def test_density_at_the_atom_and_scaled_probes():
    config = {"GMPs": {"orders": [1, -1, 0], "sigmas": [0.9, 0.3]}, "custom_cutoff": -1, "cutoff": 6.0}
    featurizer = from_gmp_featurizer_config(config, densities=load_densities())
    assert featurizer.feature_names() == [
        "density",
        "l0_sigma0.3",
        "l0_sigma0.9",
        "l1_sigma0.3",
        "l1_sigma0.9",
    ]
    densities = load_densities()
    distances = ETHANOL.get_all_distances()
    by_hand = [sum(float(densities[z](d)) for z, d in zip(ETHANOL.numbers, row)) for row in distances]
    np.testing.assert_allclose(featurizer(ETHANOL)[:, 0], by_hand, rtol=1e-12)
    both = from_gmp_featurizer_config({**config, "scaling_mode": "both"}, densities=densities)
    # unit L2 norm of the probe exp(-r²/2σ²) and of the same times a first-order polynomial
    expected = [(math.pi * 0.81) ** -0.75, (1.5 * 0.81 * (math.pi * 0.81) ** 1.5) ** -0.5]
    assert [both.settings.features[k].prefactor for k in (2, 4)] == pytest.approx(expected)


def test_gradients_where_norms_vanish():
    line = ase.Atoms("O3", [[0, 0, -1.3], [0, 0, 0], [0, 0, 1.3]])
    positions = torch.tensor(line.positions, requires_grad=True)
    values = order_norms(square=False).features_torch(positions, line.numbers, torch.zeros(3, 3), line.pbc)
    (gradient,) = torch.autograd.grad(values[1, 2], positions, create_graph=True)
    assert values[1, 2] == 0 and torch.equal(gradient, torch.zeros_like(gradient))
    (gradient,) = torch.autograd.grad(values.sum(), positions)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0


@pytest.mark.parametrize("order", range(6))
def test_polynomials(order):
    point = np.random.default_rng(order).normal(size=3)
    norm = 0.0
    for component in components(order):
        solid = maxwell_cartesian(component, solid=True)
        assert laplacian(solid) == {} and all(sum(key) == order for key in solid)
        value = sum(c * np.prod(point ** np.array(key)) for key, c in solid.items())
        norm += multinomial(component) * value**2
        surface = maxwell_cartesian(component, solid=False)
        unit = point / np.linalg.norm(point)
        on_sphere = sum(c * np.prod(unit ** np.array(key)) for key, c in surface.items())
        assert on_sphere == pytest.approx(value / np.linalg.norm(point) ** order, abs=1e-9)
    factor = math.factorial(order) * math.prod(range(2 * order - 1, 0, -2))
    assert norm == pytest.approx(factor * np.linalg.norm(point) ** (2 * order), rel=1e-10)
    assert sum(len(set(itertools.permutations(g))) for g in groups(order)) == len(components(order))
