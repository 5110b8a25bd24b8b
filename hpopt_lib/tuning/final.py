"""The final model: the best hyperparameters, fresh seeds, every split evaluated once."""

from __future__ import annotations

import datetime
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import hpopt_lib
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.potential.evaluation import HEADLINE, evaluate
from hpopt_lib.potential.forces import FORCE_ERROR
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import train
from hpopt_lib.progress import progress
from hpopt_lib.store import Store
from hpopt_lib.tuning.backends import training_backend
from hpopt_lib.tuning.config import study_config
from hpopt_lib.tuning.objective import training_seed
from hpopt_lib.tuning.pareto import chosen_trial, is_pareto
from hpopt_lib.tuning.selection import ONE, selected_on

if TYPE_CHECKING:
    import optuna

RESULTS = "results.json"


def best_settings(study: optuna.Study, pick: str | None = None) -> TrainSettings:
    """Hyperparameters of the best completed trial, see `hpopt_lib.tuning.pareto.chosen_trial`.

    Raises
    ------
    HpoptError
        When no trial is complete.
    """
    return TrainSettings.from_dict(chosen_trial(study, pick).user_attrs["settings"])


def final_model(
    study: optuna.Study, out_dir: str | Path, *, seeds: int = 5, pick: str | None = None
) -> dict[str, Any]:
    """Retrain the best trial with several fresh seeds and evaluate each on every split.

    The best trial's own error is optimistic, since it was chosen for being small; new seeds
    take out that part of the optimism which is luck of the seed. When the folder already
    holds the results of this trial with these seeds, they are read and not made again: every
    split is evaluated once.

    Parameters
    ----------
    study : optuna.Study
        Made by `hpopt_lib.tuning.study.tune`.
    out_dir : str or Path
        Gets ``trial<number>-seed<k>.npz`` and ``results.json``.
    seeds : int
        Number of trainings.
    pick : str, optional
        Which point of a front, see `hpopt_lib.tuning.pareto.chosen_trial`.

    Returns
    -------
    dict
        ``trial``, ``settings``, ``splits`` (for each split a list with one
        `hpopt_lib.potential.evaluation.score` for each seed), ``summary`` and provenance.
    """
    if seeds < 1:
        raise HpoptError(f"--final-seeds: {seeds} is too few", remedy="give at least 1")
    out_dir, config, trial = Path(out_dir), study_config(study), chosen_trial(study, pick)
    settings, number = TrainSettings.from_dict(trial.user_attrs["settings"]), trial.number
    done = read_results(out_dir)
    # the name alone does not do: another study may have had it, with a trial of that number
    identity = {
        "study": study.study_name,
        "trial": number,
        "tuned_on": config.validation,
        "tuned_error": trial.values if is_pareto(study) else trial.value,
        "select": config.select,
        "selected_on": selected_on(config),
        "settings": settings.to_dict(),
        "seeds": seeds,
    }
    if done is not None:
        # results of an earlier version do not name the settings that came later
        earlier = {"select": ONE, "selected_on": [config.validation], **done}
        earlier["settings"] = {**TrainSettings().to_dict(), **done.get("settings", {})}
        if all(earlier.get(key) == value for key, value in identity.items()):
            return done
    data, backend = config.dataset(), training_backend(config.backend)
    with Store.open(config.store) as store:
        splits: dict[str, list[dict[str, Any]]] = {split: [] for split in store.validation_splits()}
        reference = describe_reference(store)
    runs, training = [], config.training()
    for k in progress(range(seeds), desc="final model", unit="seed"):
        # trial number -1 cannot occur in a study, so these seeds were never trained with
        seed = training_seed(config.seed, -1, k)
        result = train(data, settings, seed=seed, training=training)
        extra = {"study": study.study_name, "trial": number, "seed": seed, "best_epoch": result.best_epoch}
        result.potential.save(out_dir / f"trial{number}-seed{k}.npz", overwrite=True, extra=extra)
        runs.append(
            {
                "seed": seed,
                "best_epoch": result.best_epoch,
                "seconds": result.seconds,
                "history": result.history,
            }
        )
        # open only now: what is mapped during a training counts as memory
        with Store.open(config.store) as store:
            scores = evaluate(result.potential, store, read=backend.read, forces=backend.forces)
        for split, metrics in scores.items():
            splits[split].append(metrics)
    record = {
        **identity,
        "metric": HEADLINE,
        "reference": reference,
        "runs": runs,
        "splits": splits,
        "summary": {split: summarise(metrics) for split, metrics in splits.items()},
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "hpopt_version": hpopt_lib.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    with atomic_path(out_dir / RESULTS, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def describe_reference(store: Store) -> dict[str, Any]:
    """Which reference the energies of a store are relative to: ``kind``, ``label`` and ``source``."""
    reference = store.reference
    return {"kind": reference.kind, "label": reference.label, "source": reference.source}


def read_results(out_dir: str | Path) -> dict[str, Any] | None:
    """The results of an earlier `final_model` in a folder, or None."""
    path = Path(out_dir) / RESULTS
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HpoptError(f"{path}: damaged ({error})", remedy="remove it; it is made again") from error
    if not isinstance(record, dict) or not {"study", "trial", "splits", "summary"} <= record.keys():
        raise HpoptError(
            f"{path}: not the results of a final model", remedy="choose another folder with --out"
        )
    return record


def summarise(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Mean and sample standard deviation over seeds, beside the baselines.

    Parameters
    ----------
    metrics : list of dict
        One `score` a seed, all of the same split.

    Returns
    -------
    dict of str to float
        Mean and ``_std`` of the headline error and of the energy MAE in eV, the baselines'
        headline errors, the mean skills and ``n_seeds``; where forces were evaluated, mean and
        ``_std`` of their MAE and the MAE of predicting no force.
    """
    summary: dict[str, float] = {"n_seeds": len(metrics), "n_systems": metrics[0]["n_systems"]}
    names = [HEADLINE, "energy_mae_ev", "skill_over_median", "skill_over_linear"]
    if all(FORCE_ERROR in m for m in metrics):
        names.append(FORCE_ERROR)
        summary[f"zero_{FORCE_ERROR}"] = float(metrics[0][f"zero_{FORCE_ERROR}"])
    for name in names:
        values = np.array([m[name] for m in metrics])
        summary[name] = float(values.mean())
        summary[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    for baseline in ("median", "linear"):
        summary[f"{baseline}_{HEADLINE}"] = float(metrics[0][f"{baseline}_{HEADLINE}"])
    return summary
