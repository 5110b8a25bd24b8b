"""References of every kind: from files, in stores, and total energies that come back whatever the reference."""

from __future__ import annotations

import json

import ase.io
import lmdb
import numpy as np
import pytest
from ase import Atoms
from synthetic import GMP, labelled, slabs, write

from hpopt_lib.errors import HpoptError
from hpopt_lib.inputs import Input
from hpopt_lib.potential.calculator import HpoptCalculator
from hpopt_lib.potential.evaluation import baseline_energies, evaluate
from hpopt_lib.potential.model import Potential
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Dataset, train
from hpopt_lib.preprocess import preprocess
from hpopt_lib.references import composition, parse_reference, reference_from_dict
from hpopt_lib.references.files import read_element_energies, read_isolated_atoms
from hpopt_lib.report.final_tables import final_table
from hpopt_lib.report.tables import study_summary
from hpopt_lib.store import Store, describe
from hpopt_lib.tuning.config import StudyConfig
from hpopt_lib.tuning.final import final_model
from hpopt_lib.tuning.space_file import load_space
from hpopt_lib.tuning.study import tune

ENERGIES = {"N": -3.0, "O": -5.0, "Cu": 0.25, "Ni": -0.5, "Pd": 1.0}
NUMBERS = {"N": 7, "O": 8, "Cu": 29, "Ni": 28, "Pd": 46}
KINDS = ("linear", "none", "file", "isolated-atoms", "adsorption")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Slabs with a reference energy of their own, and files with energies of elements."""
    folder = tmp_path_factory.mktemp("references")
    for name, start, stop in (("train", 0, 36), ("val", 60, 72)):
        frames = slabs(start, stop)
        for number, atoms in enumerate(frames):
            atoms.info["reference_energy"] = atoms.get_potential_energy() - 0.3 * (number % 7)
        write(folder / f"{name}.traj", frames)
    (folder / "elements.json").write_text(json.dumps(ENERGIES))
    write(folder / "atoms.extxyz", [labelled(Atoms(s), e) for s, e in ENERGIES.items()])
    return folder


def option(kind: str, folder) -> str:
    files = {"file": str(folder / "elements.json"), "isolated-atoms": f"isolated-atoms={folder}/atoms.extxyz"}
    return files.get(kind, kind)


@pytest.fixture(scope="module")
def stores(folder):
    made = {}
    for kind in KINDS:
        inputs = [Input(name, folder / f"{name}.traj") for name in ("train", "val")]
        path = folder / f"{kind}.lmdb"
        references = parse_reference(option(kind, folder))
        preprocess(inputs, path, settings=GMP, dtype="float64", references=references)
        made[kind] = Store.open(path)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_store_says_which_reference_it_has(stores, kind):
    store, text = stores[kind], describe(stores[kind])
    expected = {
        "linear": "energies relative to per-element linear fit: 5 elements, rank 4",
        "none": "energies relative to nothing: total energies",
        "file": "energies relative to energies of elements in elements.json (sha256 ",
        "isolated-atoms": "energies relative to isolated atoms in atoms.extxyz (sha256 ",
        "adsorption": "energies relative to each frame's own reference energy: adsorption energies",
    }
    assert expected[kind] in text
    stored = store.header["reference"]
    if kind in ("file", "isolated-atoms"):
        assert stored["coefficients"] == {str(NUMBERS[s]): e for s, e in ENERGIES.items()}
        assert len(stored["source"]["sha256"]) == 64
    assert reference_from_dict(json.loads(json.dumps(stored))).to_dict() == stored


def test_stores_with_other_references_are_other_data(stores):
    """A study must not go on with a store whose energies are relative to something else."""
    assert len({store.fingerprint for store in stores.values()}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_training_sees_has_a_mean_of_zero(stores, kind):
    arrays, reference = stores[kind].read("train"), stores[kind].reference
    left = (arrays.energy - reference.of_frames(arrays.numbers, arrays.n_atoms, arrays.info)) / arrays.n_atoms
    assert abs(left.mean()) < 1e-6
    if kind == "adsorption":  # 9 atoms in every frame
        expected = np.array([0.3 * (i % 7) for i in range(36)]) / 9
        assert left == pytest.approx(expected - expected.mean(), abs=1e-9)
    if kind == "none":
        assert left == pytest.approx(arrays.energy / 9 - (arrays.energy / 9).mean(), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_total_energies_whatever_the_reference(stores, folder, tmp_path, kind):
    store = stores[kind]
    data = Dataset.from_store(store)
    potential = train(data, TrainSettings(epochs=2, max_order=1, num_sigmas=3), seed=0).potential
    potential = Potential.load(potential.save(tmp_path / "m.npz"))
    arrays, frames = store.read("val"), ase.io.read(folder / "val.traj", ":")
    predicted = potential.predict(arrays)
    # the network's own part, by another way: the sum over atoms of what it adds to the reference
    import torch

    network = potential.atomic_corrections(torch.from_numpy(np.array(arrays.features))).detach().numpy()
    own = np.add.reduceat(network, np.cumsum(arrays.n_atoms) - arrays.n_atoms)
    shift = store.header["reference"].get("shift_ev_per_atom", 0.0) * arrays.n_atoms
    counts = composition(arrays.numbers, arrays.n_atoms)
    by_hand = {
        "linear": sum(
            counts[:, int(z)] * e for z, e in stores["linear"].header["reference"]["coefficients"].items()
        ),
        "none": shift,
        "adsorption": np.array([a.info["reference_energy"] for a in frames]) + shift,
    }
    by_element = sum(counts[:, NUMBERS[s]] * e for s, e in ENERGIES.items()) + shift
    assert predicted == pytest.approx(by_hand.get(kind, by_element) + own, abs=1e-5)
    # a structure in memory and ASE's calculator give the same total energy
    energy, _ = potential.energy_and_forces(frames[3])
    assert energy == pytest.approx(predicted[3], abs=1e-5)
    atoms = frames[3].copy()
    atoms.calc = HpoptCalculator(potential)
    assert atoms.get_potential_energy() == pytest.approx(predicted[3], abs=1e-5)
    assert atoms.get_potential_energies().sum() == pytest.approx(predicted[3], abs=1e-5)
    # so errors are of the original scale, and the linear baseline is the same for all
    scores = evaluate(potential, store)["val"]
    assert scores["energy_mae_ev"] == pytest.approx(np.abs(predicted - arrays.energy).mean())
    linear = baseline_energies(store.read("train"), stores["linear"].reference, arrays)["linear"]
    assert baseline_energies(store.read("train"), store.reference, arrays)["linear"] == pytest.approx(linear)


def test_an_adsorption_energy_prediction_needs_the_reference_energy(stores):
    potential = train(
        Dataset.from_store(stores["adsorption"]), TrainSettings(epochs=1, max_order=1, num_sigmas=3), seed=0
    ).potential
    arrays = stores["adsorption"].read("val").take(np.arange(3))
    arrays.info[1] = {"system_id": "new"}
    with pytest.raises(
        HpoptError,
        match=r"frame 1 \(system new\): reference_energy: missing, so its adsorption energy and total energy cannot be turned into each other; set atoms.info\['reference_energy'\]",
    ):
        potential.predict(arrays)
    atoms = slabs(3, 4)[0]
    atoms.calc = HpoptCalculator(potential)
    with pytest.raises(HpoptError, match="structure: reference_energy: missing"):
        atoms.get_potential_energy()


def test_a_frame_without_its_reference_energy_is_named(folder, tmp_path):
    frames = ase.io.read(folder / "train.traj", ":6")
    del frames[4].info["reference_energy"]
    path = write(tmp_path / "t.traj", frames)
    with pytest.raises(
        HpoptError, match=r"t.traj: frame 4: energy: unknown .* reference_energy\), but raw before"
    ):
        preprocess(
            [Input("train", path)],
            tmp_path / "s.lmdb",
            settings=GMP,
            references=parse_reference("adsorption"),
        )
    for atoms in frames:
        atoms.info.pop("reference_energy", None)
    path = write(tmp_path / "t.traj", frames)
    with pytest.raises(HpoptError, match="t.traj: frame 0: reference_energy: missing"):
        preprocess(
            [Input("train", path)],
            tmp_path / "s.lmdb",
            settings=GMP,
            references=parse_reference("adsorption"),
        )
    for atoms in frames:
        atoms.info |= {"reference_energy": 1.0, "energy_kind": "adsorption"}
    write(path, frames)
    with pytest.raises(
        HpoptError,
        match="t.traj: frame 0: energy_kind: adsorption, so the reference energy was subtracted already",
    ):
        preprocess(
            [Input("train", path)],
            tmp_path / "s.lmdb",
            settings=GMP,
            references=parse_reference("adsorption"),
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.traj"]


def test_an_element_without_an_energy_is_named(folder, tmp_path):
    (tmp_path / "e.json").write_text('{"O": -5, "N": -3, "Cu": 0, "Ni": 1}')
    with pytest.raises(
        HpoptError, match="train.traj: frame 2: element Pd: no energy in e.json; add the element"
    ):
        preprocess(
            [Input("train", folder / "train.traj")], tmp_path / "s.lmdb", settings=GMP,
            references=parse_reference(str(tmp_path / "e.json")),
        )  # fmt: skip


def test_all_formats_give_the_same_energies(tmp_path):
    coeff = np.full(100, 5e11)  # what a fit gives for elements it did not see
    coeff[[0, 2, 3]] = -4e5, 0.0, np.nan
    for symbol, energy in ENERGIES.items():
        coeff[NUMBERS[symbol]] = energy
    np.savez(tmp_path / "e.npz", coeff=coeff)
    (tmp_path / "e.json").write_text(json.dumps(ENERGIES))
    (tmp_path / "e.toml").write_text("\n".join(f"{s} = {e}" for s, e in ENERGIES.items()))
    (tmp_path / "e.csv").write_text(
        "element,energy_ev\n" + "\n".join(f"{s}, {e}" for s, e in ENERGIES.items())
    )
    found = [read_element_energies(tmp_path / f"e.{suffix}") for suffix in ("npz", "json", "toml", "csv")]
    for energies in found:
        assert {s: energies[z] for s, z in NUMBERS.items()} == ENERGIES
        assert np.isnan(energies).sum() == 119 - len(ENERGIES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.json", "{", "e.json: not JSON"),
        ("e.json", "[1]", "e.json: not a table of elements"),
        ("e.json", '{"Xx": 1}', "e.json: 'Xx': no chemical element; use symbols"),
        ("e.json", '{"H": "one"}', "e.json: H: 'one' is no energy in eV"),
        ("e.json", '{"H": 1e9}', "e.json: H: 1000000000.0 is no energy in eV"),
        ("e.json", '{"H": NaN}', "e.json: H: nan is no energy in eV"),
        ("e.json", "{}", "e.json: energies: none in it"),
        ("e.csv", "H,1\nH,2\n", "e.csv: H: given twice"),
        ("e.csv", "H;1\nC;2\n", "e.csv: .*: not two columns"),
        ("e.toml", "H -1", "e.toml: not TOML"),
        ("e.npz", "text", "e.npz: not a readable .npz file"),
        ("e.txt", "H -1", "unknown format '.txt'; give an .npz with"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(HpoptError, match=message):
        parse_reference(str(tmp_path / name))


def test_options_that_cannot_be_used(tmp_path):
    with pytest.raises(HpoptError, match="--references: 'lineer' is unknown; use none, linear, FILE"):
        parse_reference("lineer")
    with pytest.raises(HpoptError, match="--references: missing.npz: no such file"):
        parse_reference("missing.npz")
    np.savez(tmp_path / "o.npz", energies=np.ones(5))
    with pytest.raises(HpoptError, match="o.npz: coeff: no such array"):
        parse_reference(str(tmp_path / "o.npz"))


def test_an_array_of_pickled_objects_is_not_loaded(tmp_path):
    np.savez(tmp_path / "o.npz", coeff=np.array([{"a": 1}, 2], dtype=object))
    with pytest.raises(HpoptError, match="not a readable .npz file"):
        parse_reference(str(tmp_path / "o.npz"))


def test_isolated_atoms(tmp_path):
    path = write(tmp_path / "a.extxyz", [labelled(Atoms("H"), -313.0), labelled(Atoms("O"), -46900.0)])
    energies = read_isolated_atoms(path, energy_unit="kcal/mol")
    assert energies[1] == pytest.approx(-13.573, abs=1e-3) and energies[8] == pytest.approx(-2033.8, abs=0.1)
    write(path, [labelled(Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), -31.0)])
    with pytest.raises(HpoptError, match="a.extxyz: frame 0: atoms: 2, isolated atoms have 1"):
        read_isolated_atoms(path)
    write(path, [labelled(Atoms("H"), -1.0), labelled(Atoms("H"), -2.0)])
    with pytest.raises(HpoptError, match="a.extxyz: frame 1: element: a second H atom"):
        read_isolated_atoms(path)


def test_files_of_format_version_1_still_open(stores, tmp_path):
    """What earlier versions wrote: no kind but the linear fit, nothing about splits."""
    new = stores["linear"]
    path = tmp_path / "old.lmdb"
    path.write_bytes(new.path.read_bytes())
    header = {k: v for k, v in new.header.items() if k not in ("split", "leaks")} | {"version": 1}
    with lmdb.open(str(path), subdir=False, lock=False) as env, env.begin(write=True) as txn:
        txn.put(b"header", json.dumps(header).encode())
    old = Store.open(path)
    assert old.fingerprint == new.fingerprint  # studies on it go on
    assert old.reference.label == new.reference.label
    assert "not recorded by the older hpopt" in describe(old) and "not recorded" not in describe(new)
    potential = train(
        Dataset.from_store(old), TrainSettings(epochs=1, max_order=1, num_sigmas=3), seed=0
    ).potential
    potential.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        parts = dict(archive)
    parts["header"] = np.array(json.dumps(json.loads(str(parts["header"])) | {"version": 1}))
    np.savez(tmp_path / "old.npz", **parts)
    arrays = old.read("val")
    assert np.array_equal(Potential.load(tmp_path / "old.npz").predict(arrays), potential.predict(arrays))


def test_tune_says_which_reference(stores, tmp_path):
    fixed = {"epochs": 1, "max_order": 1, "num_sigmas": 3}
    space = load_space(None, fixed=fixed).text
    config = StudyConfig(str(stores["isolated-atoms"].path), space, "val", fixed, sampler="random")
    study = tune("s", config, trials=1, storage=f"sqlite:///{tmp_path}/s.db")
    sentence = "The model was trained on energies relative to isolated atoms in atoms.extxyz (sha256 "
    assert sentence in final_table(final_model(study, tmp_path / "final", seeds=1))
    results = json.loads((tmp_path / "final/results.json").read_text())
    assert results["reference"]["kind"] == "isolated atoms"
    assert results["reference"]["source"]["file"] == "atoms.extxyz"
    assert "energies relative to   isolated atoms in atoms.extxyz" in study_summary(study)
    # results of before this was recorded are read as they are
    old = {key: value for key, value in results.items() if key != "reference"}
    (tmp_path / "final/results.json").write_text(json.dumps(old))
    assert final_model(study, tmp_path / "final", seeds=1) == old
    assert "relative to" not in final_table(old)


def test_fairchem_references_on_real_frames(shared, tmp_path):
    """Published coefficients explain energies of real frames, and cover all of their elements."""
    frames = shared / "data/oc20/oc20_frames_200.traj"
    reference = parse_reference(str(shared / "data/oc20/fairchem_linref.npz"))
    images = ase.io.read(frames, ":")
    for number, atoms in enumerate(images):
        reference.check(atoms, where=f"frame {number}")
    n_atoms = np.array([len(a) for a in images])
    found = reference.of_frames(
        np.concatenate([a.numbers for a in images]), n_atoms, [a.info for a in images]
    )
    error = np.abs(found - np.array([a.get_potential_energy() for a in images])).mean()
    assert 10 < error < 20  # eV; 14.0 over splits of 240 + 60 frames of the same source
