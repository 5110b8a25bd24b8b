"""What the features are: a probe integral by quadrature, the cutoff, the shape, and bad input."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import load_densities
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.radial import SWITCH_START, smooth_switch
from hpopt_lib.gmp.settings import GMPSettings


def test_is_the_integral_of_probe_times_density():
    sigma, spacing = 0.7, 0.1
    atoms = molecule("H2O")
    axis = np.arange(-4.5, 4.5 + spacing / 2, spacing)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    squared = x**2 + y**2 + z**2
    probe = np.exp(-squared / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)) ** 3
    densities, centre = load_densities(), 1
    density = np.zeros_like(probe)
    for number, position in zip(atoms.numbers, atoms.positions - atoms.positions[centre]):
        element = densities[number]
        for amplitude, exponent in zip(element.amplitudes, element.exponents):
            one = [np.exp(-exponent * (u - p) ** 2) for u, p in zip((x, y, z), position)]
            density += amplitude * one[0] * one[1] * one[2]
    weighted = probe * density * spacing**3
    # Cartesian form of the norm: sum over the components of the traceless tensor, l! (2l-1)!! folded in.
    vector = [np.sum(weighted * u) for u in (x, y, z)]
    tensor = [
        [np.sum(weighted * (3 * a * b - (i == j) * squared)) for j, b in enumerate((x, y, z))]
        for i, a in enumerate((x, y, z))
    ]
    expected = [np.sum(weighted), np.linalg.norm(vector), np.linalg.norm(tensor)]
    settings = GMPSettings(sigmas=(sigma,), max_order=2, cutoff=8.0)
    assert GMPFeaturizer(settings)(atoms)[centre] == pytest.approx(expected, rel=1e-7)


def test_smooth_switch_has_two_continuous_derivatives():
    cutoff = 5.0
    for radius, value in ((SWITCH_START * cutoff, 1.0), (cutoff, 0.0)):
        for side in (-1e-6, 1e-6):
            u = torch.tensor((radius + side) ** 2, dtype=torch.float64, requires_grad=True)
            switch = smooth_switch(u, cutoff)
            (first,) = torch.autograd.grad(switch, u, create_graph=True)
            second = torch.autograd.grad(first, u)[0] if first.requires_grad else torch.zeros(())
            assert float(switch.detach()) == pytest.approx(value, abs=1e-12)
            assert abs(float(first.detach())) < 1e-9 and abs(float(second)) < 1e-4


@pytest.mark.parametrize(("smooth", "largest_jump"), [(True, 1e-12), (False, None)])
def test_an_atom_crossing_the_cutoff(smooth, largest_jump):
    settings = GMPSettings(sigmas=(0.5, 2.0), max_order=2, cutoff=4.0, smooth_cutoff=smooth)
    featurizer = GMPFeaturizer(settings)

    def at(distance):
        return featurizer(ase.Atoms("CuPtO", [[0, 0, 0], [0, 0, 2.3], [distance, 0, 0]]))[0]

    jump = np.abs(at(4.0 - 1e-7) - at(4.0 + 1e-7)).max()
    if largest_jump is None:
        assert jump > 1e-4
    else:
        assert jump < largest_jump
        assert np.abs(at(3.9) - at(4.1)).max() > 1e-7


def test_shape_names_and_type():
    settings = GMPSettings(sigmas=(1.1, 0.69), max_order=2, cutoff=5.0)
    values = GMPFeaturizer(settings)(molecule("CH3OH"))
    assert values.shape == (6, settings.num_features) == (6, 6)
    assert values.dtype == np.float64 and (values >= 0).all()
    assert settings.feature_names() == [
        "l0_sigma0.69", "l0_sigma1.1", "l1_sigma0.69", "l1_sigma1.1", "l2_sigma0.69", "l2_sigma1.1",
    ]  # fmt: skip
    assert GMPFeaturizer(settings)(ase.Atoms()).shape == (0, 6)


def test_columns_of_a_wider_setting_are_the_same():
    wide, narrow = GMPSettings(sigmas=(0.3, 0.8, 2.0), max_order=3), GMPSettings(sigmas=(0.8,), max_order=1)
    columns = [wide.feature_names().index(name) for name in narrow.feature_names()]
    atoms = molecule("CH3CH2OH")
    values = [GMPFeaturizer(settings, backend="exact")(atoms) for settings in (wide, narrow)]
    np.testing.assert_allclose(values[0][:, columns], values[1], rtol=1e-13)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (ase.Atoms("CuUAc"), "no element density for Ac (Z=89), U (Z=92)"),
        (ase.Atoms("Cu2", [[0, 0, 0], [np.nan, 0, 0]]), "positions: atom 1"),
        (ase.Atoms("Cu", pbc=True), "cell: a periodic direction"),
    ],
)
def test_bad_structures(atoms, message):
    with pytest.raises(HpoptError) as caught:
        GMPFeaturizer(GMPSettings())(atoms)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_settings_of_another_table_are_refused():
    with pytest.raises(HpoptError, match="densities"):
        GMPFeaturizer(GMPSettings(densities="sha256:000000000000"))
    some = {number: density for number, density in load_densities().items() if number < 10}
    featurizer = GMPFeaturizer(GMPSettings(), some)
    assert featurizer.settings.densities != GMPSettings().densities


@pytest.mark.parametrize(
    "values",
    [
        {"sigmas": []},
        {"sigmas": [0.5, -1.0]},
        {"sigmas": [0.5, 0.5]},
        {"sigmas": ["wide"]},
        {"max_order": 9},
        {"max_order": 1.5},
        {"cutoff": 0.0},
        {"cutoff": float("nan")},
        {"smooth_cutoff": "yes"},
        {"sigma": [1.0]},
    ],
)
def test_bad_settings(values):
    with pytest.raises(HpoptError, match="GMP settings"):
        GMPSettings.from_dict(values)


def test_settings_survive_json():
    import json

    settings = GMPSettings(sigmas=(0.5, 0.25), max_order=1, cutoff=4, smooth_cutoff=False)
    assert GMPSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert settings.sigmas == (0.25, 0.5)


def test_pairs_may_come_from_elsewhere():
    featurizer = GMPFeaturizer(GMPSettings(sigmas=(0.7,), max_order=2), backend="exact")
    nothing = featurizer.features_from_pairs(torch.zeros(0, 3), np.zeros(0, int), np.zeros(0, int), 2)
    assert nothing.shape == (2, 3) and nothing.abs().max() == 0
    vectors = torch.tensor([[0.0, 0.0, 1.1], [0.0, 0.0, 0.0]], dtype=torch.float64)
    probe = featurizer.features_from_pairs(vectors, np.array([1, 1]), np.array([8, 6]), 2)
    carbon = featurizer(ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]))[0]
    np.testing.assert_allclose(probe.numpy(), [np.zeros(3), carbon], rtol=1e-13)
