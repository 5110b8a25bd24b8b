"""Configurations of other GMP codes: what is read from them, and what is refused."""

from __future__ import annotations

import math

import ase
import numpy as np
import pytest
from ase.build import molecule

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.compat import NotInvariantWarning, from_amptorch_config, from_gmp_featurizer_config
from hpopt_lib.gmp.densities import load_densities

ETHANOL = molecule("CH3CH2OH")
GROUPS = {"0": [1], "1": [1], "2": [1, 2], "3": [1, 2, 3]}


def grouped(**options):
    lists = {order: {"groups": numbers, "sigmas": [0.4, 1.1]} for order, numbers in GROUPS.items()}
    with pytest.warns(NotInvariantWarning):
        return from_amptorch_config({"MCSHs": lists, "cutoff": 6.0, **options}, densities=load_densities())


def order_norms(**options):
    lists = {"orders": [0, 1, 2, 3], "sigmas": [0.4, 1.1]}
    return from_amptorch_config({"MCSHs": lists, "cutoff": 6.0, **options}, densities=load_densities())


def test_names_order_and_forms():
    featurizer = grouped(rs_setup={"setup": "scale", "scale_factor": 2.0}, square=True)
    assert featurizer.feature_names()[:5] == [
        "l0_group1_sigma0.4", "l0_group1_sigma1.1", "l1_group1_sigma0.4", "l1_group1_sigma1.1",
        "l2_group1_sigma0.4",
    ]  # fmt: skip
    first = featurizer.settings.features[0]
    assert first.inverse_rs == pytest.approx(1 / 0.8) and featurizer.settings.square
    assert first.prefactor == pytest.approx(1 / (0.4 * math.sqrt(2 * math.pi)))
    assert not grouped().settings.square and order_norms().settings.square
    constant = grouped(rs_setup={"setup": "constant", "rs": 4.0}).settings.features[0]
    assert constant.inverse_rs == 0.25 and grouped().settings.features[0].inverse_rs == 1.0
    with pytest.warns(NotInvariantWarning):
        rows = [{"order": 2, "group": 2, "sigmas": [1.1]}, {"order": 0, "group": 1, "sigmas": [0.4]}]
        detailed = from_amptorch_config(
            {"MCSHs_detailed_list": rows, "cutoff": 6.0}, densities=load_densities()
        )
    assert detailed.feature_names() == ["l2_group2_sigma1.1", "l0_group1_sigma0.4"]
    columns = [grouped().feature_names().index(name) for name in detailed.feature_names()]
    np.testing.assert_allclose(grouped()(ETHANOL)[:, columns], detailed(ETHANOL), rtol=1e-12)


GROUP_LIST = {"0": {"groups": [1], "sigmas": [0.5]}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cutoff": 5.0}, "MCSHs is missing"),
        ({"MCSHs": GROUP_LIST}, "cutoff is missing"),
        ({"MCSHs": {"0": {"groups": [1]}}, "cutoff": 5.0}, "sigmas is missing"),
        ({"MCSHs": {"2": {"groups": [3], "sigmas": [0.5]}}, "cutoff": 5.0}, "order 2 has no group 3"),
        ({"MCSHs": {"10": {"groups": [1], "sigmas": [0.5]}}, "cutoff": 5.0}, "order 10"),
        ({"MCSHs": {"zero": {"groups": [1], "sigmas": [0.5]}}, "cutoff": 5.0}, "'zero' is no order"),
        ({"MCSHs": {"0": {"groups": [1], "sigmas": [0.0]}}, "cutoff": 5.0}, "sigmas: 0.0"),
        ({"MCSHs": GROUP_LIST, "cutoff": -5.0}, "cutoff: -5.0"),
        ({"MCSHs": {"0": {"groups": [], "sigmas": [0.5]}}, "cutoff": 5.0}, "no features"),
        ({"MCSHs": GROUP_LIST, "cutoff": 5.0, "rs_setup": {"setup": "constant"}}, "rs is missing"),
        (
            {"MCSHs": GROUP_LIST, "cutoff": 5.0, "rs_setup": {"setup": "scale", "scale_factor": 0}},
            "rs_setup: 0",
        ),
        ({"fp_scheme": "gaussian", "MCSHs": GROUP_LIST, "cutoff": 5.0}, "fp_scheme: 'gaussian'"),
    ],
)
def test_unusable_amptorch_configurations(config, message):
    with pytest.raises(HpoptError) as error:
        from_amptorch_config(config, densities=load_densities())
    assert message in str(error.value) and "\n" not in str(error.value) and error.value.remedy


def test_unusable_gmp_featurizer_configurations():
    lists = {"GMPs": {"orders": [0], "sigmas": [0.5]}}
    for config, message in [
        (lists, "custom_cutoff: 4"),
        ({**lists, "custom_cutoff": -1}, "cutoff is missing"),
        ({**lists, "custom_cutoff": -1, "cutoff": 5.0, "scaling_mode": "angular"}, "scaling_mode"),
        ({"custom_cutoff": -1, "cutoff": 5.0}, "GMPs is missing"),
        ({**lists, "custom_cutoff": -1, "cutoff": 5.0}, "psp_path is missing"),
    ]:
        with pytest.raises(HpoptError, match=message):
            from_gmp_featurizer_config(config)


def test_densities_come_from_the_files_of_the_configuration(tmp_path):
    density = load_densities()[8]
    path = tmp_path / "O_pseudodensity.g"
    rows = zip(density.amplitudes.tolist(), density.exponents.tolist())
    path.write_text("".join(f"{b!r} {beta!r}\n" for b, beta in rows))
    parameters = {"MCSHs": {"orders": [0, 1], "sigmas": [0.5]}, "cutoff": 5.0}
    pair = ase.Atoms("O2", [[0, 0, 0], [0, 0, 1.2]])
    ours = from_amptorch_config({**parameters, "atom_gaussians": {"O": path}})
    expected = from_amptorch_config(parameters, densities=load_densities())
    np.testing.assert_allclose(ours(pair), expected(pair), rtol=1e-13)
    with pytest.raises(HpoptError, match="atom_gaussians is missing"):
        from_amptorch_config(parameters)
    with pytest.raises(HpoptError, match="no element density for H"):
        ours(ETHANOL)
    gpsp = tmp_path / "table.gpsp"
    gpsp.write_text(f"****\nO 8 {len(density.exponents)}\n{path.read_text()}")
    config = {"GMPs": {"orders": [0, 1], "sigmas": [0.5]}, "custom_cutoff": -1, "cutoff": 5.0, "square": True}
    np.testing.assert_allclose(
        from_gmp_featurizer_config({**config, "psp_path": gpsp})(pair), expected(pair), rtol=1e-12
    )
