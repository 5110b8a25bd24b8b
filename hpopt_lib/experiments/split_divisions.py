"""Divisions of one pool of frames into training, validation and test part by three rules."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from hpopt_lib.data.allocation import allocate
from hpopt_lib.store import SplitArrays

#: By frame at random; by system; out of domain: by the set of elements of the slab.
RULES = ("random", "system", "alloy")
#: Parts of an outer cross-validation, and the share of the rest that a search validates on.
OUTER_FOLDS, INNER_SHARE = 5, 0.2
#: Pools of systems that have none in common; each is divided into outer folds.
POOLS = 2


@dataclass(frozen=True)
class Division:
    """Rows of a training split that a training sees, that a search selects on, and that neither sees.

    Attributes
    ----------
    rule : str
        One of `RULES`.
    number : int
        Number of the pool times `OUTER_FOLDS` plus that of the outer fold.
    train, validation, test : numpy.ndarray of int
        Test is the outer fold; validation and training are divided by the same rule.
    """

    rule: str
    number: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def divide_pool(arrays: SplitArrays, rule: str, number: int, *, seed: int = 0) -> Division:
    """One division.

    Parameters
    ----------
    arrays : SplitArrays
        Training split of the adsorption set.
    rule : str
        One of `RULES`.
    number : int
        From 0 to ``POOLS * OUTER_FOLDS - 1``.
    seed : int

    Returns
    -------
    Division

    Raises
    ------
    ValueError
        For another rule or number.
    """
    if rule not in RULES or not 0 <= number < POOLS * OUTER_FOLDS:
        raise ValueError(f"no division {number} by {rule!r}")
    pool, fold = divmod(number, OUTER_FOLDS)
    systems = np.unique(arrays.system_ids)
    mine = np.random.default_rng(seed).permutation(systems)[pool::POOLS]
    rows = np.flatnonzero(np.isin(arrays.system_ids, mine))
    codes = _codes(arrays, rule, rows)
    outer = _parts(codes, [1 / OUTER_FOLDS] * OUTER_FOLDS, seed=seed + 1000 * pool)
    inside = outer != fold
    inner = _parts(codes[inside], [1 - INNER_SHARE, INNER_SHARE], seed=seed + 1000 * pool + fold + 1)
    rest = rows[inside]
    return Division(rule, number, rest[inner == 0], rest[inner == 1], rows[~inside])


def halves(arrays: SplitArrays, number: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two halves of a validation split, no system in both: to select on, and to test on."""
    systems = np.unique(arrays.system_ids)
    first = np.random.default_rng([seed, number]).permutation(systems)[: len(systems) // 2]
    chosen = np.isin(arrays.system_ids, first)
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _codes(arrays: SplitArrays, rule: str, rows: np.ndarray) -> np.ndarray:
    if rule == "random":
        return np.arange(len(rows))
    if rule == "system":
        names = arrays.system_ids[rows]
    else:
        names = np.array(["-".join(elements_of(str(arrays.info[row]["composition"]))) for row in rows])
    return np.unique(names, return_inverse=True)[1]


def elements_of(formula: str) -> list[str]:
    """Elements of a formula, sorted: alloys of the same metals count as one."""
    return sorted(set(re.findall("[A-Z][a-z]?", formula)))


def _parts(codes: np.ndarray, shares: list[float], *, seed: int) -> np.ndarray:
    names, codes = np.unique(codes, return_inverse=True)
    return allocate(np.bincount(codes, minlength=len(names)), shares, seed=seed)[codes]
