"""Prediction files, read independently of the code that writes them, and their scores."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from synthetic import GMP, slab, write

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import free_atoms
from hpopt_lib.inputs import Input, ReadOptions
from hpopt_lib.potential.calculator import HpoptCalculator
from hpopt_lib.potential.leaderboard import AVERAGE, METRICS, leaderboard
from hpopt_lib.potential.prediction_files import write_predictions
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import Dataset, train
from hpopt_lib.preprocess import preprocess
from hpopt_lib.report.leaderboard_table import leaderboard_rows
from hpopt_lib.store import Store

SPLITS = ("id", "ood_ads", "ood_cat", "ood_both")
SIZES = {"train": 24, "val_id": 7, "val_ood_ads": 5, "val_ood_cat": 6, "val_ood_both": 4}


def reference(number: int) -> float:
    """A reference energy in eV, the same for all frames of a system."""
    return -40.0 - number // 4


def oc20_frames(start: int, stop: int, **labels):
    """Slabs with OC20's labels; `labels` replace them, None takes one away."""
    frames = []
    for number in range(start, stop):
        atoms = slab(number)
        known = {
            "system_id": f"random{1000 + number // 4}", "frame": number % 4,
            "reference_energy": reference(number), "energy_kind": "raw",
        }  # fmt: skip
        atoms.info = {key: value for key, value in {**known, **labels}.items() if value is not None}
        frames.append(atoms)
    return frames


def make_store(folder: Path, *, energy: str | None = "adsorption", units=(None, None), **labels) -> Path:
    ends = [0, *itertools.accumulate(SIZES.values())]
    inputs = [
        Input(split, write(folder / f"{split}.traj", oc20_frames(low, high, **labels)))
        for split, low, high in zip(SIZES, ends, ends[1:])
    ]
    options = ReadOptions(*units, check_units=units == (None, None), energy=energy)
    preprocess(inputs, folder / "store.lmdb", settings=GMP, options=options)
    return folder / "store.lmdb"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("adsorption"))


@pytest.fixture(scope="module")
def raw_store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("raw"), energy=None)


@pytest.fixture(scope="module")
def model(store, tmp_path_factory) -> Path:
    return trained(store, tmp_path_factory.mktemp("model") / "m.npz", seed=0)


def trained(store: Path, path: Path, *, seed: int) -> Path:
    with Store.open(store) as opened:
        data = Dataset.from_store(opened)
    settings = TrainSettings(num_layers=2, num_nodes=8, epochs=3, batch_size=8, activation="tanh", lr=0.02)
    return train(data, settings, seed=seed).potential.save(path)


@pytest.fixture(scope="module")
def submission(model, store) -> Path:
    path = store.with_name("submission.npz")
    counts = write_predictions(path, model, store, oc20=True)
    assert counts == {"id": 7, "ood_ads": 5, "ood_cat": 6, "ood_both": 4}
    return path


def by_id(path: Path, split: str) -> dict[str, tuple[float, np.ndarray]]:
    """Energy and forces of each frame, as the description of the format says how to take them apart."""
    with np.load(path, allow_pickle=False) as archive:
        ids, energy = archive[f"{split}_ids"], archive[f"{split}_energy"]
        forces = np.split(archive[f"{split}_forces"], archive[f"{split}_chunk_idx"])
    assert len(ids) == len(energy) == len(forces) == len(set(ids.tolist()))
    return {name: (float(e), f) for name, e, f in zip(ids.tolist(), energy, forces)}


def frames_of(split: str):
    start = sum(size for name, size in itertools.takewhile(lambda item: item[0] != split, SIZES.items()))
    return {
        f"{1000 + number // 4}_{number % 4}": slab(number) for number in range(start, start + SIZES[split])
    }


def rewritten(path: Path, out: Path, **changed) -> Path:
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays |= changed
    np.savez_compressed(out, **{key: value for key, value in arrays.items() if value is not None})
    return out


def test_a_submission_is_what_the_calculator_says(submission, model):
    calculator = HpoptCalculator(model)
    with np.load(submission) as archive:
        names = {f"{split}_{key}" for split in SPLITS for key in ("ids", "energy", "forces", "chunk_idx")}
        assert set(archive.files) == names
        for split in SPLITS:
            assert (
                archive[f"{split}_ids"].dtype.kind == "U" and archive[f"{split}_chunk_idx"].dtype.kind == "i"
            )
            assert archive[f"{split}_energy"].dtype == archive[f"{split}_forces"].dtype == np.float32
    for split in SPLITS:
        found, frames = by_id(submission, split), frames_of(f"val_{split}")
        assert found.keys() == frames.keys()
        for name, atoms in frames.items():
            free = free_atoms(atoms)
            atoms.calc = calculator
            atoms.set_constraint()
            energy, forces = found[name]
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
            assert forces.shape == (free.sum(), 3)
            np.testing.assert_allclose(forces, atoms.get_forces()[free], atol=1e-4)


def test_a_raw_store_gives_adsorption_energies(raw_store, tmp_path):
    raw_model = trained(raw_store, tmp_path / "m.npz", seed=0)
    write_predictions(tmp_path / "s.npz", raw_model, raw_store, oc20=True)
    write_predictions(tmp_path / "plain.npz", raw_model, raw_store, splits=["val_id"])
    plain = by_id(tmp_path / "plain.npz", "val_id")
    for name, (energy, _) in by_id(tmp_path / "s.npz", "id").items():
        number = 4 * (int(name.split("_")[0]) - 1000)
        assert energy == pytest.approx(plain[f"random{name}"][0] - reference(number), abs=1e-5)


def test_processes_and_all_atoms_and_some_frames(submission, model, store, tmp_path):
    write_predictions(tmp_path / "two.npz", model, store, oc20=True, processes=2)
    assert (tmp_path / "two.npz").read_bytes() == submission.read_bytes()
    write_predictions(tmp_path / "all.npz", model, store, oc20=True, all_atoms=True)
    assert leaderboard(store, [tmp_path / "all.npz"]) == leaderboard(store, [submission])
    write_predictions(tmp_path / "some.npz", model, store, oc20=True, frames=3)
    some, every = by_id(tmp_path / "some.npz", "id"), by_id(submission, "id")
    assert len(some) == 3 and some.keys() < every.keys()
    assert {list(every)[k] for k in (0, 3, 6)} == some.keys()
    full = by_id(tmp_path / "all.npz", "id")
    for name, atoms in frames_of("val_id").items():
        assert full[name][1].shape == (len(atoms), 3)
        np.testing.assert_array_equal(full[name][1][free_atoms(atoms)], every[name][1])


def test_more_than_one_shard(model, store, tmp_path, monkeypatch):
    """Shards are predicted in any process and come back in order."""
    monkeypatch.setattr("hpopt_lib.preprocess.SHARD_FRAMES", 2)
    small = make_store(tmp_path)
    write_predictions(tmp_path / "one.npz", model, small, oc20=True)
    write_predictions(tmp_path / "two.npz", model, small, oc20=True, processes=2)
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        for key in one.files:
            np.testing.assert_array_equal(one[key], two[key])
    for path in ("one.npz", "two.npz"):
        with np.load(tmp_path / path) as archive:
            assert archive["id_ids"].tolist() == list(frames_of("val_id"))


def test_plain_predictions_are_in_the_users_unit(tmp_path):
    kcal = make_store(tmp_path, energy=None, units=("kcal/mol", "Å"), reference_energy=None)
    model = trained(kcal, tmp_path / "m.npz", seed=0)
    write_predictions(tmp_path / "p.npz", model, kcal, splits=["val_id"])
    with np.load(tmp_path / "p.npz") as archive:
        assert str(archive["energy_unit"]) == "kcal/mol" and str(archive["force_unit"]) == "kcal/mol/Å"
        assert archive["val_id_energy"].dtype == np.float64
    calculator = HpoptCalculator(model)
    for name, (energy, forces) in by_id(tmp_path / "p.npz", "val_id").items():
        atoms = frames_of("val_id")[name.removeprefix("random")]
        atoms.calc = calculator
        atoms.set_constraint()
        # 1 eV = 23.0605 kcal/mol
        assert energy == pytest.approx(23.0605 * atoms.get_potential_energy(), rel=1e-5)
        np.testing.assert_allclose(forces, 23.0605 * atoms.get_forces(), atol=1e-3)


@pytest.mark.parametrize(
    ("labels", "energy", "message"),
    [
        ({"system_id": "Cu-O"}, "adsorption", r"val_id: frame 0: system_id: 'Cu-O' is no number of OC20's"),
        ({"frame": None}, "adsorption", r"val_id: frame 0: frame: missing"),
        ({"frame": 0}, "adsorption", r"val_id: 10\d\d_0: two frames of this system and number"),
        ({"reference_energy": None}, None, r"val_id: frame 0: reference_energy: missing"),
        ({"energy_kind": None, "reference_energy": None}, None, r"energy_kind: as in the file, and the eval"),
    ],
)
def test_frames_that_cannot_be_submitted(model, tmp_path, labels, energy, message):
    store = make_store(tmp_path, energy=energy, **labels)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(HpoptError, match=message):
        write_predictions(tmp_path / "s.npz", model, store, oc20=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_other_refusals(model, store, store_path, submission, tmp_path):
    for options, message in (
        ({"splits": ["nothing"]}, "no split 'nothing'"),
        ({"oc20": True, "splits": ["val_id"]}, "--split: val_id: a submission holds the four"),
        ({"frames": 0}, "--frames: 0 is too few"),
        ({"processes": 0}, "--processes: 0 is too few"),
    ):
        with pytest.raises(HpoptError, match=message):
            write_predictions(tmp_path / "s.npz", model, store, **options)
    with pytest.raises(HpoptError, match="val_id: not in the store"):
        write_predictions(tmp_path / "s.npz", model, store_path, oc20=True)
    before = submission.read_bytes()
    with pytest.raises(HpoptError, match="output exists already"):
        write_predictions(submission, model, store, oc20=True)
    assert submission.read_bytes() == before and not list(tmp_path.iterdir())


def scores_by_hand(path: Path, split: str) -> dict[str, float]:
    """The metrics of the Open Catalyst paper by loops over frames and atoms, from the slabs themselves."""
    start = sum(size for name, size in itertools.takewhile(lambda i: i[0] != f"val_{split}", SIZES.items()))
    found = by_id(path, split)
    energy, per_atom, components, cosines, within = [], [], [], [], 0
    for number in range(start, start + SIZES[f"val_{split}"]):
        atoms = slab(number)
        predicted, forces = found[f"{1000 + number // 4}_{number % 4}"]
        error = abs(predicted - (atoms.get_potential_energy() - reference(number)))
        energy.append(error)
        per_atom.append(1000 * error / len(atoms))
        true = atoms.get_forces(apply_constraint=False)[atoms.get_tags() > 0]
        worst = 0.0
        for f, g in zip(true, forces):
            components += [abs(a - b) for a, b in zip(f, g)]
            worst = max(worst, *components[-3:])
            norms = math.dist(f, (0, 0, 0)) * math.dist(g, (0, 0, 0))
            cosines.append(sum(a * b for a, b in zip(f, g)) / norms if norms else 0.0)
        within += error < 0.02 and worst < 0.03
    means = (sum(values) / len(values) for values in (energy, per_atom, components, cosines))
    return {**dict(zip(METRICS, means)), "efwt": within / len(energy)}


def test_scores_are_those_of_the_definition(submission, store):
    record = leaderboard(store, [submission])
    for split in SPLITS:
        wanted = scores_by_hand(submission, split)
        assert {m: record["model"][0][split][m] for m in METRICS} == pytest.approx(wanted, rel=1e-4)
        assert record["linear"][split]["n_frames"] == SIZES[f"val_{split}"]
    for metric in METRICS:
        mean = sum(record["model"][0][split][metric] for split in SPLITS) / 4
        assert record["model"][0][AVERAGE][metric] == pytest.approx(mean)


def test_baselines_are_fitted_on_the_training_split(submission, store, raw_store):
    record = leaderboard(store, [submission])
    energies = [slab(k).get_potential_energy() - reference(k) for k in range(SIZES["train"])]
    truth = {s: [] for s in SPLITS}
    for split in SPLITS:
        for name, atoms in frames_of(f"val_{split}").items():
            number = 4 * (int(name.split("_")[0]) - 1000)
            truth[split].append(atoms.get_potential_energy() - reference(number))
        median = np.abs(np.array(truth[split]) - np.median(energies)).mean()
        assert record["median"][split]["energy_mae_ev"] == pytest.approx(median)
        assert record["median"][split]["force_cosine"] == 0.0
    raw = leaderboard(raw_store, [submission])
    for split in SPLITS:
        assert raw["median"][split] == pytest.approx(record["median"][split])
        assert raw["model"][0][split] == pytest.approx(record["model"][0][split])


def perfect(path: Path, out: Path) -> Path:
    """A file whose predictions are the labels, frames in another order."""
    changed = {}
    for split in SPLITS:
        frames = dict(reversed(frames_of(f"val_{split}").items()))
        numbers = [4 * (int(name.split("_")[0]) - 1000) for name in frames]
        free = [a.get_forces(apply_constraint=False)[free_atoms(a)] for a in frames.values()]
        changed |= {
            f"{split}_ids": np.array(list(frames)),
            f"{split}_energy": np.array(
                [a.get_potential_energy() - reference(n) for a, n in zip(frames.values(), numbers)]
            ),
            f"{split}_forces": np.concatenate(free),
            f"{split}_chunk_idx": np.cumsum([len(f) for f in free])[:-1],
        }
    return rewritten(path, out, **changed)


def test_perfect_predictions_and_thresholds(submission, store, tmp_path):
    path = perfect(submission, tmp_path / "perfect.npz")
    best = leaderboard(store, [path])["model"][0]
    for split in (*SPLITS, AVERAGE):
        assert best[split]["energy_mae_ev"] < 1e-6 and best[split]["force_mae_ev_per_angstrom"] < 1e-6
        assert best[split]["force_cosine"] == pytest.approx(1.0) and best[split]["efwt"] == 1.0
    with np.load(path) as archive:
        energy, forces = archive["id_energy"].copy(), archive["id_forces"].copy()
    energy[0] += 0.021
    forces[-1, 2] += 0.031
    worse = rewritten(path, tmp_path / "worse.npz", id_energy=energy, id_forces=forces)
    assert leaderboard(store, [worse])["model"][0]["id"]["efwt"] == pytest.approx(1 - 2 / 7)


def test_files_that_cannot_be_scored(submission, model, store, tmp_path):
    with np.load(submission) as archive:
        ids, chunks, forces = archive["id_ids"], archive["id_chunk_idx"], archive["id_forces"]
    twice, other, nan = ids.copy(), ids.copy(), forces.copy()
    twice[1], other[0], nan[3, 1] = twice[0], "99_0", np.nan
    cases = {
        "id_ids: not a vector of different names": {"id_ids": twice},
        "id_ids: 1 frames are not in .*store.lmdb": {"id_ids": other},
        "id_energy: not 7 finite numbers": {"id_energy": np.zeros(6)},
        "id_forces: not finite numbers": {"id_forces": nan},
        "id_chunk_idx: does not divide": {"id_chunk_idx": chunks[::-1]},
        r"id_forces: \d+ rows for frame \d of random\d+, which has \d+ free": {"id_chunk_idx": chunks + 1},
        r"id: missing \(id_energy": {"id_energy": None},
        "not a readable prediction file": {"id_forces": np.array([None, 1], dtype=object)},
    }
    for number, (message, changed) in enumerate(cases.items()):
        path = rewritten(submission, tmp_path / f"{number}.npz", **changed)
        with pytest.raises(HpoptError, match=f"{number}.npz: {message}"):
            leaderboard(store, [path])
    (tmp_path / "cut.npz").write_bytes(submission.read_bytes()[:1000])
    with pytest.raises(HpoptError, match="cut.npz: not a readable prediction file"):
        leaderboard(store, [tmp_path / "cut.npz"])
    with pytest.raises(HpoptError, match="none.npz: no such file"):
        leaderboard(store, [tmp_path / "none.npz"])
    write_predictions(tmp_path / "some.npz", model, store, oc20=True, frames=3)
    with pytest.raises(HpoptError, match="some.npz: id_ids: not the frames of .*submission.npz"):
        leaderboard(store, [submission, tmp_path / "some.npz"])


def test_the_commands_and_the_table(store, tmp_path):
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    files = []
    for seed in (0, 1):
        model = trained(store, tmp_path / f"m{seed}.npz", seed=seed)
        files.append(tmp_path / f"p{seed}.npz")
        said = run("predict", model, store, "--out", files[-1], "--oc20-submission")
        assert "id 7 frames, ood_ads 5 frames, ood_cat 6 frames, ood_both 4 frames" in said
    shown = run("leaderboard", store, *files)
    record = leaderboard(store, files)
    rows = leaderboard_rows(record)
    energies = np.array([entry["id"]["energy_mae_ev"] for entry in record["model"]])
    assert rows[0]["id"] == f"{energies.mean():.3f} ± {energies.std(ddof=1):.3f}" and rows[0]["id"] in shown
    assert [row["predictor"] for row in rows[:3]] == ["model", "median", "per-element linear fit"]
    assert "2 models" in shown and "7 (ID)" in shown and "EFwT (%) ↑" in shown
    result = CliRunner().invoke(
        main, ["predict", str(tmp_path / "m0.npz"), str(store), "--out", "x.npz", "--all-atoms"]
    )
    assert result.exit_code == 1 and "--all-atoms: without --oc20-submission" in result.output
