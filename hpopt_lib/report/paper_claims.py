"""What a record says on each claim of the GMP paper (Lei and Medford 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.experiments.agreement import bootstrap_interval
from hpopt_lib.report.paper_trends import UNIT, VERDICTS, Row, decide, first_test, listed, row, trend_claims
from hpopt_lib.report.verdicts import Difference, paired_difference
from hpopt_lib.units import PER_EV

#: Names of the sides for readers.
SIDE_NAMES = {
    "gmp": "GMP, one network",
    "symmetry": "symmetry functions, element networks",
    "gmp elements": "GMP, element networks",
}


def paper_claims(record: Mapping[str, Any]) -> list[Row]:
    """Every claim of the paper with its evidence and verdict, computed from a record.

    A claim holds when it does on all sets and lengths that were recorded, each with its whole 95 % interval;
    it does not hold when one of them contradicts it with its whole interval; else it cannot be shown.

    Parameters
    ----------
    record : mapping
        The record ``gmp_paper``, see `hpopt_lib.experiments.records.read_record`.

    Returns
    -------
    list of dict
        ``name`` (words with hyphens), ``claim``, ``evidence``, ``holds`` (None when it cannot be shown)
        and ``verdict``, one of `VERDICTS`.
    """
    results, epochs = record["results"], record["settings"]["epochs"]
    return [
        *_comparison(_sets(results, "a"), epochs),
        *trend_claims(_sets(results, "b")),
        *_unseen(results["c:oc20-like"]),
        *_left_open(),
    ]


def _sets(results: Mapping[str, Any], letter: str) -> dict[str, Mapping[str, Any]]:
    return {name[2:]: found for name, found in results.items() if name.startswith(f"{letter}:")}


def error_differences(
    sets: Mapping[str, Mapping[str, Any]],
    epochs: Mapping[str, int],
    other: str = "symmetry",
    first: str = "gmp",
) -> dict[str, Difference]:
    """One side minus another: test errors in meV/atom, by set and epochs."""
    found = {}
    for name, one in sets.items():
        split = first_test(one)
        for label, length in ((epochs["a"], ()), (epochs["a, long"], ("long",))):
            sides = [one[side]["long"] if length else one[side] for side in (first, other)]
            if all(split in side for side in sides):
                found[f"{name}, {label} epochs"] = paired_difference(sides[0][split], sides[1][split])
    return found


def training_seconds(one: Mapping[str, Any], side: str) -> np.ndarray:
    """CPU seconds of the features of all frames and one training, by seed."""
    features_s = one["n_frames"] * float(np.mean(one[side]["features_ms"])) / 1000
    return np.array(one[side]["train_cpu_s"]) + features_s


def prediction_ms(one: Mapping[str, Any], side: str) -> np.ndarray:
    """CPU milliseconds of a frame's features and energy, by repeat."""
    return np.array(one[side]["features_ms"]) + np.array(one[side]["network_ms"])


def _comparison(sets: Mapping[str, Mapping[str, Any]], epochs: Mapping[str, int]) -> list[Row]:
    errors = error_differences(sets, epochs)
    networks = error_differences(sets, epochs, "gmp elements")
    features = error_differences(sets, epochs, first="gmp elements")
    training = {
        name: paired_difference(training_seconds(one, "gmp"), training_seconds(one, "symmetry"))
        for name, one in sets.items()
    }
    prediction = {
        name: paired_difference(prediction_ms(one, "gmp"), prediction_ms(one, "symmetry"))
        for name, one in sets.items()
    }
    rows = [
        row(
            "gmp-beats-symmetry-functions",
            "a: GMP with one network has a smaller error than symmetry functions with element networks, with "
            "as many features",
            decide(list(errors.values())),
            listed(errors, UNIT),
        ),
        row(
            "gmp-features-beat-symmetry-functions",
            "a, in part: GMP features have a smaller error than symmetry functions, both with element "
            "networks",
            decide(list(features.values())),
            listed(features, UNIT),
        ),
        row(
            "one-network-is-enough",
            "a, in part: GMP with one network has a smaller error than GMP with element networks",
            decide(list(networks.values())),
            listed(networks, UNIT),
        ),
        row(
            "gmp-trains-cheaper",
            "a: GMP with one network takes less time for features and training",
            decide(list(training.values())),
            listed(training, "CPU seconds"),
        ),
        row(
            "gmp-predicts-cheaper",
            "a: GMP with one network takes less time for features and energy of a frame",
            decide(list(prediction.values())),
            listed(prediction, "CPU milliseconds"),
        ),
    ]
    return rows


def better_baseline(one: Mapping[str, Any], error: str) -> Sequence[float]:
    """Errors in meV/atom, by seed, of the baseline with the smaller mean: linear or median."""
    return min((one["linear"][error], one["median"][error]), key=lambda values: float(np.mean(values)))


def element_difference(one: Mapping[str, Any], error: str) -> Difference:
    """The model that never saw the element minus the better baseline, over seeds, in meV/atom."""
    return paired_difference(one["unseen"][error], better_baseline(one, error))


def _unseen(found: Mapping[str, Any]) -> list[Row]:
    rows = []
    for error, name, text in (
        (
            "fitted",
            "unseen-element-total",
            "c: on an element it never saw, a model beats the better baseline, one energy of the element "
            "fitted for all",
        ),
        (
            "within",
            "unseen-element-within",
            "c: on an element it never saw, a model predicts energy differences within systems better than "
            "no difference",
        ),
    ):
        per_element = {z: element_difference(one, error) for z, one in found.items()}
        differences = np.array([one.mean for one in per_element.values()])
        low, high = bootstrap_interval(differences)
        resolved = low > 0 or high < 0
        better = [z for z, one in per_element.items() if one.resolved and one.mean < 0]
        worse = [z for z, one in per_element.items() if one.resolved and one.mean > 0]
        rows.append(
            row(
                name,
                text,
                (high < 0) if resolved else None,
                f"mean difference over {len(found)} elements {differences.mean():+.1f} {UNIT} (95 % "
                f"bootstrap interval over elements {low:+.1f} to {high:+.1f}); better for {len(better)} "
                f"({', '.join(better) or 'none'}), worse for {len(worse)} ({', '.join(worse) or 'none'})",
            )
        )
    return rows


def _left_open() -> list[Row]:
    return [
        row(
            "chemical-accuracy-qm9",
            "d: chemical accuracy (43 meV) on QM9 with 120,000 molecules",
            None,
            "not computed: needs QM9 and hours; `python benchmarks/reproduce_gmp_paper.py qm9` does it",
        ),
        row(
            "oc20-like-graph-networks",
            "e: on OC20 comparable with the graph networks of its time",
            None,
            "not computed: needs OC20 and days; `python benchmarks/reproduce_gmp_paper.py oc20` does it",
        ),
    ]


def chemical_accuracy(results: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on claim d from the results of `hpopt_lib.experiments.full_reproduction.run_full`.

    Chemical accuracy is 1 kcal/mol for a whole molecule. The largest training size decides.
    """
    largest = max(found["n_train"] for found in results)
    errors = [found["test"]["energy_mae_ev"] for found in results if found["n_train"] == largest]
    limit = 1000 / PER_EV["kcal/mol"]
    text = f"{1000 * np.mean(errors):.1f} meV with {largest} training molecules, limit {limit:.1f} meV"
    if len(errors) < 2:
        return f"{VERDICTS[None]}: one seed says nothing about the spread ({text})"
    difference = paired_difference(np.multiply(errors, 1000), np.full(len(errors), limit))
    holds = difference.mean < 0 if difference.resolved else None
    interval = f"difference {difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})"
    return f"{VERDICTS[holds]}: {text}, {interval}, {len(errors)} seeds"
