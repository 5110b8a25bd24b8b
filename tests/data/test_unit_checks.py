"""A wrong declaration of units shows in magnitudes, and right ones pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_files import HARTREE_IN_EV, KCAL_PER_EV, write_npz, write_qm9
from synthetic import labelled, slabs, water, write

from hpopt_lib.data.format_npz import KEYS
from hpopt_lib.data.readers import FrameSource
from hpopt_lib.data.unit_checks import FrameMagnitudes, MagnitudeSample, free_atom_energy_ev
from hpopt_lib.errors import HpoptError

#: Exact non-relativistic or Hartree-Fock total energies in Hartree, from textbooks.
ATOMS = {
    1: -0.5,
    2: -2.9037,
    6: -37.845,
    7: -54.589,
    8: -75.067,
    9: -99.734,
    18: -527.54,
    29: -1638.96,
    79: -17865.4,
}


def test_energies_of_free_atoms():
    numbers, exact = np.array(list(ATOMS)), np.array(list(ATOMS.values())) * HARTREE_IN_EV
    share = free_atom_energy_ev(numbers) / exact
    assert np.abs(share[numbers > 4] - 1).max() < 0.015 and np.abs(share - 1).max() < 0.06


def units(folder: Path, energy: float, length: float) -> Path:
    """Waters with all numbers in another unit."""
    frames = [water(k) for k in range(5)]
    for atoms in frames:
        results = atoms.get_potential_energy() * energy, atoms.get_forces() * energy / length
        atoms.positions *= length
        labelled(atoms, *results)
    return write(folder / "w.traj", frames)


IN = {"eV": 1.0, "meV": 1000.0, "kcal/mol": KCAL_PER_EV, "kJ/mol": 96.4853, "Hartree": 1 / HARTREE_IN_EV}


@pytest.mark.parametrize("declared", IN)
@pytest.mark.parametrize("real", IN)
def test_every_confusion_of_two_energy_units_is_caught(tmp_path, real, declared):
    path = units(tmp_path, IN[real], 1.0)
    if real == declared:
        read = list(FrameSource(path, energy_unit=declared))
        assert read[0].get_potential_energy() == pytest.approx(water(0).get_potential_energy(), rel=1e-5)
        return
    with pytest.raises(
        HpoptError, match=rf"w.traj: energy: .* {declared} \(the numbers fit {real}\)"
    ) as raised:
        list(FrameSource(path, energy_unit=declared))
    assert "--energy-unit" in raised.value.remedy
    assert len(list(FrameSource(path, energy_unit=declared, check_units=False))) == 5


@pytest.mark.parametrize(("real", "declared", "length"), [("Bohr", "Å", 1.8897), ("Å", "Bohr", 1.0)])
def test_lengths_in_the_other_unit_are_caught(tmp_path, real, declared, length):
    path = units(tmp_path, 1.0, length)
    assert len(list(FrameSource(path, length_unit=real))) == 5
    with pytest.raises(
        HpoptError, match=rf"w.traj: positions: .* does not fit {declared} \(the numbers fit {real}\)"
    ):
        list(FrameSource(path, length_unit=declared))


def test_a_wrong_declaration_of_a_published_set(tmp_path):
    frames = [water(k) for k in range(5)]
    npz = write_npz(tmp_path / "w.npz", frames, keys=KEYS["md17"])
    qm9 = write_qm9(tmp_path / "qm9", frames)
    for path, declared, fits in (
        (npz, "eV", "kcal/mol"),
        (qm9, "eV", "Hartree"),
        (npz, "Hartree", "kcal/mol"),
    ):
        with pytest.raises(HpoptError, match=rf"{path}: energy: .*\(the numbers fit {fits}\)"):
            list(FrameSource(path, energy_unit=declared))
    with pytest.raises(HpoptError, match=r"qm9: positions: .*does not fit Bohr"):
        list(FrameSource(qm9, length_unit="Bohr"))


def test_a_wrong_unit_shows_before_the_whole_input_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("hpopt_lib.data.readers.FIRST_CHECK_FRAMES", 3)
    frames = FrameSource(units(tmp_path, KCAL_PER_EV, 1.0))
    seen = []
    with pytest.raises(HpoptError, match="too large for eV"):
        seen.extend(frames)
    assert len(seen) == 2


def test_the_sample_stays_small_and_covers_the_whole_input():
    sample = MagnitudeSample(capacity=64)
    for number in range(10_000):
        sample.add(FrameMagnitudes(float(number), 0.0, 0.0, 0.0))
        assert len(sample.kept) < 64
    kept = [m.energy_ev_per_atom for m in sample.kept]
    assert len(kept) >= 32 and kept[0] == 0 and kept[-1] > 9_500 and len(set(np.diff(kept))) == 1


def test_pseudopotential_and_adsorption_energies_pass(tmp_path):
    """Energies far from those of all electrons are in no unit's range."""
    frames = slabs(0, 6)
    assert len(list(FrameSource(write(tmp_path / "emt.traj", frames)))) == 6
    for atoms in frames:
        labelled(atoms, -1.0 + 0.1 * atoms.info["frame"], atoms.get_forces(apply_constraint=False))
    assert len(list(FrameSource(write(tmp_path / "ads.traj", frames)))) == 6


@pytest.mark.parametrize(
    "name",
    ["oc20/oc20_frames_200.traj", "molecules/ethanol_train.xyz", "molecules/acac_test_600K.xyz"],
)
def test_real_data_pass_in_their_units_and_in_no_other(shared, name, tmp_path):
    path = shared / "data" / name
    read = list(FrameSource(path))
    assert len(read) >= 200
    with pytest.raises(HpoptError, match="positions: .* does not fit Bohr"):
        list(FrameSource(path, length_unit="Bohr"))
    if path.suffix == ".xyz":
        for declared in ("kcal/mol", "Hartree"):
            with pytest.raises(HpoptError, match=r"\(the numbers fit eV\)"):
                list(FrameSource(path, energy_unit=declared))
