"""Hold out adsorbates and catalyst compositions at once, in the layout of OC20's validation splits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.sparse import coo_matrix

from hpopt_lib.data.allocation import allocate, hold_out, merge
from hpopt_lib.data.groups import FrameGroups
from hpopt_lib.data.split_request import BOTH, Division, SplitRequest, complete_groups
from hpopt_lib.errors import HpoptError

#: Names of the splits whose adsorbate, composition, or both were held out.
OUT_OF_DOMAIN = ("val_ood_ads", "val_ood_cat", "val_ood_both")
#: Draws of held-out adsorbates and compositions, the one with the best sizes counts.
DRAWS = 400


def divide_by_both(frames: FrameGroups, request: SplitRequest) -> Division:
    """Training and in-domain validation, and three splits whose adsorbate, composition or both are held out.

    Of the frames that are left in domain whole systems go to training or validation. With an out-of-domain
    share of c, a share of 1 - sqrt(1 - c) of the frames is aimed at for held-out adsorbates and for held-out
    compositions, so that their union is c when the two are independent.

    Raises
    ------
    HpoptError
        When labels are missing, or a split would stay empty.
    """
    systems = complete_groups(frames, "system")
    ads, cat = complete_groups(frames, "adsorbate"), complete_groups(frames, "composition")
    a, c = merge([ads.codes, systems.codes]), merge([cat.codes, systems.codes])
    for codes, kind in ((a, "adsorbate"), (c, "composition")):
        if codes.max() == 0:
            raise HpoptError(
                f"--by {BOTH}: one group by {kind} only, so none can be held out",
                remedy=f"give files with more groups by {kind}, or divide by something finer",
            )
    held_a, held_c = _held_out(a, c, request)
    out_a, out_c = held_a[a], held_c[c]
    inside = ~out_a & ~out_c
    names = ["train", "val_id", *OUT_OF_DOMAIN]
    assignment = np.select([out_a & out_c, out_a, out_c], [4, 2, 3], default=0)
    train, val, out = request.fractions
    codes = np.unique(systems.codes[inside], return_inverse=True)[1].reshape(-1)
    share = val / (train + val)
    assignment[inside] = allocate(np.bincount(codes), [1 - share, share], seed=request.seed)[codes]
    q = 1 - np.sqrt(1 - out)
    wanted = [train, val, q * (1 - q), q * (1 - q), q * q]
    n_groups = [len(np.unique(systems.codes[assignment == k])) for k in range(len(names))]
    held = {"adsorbate": {"val_ood_ads", "val_ood_both"}, "composition": {"val_ood_cat", "val_ood_both"}}
    disjoint = [("system", first, second) for first, second in combinations(names, 2)]
    disjoint += [
        (kind, first, second)
        for kind, inside_of in held.items()
        for first, second in combinations(names, 2)
        if (first in inside_of) != (second in inside_of)
    ]
    origins = {"adsorbate": ads.origin, "composition": cat.origin, "system": systems.origin}
    return Division(names, [float(w) for w in wanted], assignment, n_groups, disjoint, origins)


def _held_out(a: np.ndarray, c: np.ndarray, request: SplitRequest) -> tuple[np.ndarray, np.ndarray]:
    """Draw adsorbates and compositions whose held-out frames have about the wanted share, none empty."""
    frames = len(a)
    table = coo_matrix((np.ones(frames), (a, c))).tocsr()
    sizes_a, sizes_c = np.bincount(a), np.bincount(c)
    q = 1 - np.sqrt(1 - request.fractions[2])
    wanted = frames * np.array([q * (1 - q), q * (1 - q), q * q])
    rng = np.random.default_rng(request.seed)
    best, least = None, np.inf
    for _ in range(DRAWS):
        x, y = hold_out(sizes_a, q, rng), hold_out(sizes_c, q, rng)
        both = float((table.T @ x.astype(float))[y].sum())
        sizes = np.array([sizes_a[x].sum() - both, sizes_c[y].sum() - both, both])
        rest = frames - sizes.sum()
        off = float(np.abs(sizes - wanted).sum())
        if (sizes > 0).all() and rest > 1 and off < least:
            best, least = (x, y), off
    if best is None:
        raise HpoptError(
            f"--by {BOTH}: in {DRAWS} draws one of {', '.join(OUT_OF_DOMAIN)} was always empty",
            remedy="give a larger third fraction, such as 0.5,0.1,0.4, or more frames",
        )
    return best
