"""Checks of the GMP paper: symmetry functions, element networks, an element left out, and computed verdicts."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from foreign_files import write_qm9

from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments import gmp_paper, unseen_element
from hpopt_lib.experiments.descriptor_comparison import GMP, SIDES, Comparison
from hpopt_lib.experiments.element_networks import (
    ElementNetworks,
    ElementTraining,
    element_dataset,
    with_numbers,
)
from hpopt_lib.experiments.full_reproduction import FULL_SETUPS, make_full_store, run_full
from hpopt_lib.experiments.symmetry_functions import (
    SymmetryFunctions,
    SymmetrySettings,
    candidates,
    structures,
)
from hpopt_lib.experiments.unseen_element import Setup, fit_element_energy, holds, run_unseen, within_systems
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train
from hpopt_lib.report.paper_claims import chemical_accuracy, paper_claims
from hpopt_lib.workspace import embedded_store

QUICK = TrainSettings(num_layers=1, num_nodes=8, normalization="batch", lr=1e-2, epochs=2)


@pytest.fixture(scope="module")
def ethanol(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPOPT_WORK", str(tmp_path_factory.mktemp("work")))
        yield embedded_store("ethanol-like", settings=GMP, stride=20)


@pytest.fixture(scope="module")
def slabs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPOPT_WORK", str(tmp_path_factory.mktemp("work")))
        yield embedded_store("oc20-like", settings=GMPSettings(sigmas=(0.4, 1.1), max_order=1), stride=4)


def test_symmetry_functions_are_those_of_the_formula(needs):
    needs("dscribe")
    atoms = Atoms("HOH", positions=[[0.0, 0.0, 0.9], [0.0, 0.0, 0.0], [0.0, 0.9, 0.3]])
    settings = SymmetrySettings(("H", "O"), ((0.8, 0.5),), ((0.02, 4.0, -1.0),), cutoff=5.0)
    found = SymmetryFunctions(settings)(atoms)
    assert found.shape == (3, settings.num_features) == (3, 7)

    def cut(r):
        return 0.5 * (np.cos(np.pi * r / 5.0) + 1)

    a, b = atoms.get_distance(0, 1), atoms.get_distance(2, 1)
    c = atoms.get_distance(0, 2)
    radial = sum(np.exp(-0.8 * (r - 0.5) ** 2) * cut(r) for r in (a, b))
    assert found[1] == pytest.approx(
        [cut(a) + cut(b), radial, 0, 0, angular(atoms, a, b, c, cut), 0, 0], abs=1e-6
    )


def angular(atoms, a, b, c, cut):
    cosine = np.cos(np.radians(atoms.get_angle(0, 1, 2)))
    return (
        2 ** (1 - 4.0) * (1 - cosine) ** 4 * np.exp(-0.02 * (a**2 + b**2 + c**2)) * cut(a) * cut(b) * cut(c)
    )


def test_symmetry_functions_refuse_what_they_were_not_made_for(needs):
    needs("dscribe")
    compute = SymmetryFunctions(SymmetrySettings(("H", "C"), ((1.0, 0.0),), ()))
    with pytest.raises(HpoptError, match="no functions for O"):
        compute(molecule("CH3OH"))
    with pytest.raises(HpoptError, match="periodic"):
        compute(bulk("C"))
    with pytest.raises(HpoptError, match="elements"):
        SymmetrySettings(("H", "H"), (), ())


def test_both_sides_choose_among_as_many_candidates_with_as_many_features(ethanol, needs):
    needs("dscribe")
    comparison = Comparison(ethanol, validation="val", tests=["test"], base=QUICK)
    choices = {side: list(comparison.choices(side)) for side in SIDES}
    assert {len(found) for found in choices.values()} == {12}
    assert {comparison.num_features(one) for found in choices.values() for one in found} == {36}
    found = comparison.run(choices["symmetry"][0], 0)
    assert found["test"] > 0 and set(found) == {"test", "train_cpu_s"}
    best, errors = comparison.search("gmp")
    assert errors[f"{best.features}; lr {best.lr:g}"] == min(errors.values()) and len(errors) == 12


def test_element_networks_sum_the_energies_of_each_elements_own_network():
    torch.manual_seed(0)
    network = ElementNetworks(3, [1, 8], replace(QUICK, normalization="none"))
    features = torch.randn(5, 3)
    numbers = torch.tensor([1.0, 8.0, 1.0, 8.0, 1.0])
    inputs, frames = torch.cat([numbers[:, None], features], dim=1), torch.tensor([0, 0, 0, 1, 2])
    energies = network(inputs, frames, 3)
    alone = [network.networks[str(int(z))](f).item() for z, f in zip(numbers, features)]
    assert energies.tolist() == pytest.approx([sum(alone[:3]), alone[3], alone[4]], abs=1e-6)
    order = torch.tensor([2, 1, 0, 3, 4])
    assert torch.allclose(network(inputs[order], frames, 3), energies, atol=1e-6)
    with torch.no_grad():
        network.networks["8"][-1].bias += 1.0
    assert (network(inputs, frames, 3) - energies).tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-6)


def test_element_networks_learn_as_single_ones_do_and_know_their_elements_only(ethanol):
    data = Dataset.from_store(ethanol, validation="val")
    parts = [data.train.features[:, :36], data.validation.features[:, :36]]
    elements = element_dataset(data, *parts, transform="log")
    settings = replace(QUICK, epochs=60, num_nodes=32)
    first, second = (train(elements, settings, seed=1, training=ElementTraining) for _ in range(2))
    assert first.best_error == second.best_error
    assert first.history[-1]["train_loss"] < 0.5 * first.history[0]["train_loss"]
    strange = replace(data.validation, numbers=np.full_like(data.validation.numbers, 9))
    with pytest.raises(HpoptError, match="none for atomic number 9"):
        first.potential.predict(with_numbers(strange, parts[1]))
    with pytest.raises(HpoptError, match="comparison"):
        first.potential.save("model.npz")


def test_the_energy_of_an_element_is_found_and_cancels_within_systems():
    rng = np.random.default_rng(0)
    count, n_atoms = rng.integers(1, 5, 40), rng.integers(5, 9, 40)
    assert fit_element_energy(-7.25 * count, count, n_atoms) == pytest.approx(-7.25)
    systems = np.repeat(np.arange(10), 4).astype(str)
    error, n_atoms = rng.normal(size=40), np.repeat(rng.integers(5, 9, 10), 4)
    shift = np.repeat(rng.normal(size=10), 4)
    within = within_systems(error, n_atoms, systems)
    assert within > 10 and within_systems(error + shift, n_atoms, systems) == pytest.approx(within)
    with pytest.raises(HpoptError, match="two frames"):
        within_systems(error[:3], n_atoms[:3], np.array(["a", "b", "c"]))


def test_no_frame_with_the_element_is_trained_or_validated_on(slabs, monkeypatch):
    seen = []

    def spy(data, settings, *, seed):
        seen.append((holds(data.train, 29).any(), holds(data.validation, 29).any(), len(data.train)))
        test = slabs.read("val_id")
        assert not set(data.train.system_ids) & set(test.system_ids)
        assert not set(data.train.system_ids) & set(data.validation.system_ids)
        assert abs(data.scaler.count - data.train.n_atoms.sum()) == 0
        return train(data, settings, seed=seed)

    monkeypatch.setattr(unseen_element, "train", spy)
    setup = Setup("val_id", 100, 0.2, 3, QUICK)
    found = run_unseen(slabs, setup, elements=[29], seeds=[0, 1])
    assert seen == [(True, True, 100), (False, False, 100)] * 2
    assert {len(v) for model in found[29].values() for v in model.values()} == {2}
    assert found[29]["linear"]["within"] == pytest.approx(found[29]["median"]["within"]), (
        "neither knows a frame from another"
    )
    with pytest.raises(HpoptError, match="lower n_train"):
        run_unseen(slabs, replace(setup, n_train=10_000), elements=[29], seeds=[0])


def seeds_around(mean: float, seed: int = 0) -> list[float]:
    return list(mean + 0.05 * mean * np.random.default_rng(seed).normal(size=5))


def record(gmp: float = 5.0, symmetry: float = 3.0) -> dict:
    """A record in which the sides have given errors."""

    def side(error: float, seed: int) -> dict:
        timing = {
            "train_cpu_s": seeds_around(3),
            "features_ms": seeds_around(0.1),
            "network_ms": seeds_around(0.01),
        }
        return {"test": seeds_around(error, seed), **timing, "long": {"test": seeds_around(error / 2, seed)}}

    comparison = {
        "baselines": {"test": {"median": 12.0, "linear": 12.0}}, "n_frames": 1000,
        "gmp": side(gmp, 1), "symmetry": side(symmetry, 2), "gmp elements": side(gmp, 3),
    }  # fmt: skip
    trends = {
        "baselines": comparison["baselines"],
        "grid": {
            f"{n} widths, order {o}": {"test": seeds_around(20 / (n + o))} for n in (2, 9) for o in (0, 3)
        },
        "sizes": {f"{n} frames": {"test": seeds_around(100 / n**0.5)} for n in (100, 400)},
    }
    errors = {"unseen": 30.0, "seen": 20.0, "linear": 50.0, "linear seen": 50.0, "median": 60.0}
    unseen = {
        z: {
            m: {e: seeds_around(v, k) for e in ("total", "fitted", "within")}
            for k, (m, v) in enumerate(errors.items())
        }
        for z in ("H", "Cu", "Pt")
    }
    results = {"a:ethanol-like": comparison, "b:ethanol-like": trends, "c:oc20-like": unseen}
    return {"results": results, "settings": {"epochs": {"a": 30, "b": 20, "c": 15, "a, long": 100}}}


def test_verdicts_follow_the_numbers():
    verdicts = {row["name"]: row["verdict"] for row in paper_claims(record())}
    assert verdicts["gmp-beats-symmetry-functions"] == "does not hold"
    assert verdicts["one-network-is-enough"] == "cannot be shown here"
    assert verdicts["error-falls-with-order"] == verdicts["error-falls-with-data"] == "holds"
    assert verdicts["unseen-element-total"] == "holds"
    assert verdicts["chemical-accuracy-qm9"] == "cannot be shown here"
    turned = {row["name"]: row for row in paper_claims(record(gmp=3.0, symmetry=5.0))}
    assert turned["gmp-beats-symmetry-functions"]["holds"] is True
    assert "ethanol-like, 100 epochs -0.9" in turned["gmp-beats-symmetry-functions"]["evidence"]
    worse = record()
    for one in worse["results"]["c:oc20-like"].values():
        one["unseen"], one["linear"] = one["linear"], one["unseen"]
    assert {r["name"]: r["holds"] for r in paper_claims(worse)}["unseen-element-total"] is False


def test_one_set_that_contradicts_is_enough():
    both = record(gmp=3.0, symmetry=5.0)
    both["results"]["a:other"] = record()["results"]["a:ethanol-like"]
    assert paper_claims(both)[0]["verdict"] == "does not hold"


def test_a_rerun_that_contradicts_the_record_is_found_out():
    results = record()["results"]
    again = copy.deepcopy(results)
    assert gmp_paper.check_rerun(results, again, where="record") > 40
    again["a:ethanol-like"]["gmp"]["train_cpu_s"] = [900.0]  # another machine
    gmp_paper.check_rerun(results, again, where="record")
    sides = again["a:ethanol-like"]
    sides["gmp"], sides["symmetry"] = sides["symmetry"], sides["gmp"]
    with pytest.raises(HpoptError, match="record: a:ethanol-like: gmp: test: recorded"):
        gmp_paper.check_rerun(results, again, where="record")
    with pytest.raises(HpoptError, match="was not recorded"):
        gmp_paper.check_rerun(results, {"c:oc20-like": {"U": {"unseen": {"fitted": [1.0]}}}}, where="record")


def test_the_set_up_for_qm9_runs_on_files_of_its_format(tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator

    rng, frames = np.random.default_rng(0), []
    for k in range(40):
        atoms = molecule(["H2O", "CH4", "NH3", "CH3OH"][k % 4])
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=-400.0 * len(atoms) + rng.normal(0, 0.1))
        frames.append(atoms)
    folder = write_qm9(tmp_path / "qm9", frames)
    setup = replace(FULL_SETUPS["qm9"], gmp=GMPSettings(sigmas=(0.4, 1.1), max_order=1))
    store = make_full_store(setup, [folder], tmp_path / "work")
    counts = {split: entry["n_frames"] for split, entry in store.header["splits"].items()}
    assert sum(counts.values()) == 39 and set(counts) == {"train", "val", "test"}, "one is uncharacterised"
    results = run_full(setup, store, sizes=[20, 0], seeds=[0, 1], epochs=4)
    assert [found["n_train"] for found in results] == [20, 20, counts["train"], counts["train"]]
    assert {"median_energy_mae_mev_per_atom", "linear_energy_mae_mev_per_atom"} <= set(results[0]["test"])
    assert f"with {counts['train']} training molecules, limit 43.4 meV" in chemical_accuracy(results)
    for found in results:
        found["test"]["energy_mae_ev"] = 0.01 + 0.001 * found["seed"]
    assert chemical_accuracy(results).startswith("holds: 10.5 meV")
    assert chemical_accuracy(results[-1:]).startswith("cannot be shown here")
    with pytest.raises(HpoptError, match="give two"):
        make_full_store(replace(setup, name="other"), [folder], tmp_path / "work", validation=[folder])


def test_candidates_have_36_features_for_three_elements(ethanol):
    assert {s.num_features for s in candidates(("H", "C", "O")).values()} == {36}
    first = next(structures(ethanol.read("train")))
    assert first.get_chemical_formula() == "C2H6O" and not first.pbc.any()
