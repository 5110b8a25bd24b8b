"""The shipped densities, damaged tables, and the road that made them."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import erf

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.atoms_pbe import hartree_potential, solve_atom
from hpopt_lib.gmp.densities import SHIPPED_TABLE, load_densities, shipped_label, table_label
from hpopt_lib.gmp.density_fit import (
    LANTHANIDES,
    OC20_ELEMENTS,
    OTHER_ELEMENTS,
    SEMICORE_ELECTRONS,
    SMALLEST_RATIO,
    element_entry,
    fit_density,
    main,
)
from hpopt_lib.gmp.gth_potentials import RADII, SHELL, load_potential


@pytest.fixture
def pyscf(needs):
    needs("pyscf")


def test_hydrogen_to_radon_with_exact_charges():
    densities = load_densities()
    assert len(OC20_ELEMENTS) == 56 and list(densities) == list(range(1, 87))
    assert {density.symbol for density in densities.values()} == {*OC20_ELEMENTS, *OTHER_ELEMENTS}
    for density in densities.values():
        assert abs(density.charge - density.n_electrons) < 1e-10
        assert density.n_electrons == SEMICORE_ELECTRONS.get(density.symbol, density.n_electrons)
        assert (density.exponents[1:] / density.exponents[:-1] > SMALLEST_RATIO - 1e-4).all()
        assert 4 <= len(density.exponents) <= (8 if density.symbol in LANTHANIDES else 6)


def test_residuals_and_tails():
    densities = load_densities().values()
    residuals = {density.symbol: density.l1_residual for density in densities}
    assert max(residuals.values()) < 0.012 and float(np.median(list(residuals.values()))) < 0.007
    radii = np.linspace(0.0, 8.0, 2000)
    shell = 4 * np.pi * radii**2 * (radii[1] - radii[0])
    for density in densities:
        values = density(radii)
        # A small dip below zero at the nucleus or in the tail holds next to no charge.
        assert np.clip(-values, 0.0, None) @ shell < 2e-5 * density.n_electrons, density.symbol
        assert values[-1] < 1e-5


def test_no_two_elements_look_alike():
    radii = np.linspace(0.0, 6.0, 1200)
    shell = 4 * np.pi * radii**2 * (radii[1] - radii[0])
    densities = list(load_densities().values())
    values = np.array([density(radii) for density in densities])
    for k, density in enumerate(densities):
        distance = (np.abs(values - values[k]) @ shell) / density.n_electrons
        distance[k] = np.inf
        assert distance.min() > 0.05, (density.symbol, densities[int(distance.argmin())].symbol)


def test_label_follows_the_numbers():
    densities = load_densities()
    assert table_label(densities) == shipped_label() and shipped_label().startswith("sha256:")
    assert table_label({1: densities[1]}) != shipped_label()


def broken(change):
    table = json.loads(SHIPPED_TABLE.read_text(encoding="utf-8"))
    change(table)
    return json.dumps(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHIPPED_TABLE.read_text(encoding="utf-8")[:2000], "not a JSON table"),
        ("[]", "format"),
        (broken(lambda t: t.update(format="other")), "format"),
        (broken(lambda t: t.update(version=99)), "version: 99"),
        (broken(lambda t: t.update(elements={})), "elements: no entries"),
        (broken(lambda t: t["elements"]["Cu"].pop("exponents")), "Cu: exponents is missing"),
        (broken(lambda t: t["elements"]["Cu"].update(amplitudes=["x"])), "Cu"),
        (broken(lambda t: t["elements"]["Cu"]["amplitudes"].pop()), "Cu: amplitudes and exponents differ"),
        (broken(lambda t: t["elements"]["Pt"]["exponents"].__setitem__(0, -1.0)), "Pt"),
        (
            broken(lambda t: t["elements"]["O"].update(n_electrons=8)),
            "O: the density holds 6 electrons, not 8",
        ),
    ],
)
def test_damaged_tables(tmp_path, text, message):
    path = tmp_path / "table.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HpoptError) as caught:
        load_densities(path)
    assert (
        message in str(caught.value) and "table.json" in str(caught.value) and "\n" not in str(caught.value)
    )


def test_missing_table(tmp_path):
    with pytest.raises(HpoptError, match=r"none.json: cannot be read"):
        load_densities(tmp_path / "none.json")


def test_hartree_potential_of_a_gaussian():
    density = (2.0 / math.pi) ** 1.5 * np.exp(-2.0 * RADII**2)
    np.testing.assert_allclose(hartree_potential(density), erf(math.sqrt(2.0) * RADII) / RADII, rtol=2e-5)


def test_fit_recovers_a_sum_of_gaussians():
    exponents, charges = np.array([0.3, 1.1, 5.0]), np.array([1.5, 2.0, 0.5])
    density = np.exp(-exponents * RADII[:, None] ** 2) @ (charges * (exponents / math.pi) ** 1.5)
    fit = fit_density(density, 4, 3, starts=4)
    assert fit.l1_residual < 1e-5
    assert np.sum(fit.amplitudes * (math.pi / fit.exponents) ** 1.5) == pytest.approx(4.0, abs=1e-12)
    np.testing.assert_allclose(fit.exponents, exponents, rtol=1e-3)


PYSCF_CALCIUM = """
from pyscf import dft, gto
basis = [[l, [0.03 * 1.6**k, 1.0]] for l in (0, 1) for k in range(16)]
atom = gto.M(atom="Ca", basis={"Ca": basis}, pseudo="gth-pbe", verbose=0)
print(dft.RKS(atom, xc="pbe").run(conv_tol=1e-9).e_tot)
"""


@pytest.mark.usefixtures("pyscf")
def test_atom_agrees_with_pyscf():
    # In a process of its own: PySCF warns about its own integrals and leaves temporary files open.
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PYSCF_CALCIUM], check=True, capture_output=True, text=True
    )
    atom = solve_atom(load_potential("Ca"), ratio=1.6, largest=40.0)
    assert atom.energy == pytest.approx(float(run.stdout), abs=3e-4)
    assert np.sum(SHELL * atom.density) == pytest.approx(10.0, abs=1e-9)


@pytest.mark.usefixtures("pyscf")
@pytest.mark.parametrize("symbol", ["H", "O"])
def test_shipped_table_can_be_made_again(symbol):
    shipped = json.loads(SHIPPED_TABLE.read_text(encoding="utf-8"))["elements"][symbol]
    again = element_entry(symbol, starts=4)
    assert again["n_electrons"] == shipped["n_electrons"] and again["source"] == shipped["source"]
    assert again["l1_residual"] == pytest.approx(shipped["l1_residual"], abs=1e-3)


@pytest.mark.usefixtures("pyscf")
def test_command_writes_a_readable_table(tmp_path, capsys):
    path = tmp_path / "hydrogen.json"
    main(["--out", str(path), "--starts", "2", "H"])
    assert list(load_densities(path)) == [1]
    assert "1 elements, L1 residual" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="exists already"):
        main(["--out", str(path), "--starts", "2", "H"])
    with pytest.raises(SystemExit, match="Xx"):
        main(["--out", str(tmp_path / "x.json"), "Xx"])
    with pytest.raises(HpoptError, match="no UZH GTH-PBE-q99"):
        load_potential("Cu", semicore_electrons=99)


def test_without_pyscf(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyscf", None)
    with pytest.raises(SystemExit, match="PySCF is not installed; pip install pyscf"):
        main(["--out", str(tmp_path / "table.json"), "Al"])
    assert not list(tmp_path.iterdir())
