"""The learning curve that a worker stores with every trial."""

from __future__ import annotations

import functools
import pickle
import xml.etree.ElementTree as ElementTree

import optuna
from optuna.artifacts import get_all_artifact_meta

from hpopt_lib.report.trial_artifact import METRIC, attach_learning_curve, learning_curve_svg
from hpopt_lib.tuning.copying import artifact_ids


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": float(k), "lr": 0.01, "train_loss": 1 / k, METRIC: 30 + (k - 7) ** 2 / 10}
        for k in range(1, epochs + 1)
    ]


def test_the_figure_names_the_best_epoch_and_the_units():
    image = learning_curve_svg(history(20), title="trial 3").decode()
    ElementTree.fromstring(image)  # well-formed
    assert learning_curve_svg(history(20), title="trial 4").decode() != image
    text = " ".join("".join(ElementTree.fromstring(image).itertext()).split())
    for words in ("trial 3: best 30.00 meV/atom in epoch 7", "validation energy MAE (meV/atom)", "epoch"):
        assert words in text


def test_the_loss_of_a_training_on_forces_is_called_so():
    plain = learning_curve_svg(history(3), title="t").decode()
    forced = [{**record, "validation_force_mae_mev_per_angstrom": 90.0} for record in history(3)]
    assert "scaled energies)" in plain
    assert "scaled energies and forces)" in learning_curve_svg(forced, title="t").decode()


def test_long_and_short_trainings_give_small_files():
    assert len(learning_curve_svg(history(5000), title="long")) < 60_000
    assert len(learning_curve_svg(history(1), title="short")) < 60_000


def test_the_artifact_is_stored_with_the_trial_and_the_hook_goes_to_other_processes(tmp_path):
    hook = pickle.loads(pickle.dumps(functools.partial(attach_learning_curve, folder=tmp_path)))
    study = optuna.create_study()
    trial = study.ask()
    hook(trial, history(9))
    study.tell(trial, 1.0)
    (meta,) = get_all_artifact_meta(study.trials[0], storage=study._storage)
    assert (meta.filename, meta.mimetype) == ("learning-curve.svg", "image/svg+xml")
    assert (tmp_path / "artifacts" / meta.artifact_id).read_bytes() == learning_curve_svg(
        history(9), title="trial 0"
    )
    assert artifact_ids(study) == [meta.artifact_id]
