"""Verdicts on trends of the error, and how a claim is decided and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpopt_lib.experiments.training_trends import grid_name, size_name
from hpopt_lib.report.verdicts import Difference, paired_difference, power_law

#: Words of a verdict.
VERDICTS: dict[bool | None, str] = {True: "holds", False: "does not hold", None: "cannot be shown here"}
UNIT = "meV/atom"
Row = dict[str, Any]


def decide(differences: Sequence[Difference]) -> bool | None:
    """Whether the first side has the smaller values in all of them, the larger in one, or neither."""
    if any(one.resolved and one.mean > 0 for one in differences):
        return False
    return True if all(one.resolved for one in differences) else None


def first_test(found: Mapping[str, Any]) -> str:
    """The test split in the domain of training."""
    return next(iter(found["baselines"]))


def row(name: str, text: str, holds: bool | None, evidence: str) -> Row:
    """A claim as `hpopt_lib.report.paper_claims.paper_claims` lists it."""
    return {"name": name, "claim": text, "evidence": evidence, "holds": holds, "verdict": VERDICTS[holds]}


def listed(differences: Mapping[str, Difference], unit: str) -> str:
    """Differences with their intervals, as text."""
    parts = [
        f"{name} {one.mean:+.2f} ({one.low:+.2f} to {one.high:+.2f})" for name, one in differences.items()
    ]
    n = min(one.n for one in differences.values())
    return f"differences in {unit}, 95 % intervals of at least {n} pairs: {'; '.join(parts)}"


def trend_claims(sets: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Claim b, by set as `hpopt_lib.experiments.gmp_paper.trends` recorded it."""
    order, width, data, slopes = {}, {}, {}, []
    for name, one in sets.items():
        split = first_test(one)
        cells = [cell_of(text) for text in one["grid"]]
        most, least = max(n for n, _ in cells), min(n for n, _ in cells)
        top, low = max(o for _, o in cells), min(o for _, o in cells)
        best = one["grid"][grid_name(most, top)][split]
        order[name] = paired_difference(best, one["grid"][grid_name(most, low)][split])
        width[name] = paired_difference(best, one["grid"][grid_name(least, top)][split])
        sizes = sorted(size_of(text) for text in one["sizes"])
        ends = [one["sizes"][size_name(size)][split] for size in (sizes[-1], sizes[0])]
        data[name] = paired_difference(*ends)
        slope = slope_of(one, split)
        slopes.append(f"{name} {slope.mean:.2f} ({slope.low:.2f} to {slope.high:.2f})")
    return [
        row(
            "error-falls-with-order",
            "b: the error falls with the order",
            decide(list(order.values())),
            f"highest minus lowest order, {listed(order, UNIT)}",
        ),
        row(
            "error-falls-with-widths",
            "b: the error falls with the number of widths",
            decide(list(width.values())),
            f"most minus fewest widths, {listed(width, UNIT)}",
        ),
        row(
            "error-falls-with-data",
            "b: the error falls with the number of training frames",
            decide(list(data.values())),
            f"most minus fewest frames, {listed(data, UNIT)}; slopes {'; '.join(slopes)}",
        ),
    ]


def cell_of(name: str) -> tuple[int, int]:
    """Widths and order of a `hpopt_lib.experiments.training_trends.grid_name`."""
    widths, order = name.split(" widths, order ")
    return int(widths), int(order)


def size_of(name: str) -> int:
    """Frames of a `hpopt_lib.experiments.training_trends.size_name`."""
    return int(name.removesuffix(" frames"))


def slope_of(one: Mapping[str, Any], split: str) -> Difference:
    """Slope of log error against log training size, mean and interval over seeds."""
    sizes = sorted(size_of(text) for text in one["sizes"])
    table = np.array([one["sizes"][size_name(size)][split] for size in sizes]).T
    slopes = [power_law(sizes, [row])[0] for row in table]
    return paired_difference(slopes, np.zeros(len(slopes)))
