"""Cross-validation by system: no leaks; on real frames the recipe beats its baselines."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.environments import environments, of_split
from hpopt_lib.potential.small_data import SmallDataModel
from hpopt_lib.potential.small_data_preset import MODEL_FILE, RESULTS, fit_preset
from hpopt_lib.potential.small_data_validation import (
    KNOWN,
    LINEAR,
    MEDIAN,
    MODEL,
    cross_validate,
    folds_by_system,
    summarise,
)
from hpopt_lib.references.files import read_element_energies
from hpopt_lib.store import Store


def test_folds_keep_systems_whole():
    systems = np.repeat([f"s{i}" for i in range(13)], 3)[np.random.default_rng(0).permutation(39)]
    fold = folds_by_system(systems, 5, seed=1)
    assert sorted(set(fold)) == [0, 1, 2, 3, 4]
    assert all(len(set(fold[systems == system])) == 1 for system in set(systems))
    assert not np.array_equal(fold, folds_by_system(systems, 5, seed=2))
    with pytest.raises(HpoptError, match="folds: 14 of 13 systems; give 2 to 13"):
        folds_by_system(systems, 14, seed=0)


def test_predictions_of_a_fold_do_not_see_its_labels(inputs):
    frames = ase.io.read(inputs / "train.traj", ":")
    described = environments(frames)
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    systems = np.array([atoms.info["system_id"] for atoms in frames])
    run = cross_validate(described, energies, systems, n_folds=3)
    changed = energies.copy()
    changed[run.fold == 1] += 50.0
    again = cross_validate(described, changed, systems, n_folds=3)
    for name in run.predicted_ev:
        same = run.predicted_ev[name] == again.predicted_ev[name]
        assert same[run.fold == 1].all() and not same[run.fold != 1].any(), name
    assert np.array_equal(run.std_ev[run.fold == 1], again.std_ev[run.fold == 1])


def test_the_preset_writes_a_model_and_its_results(store_path, tmp_path):
    out = tmp_path / "final"
    options = ["--preset", "small-data", "--fold-seeds", "2", "--out", str(out)]
    done = CliRunner().invoke(main, ["tune", str(store_path), *options])
    assert done.exit_code == 0, done.output
    record = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in record["cross_validation"]}
    for name, row in rows.items():
        assert name in done.output and f"{row['energy_mae_ev']:.2f}" in done.output
    store = Store.open(store_path)
    assert list(record["splits"]) == store.validation_splits()
    model = SmallDataModel.load(out / MODEL_FILE)
    arrays = store.read("val")
    energy, _ = model.predict(of_split(arrays))
    expected = 1000 * np.mean(np.abs(energy - arrays.energy) / arrays.n_atoms)
    assert record["splits"]["val"]["energy_mae_mev_per_atom"] == pytest.approx(expected)
    with pytest.raises(HpoptError, match="output exists already"):
        fit_preset(store, out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "small-data", "--trials", "3"], "--trials: the preset small-data searches nothing"),
        (["--preset", "small-data", "--set", "lr=0.1"], "--set: the preset small-data searches nothing"),
        (["--study", "x", "--trials", "1", "--folds", "3"], "--folds: belongs to a preset"),
        (["--preset", "small-data", "--folds", "99"], "folds: 99 of 60 systems; give 2 to 60"),
        (["--preset", "small-data", "--element-energies", "none.npz"], "none.npz: no such file"),
        (["--trials", "1"], "Missing option '--study'"),
    ],
)
def test_options_that_do_not_go_together(store_path, tmp_path, arguments, message):
    with CliRunner().isolated_filesystem(tmp_path):
        done = CliRunner().invoke(main, ["tune", str(store_path), *arguments])
    assert done.exit_code != 0 and message in done.output, done.output
    assert not list(tmp_path.rglob(MODEL_FILE))


def test_real_frames(shared):
    """200 raw totals of OC20 with 55 elements: the recipe is far better than every baseline, and knows how good."""
    folder = shared / "data" / "oc20"
    if not folder.is_dir():
        pytest.skip("the shared folder has no data/oc20")
    frames = ase.io.read(folder / "oc20_frames_200.traj", ":")
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    systems = np.array([str(number) for number in range(len(frames))])
    known = read_element_energies(folder / "fairchem_linref.npz")
    described = environments(frames)
    runs = {
        label: cross_validate(described, energies, systems, known_ev=energies_of_elements, seed=7)
        for label, energies_of_elements in (("alone", None), ("with file", known))
    }
    mae = {label: {r["name"]: r["energy_mae_ev"] for r in summarise([run])} for label, run in runs.items()}
    assert mae["alone"][MODEL] < 0.6 * mae["alone"][LINEAR] < 0.6 * mae["alone"][MEDIAN]
    assert mae["with file"][MODEL] < 0.75 * mae["with file"][KNOWN]
    row = summarise([runs["with file"]])[-1]
    assert 0.5 < row["within_1_std"] < 0.85 and row["within_1.96_std"] > 0.85
