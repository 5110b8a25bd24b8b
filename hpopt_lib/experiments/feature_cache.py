"""Features for many settings, each computed once and kept on disk: a search over features reuses them."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

import hpopt_lib
from hpopt_lib.data.checks import frame_digest
from hpopt_lib.featurise import featurise_shard
from hpopt_lib.files import atomic_path
from hpopt_lib.gmp.densities import ElementDensity, load_densities, table_label
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.store.arrays import SplitArrays

#: Sets of element densities that a feature setting can name.
DENSITY_SETS = ("fitted", "one-gaussian")


def one_gaussian(densities: Mapping[int, ElementDensity]) -> dict[int, ElementDensity]:
    """Densities without structure: a single Gaussian for each element, its charge and width kept.

    The width is that of the mean squared radius. What a nucleus' shells look like is lost, what
    tells elements apart is two numbers.

    Parameters
    ----------
    densities : mapping of int to ElementDensity

    Returns
    -------
    dict of int to ElementDensity
    """
    simple = {}
    for number, density in densities.items():
        weights = density.amplitudes * (math.pi / density.exponents) ** 1.5
        charge = float(weights.sum())
        mean_square = float((weights * 1.5 / density.exponents).sum()) / charge
        exponent = 1.5 / mean_square
        simple[number] = replace(
            density,
            amplitudes=np.array([charge * (exponent / math.pi) ** 1.5]),
            exponents=np.array([exponent]),
            source=f"one Gaussian with charge and mean squared radius of: {density.source}",
        )
    return simple


def density_set(name: str) -> dict[int, ElementDensity]:
    """One of the `DENSITY_SETS`.

    Raises
    ------
    ValueError
        For another name.
    """
    if name not in DENSITY_SETS:
        raise ValueError(f"density set {name!r} is none of {', '.join(DENSITY_SETS)}")
    densities = load_densities()
    return densities if name == "fitted" else one_gaussian(densities)


@dataclass(frozen=True)
class Uses:
    """How often features were computed and read, and what that took.

    Attributes
    ----------
    computed_frames, read_frames : int
    computed_s, read_s : float
        CPU seconds.
    """

    computed_frames: int = 0
    computed_s: float = 0.0
    read_frames: int = 0
    read_s: float = 0.0

    def __add__(self, other: Uses) -> Uses:
        return Uses(*(a + b for a, b in zip(astuple(self), astuple(other))))


class FeatureCache:
    """Frames of some splits, and their features for every setting that was ever asked for.

    Parameters
    ----------
    frames : mapping of str to list of ase.Atoms
        By split.
    folder : str or Path
        Of one ``.npy`` file for each split and setting; made when missing. Settings, densities, frames and
        version are part of a file's name, so a stale file is never read.

    Attributes
    ----------
    uses : Uses
        Since this object was made.

    Examples
    --------
    >>> cache = FeatureCache({"train": frames}, "features")  # doctest: +SKIP
    >>> cache.arrays("train", GMPSettings(cutoff=4.0), "one-gaussian")  # doctest: +SKIP
    """

    def __init__(self, frames: Mapping[str, list[Atoms]], folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._frames = {
            split: [(f"{split} {i}", a) for i, a in enumerate(some)] for split, some in frames.items()
        }
        self._digests = {
            split: hashlib.sha256("".join(frame_digest(atoms) for atoms in some).encode()).hexdigest()
            for split, some in frames.items()
        }
        # one cheap column stands for the features until a setting is asked for
        bare = GMPFeaturizer(GMPSettings(sigmas=(1.0,), max_order=0, cutoff=1.0))
        self._bare = {
            split: featurise_shard(bare, some, np.dtype("float32")) for split, some in self._frames.items()
        }
        self.uses = Uses()

    def arrays(self, split: str, settings: GMPSettings, densities: str = "fitted") -> SplitArrays:
        """A split with the features of a setting, computed when no file has them.

        Parameters
        ----------
        split : str
        settings : GMPSettings
            Its ``densities`` are replaced by those of the named set.
        densities : str
            One of `DENSITY_SETS`.
        """
        path, start = self.path(split, settings, densities), time.process_time()
        n = len(self._frames[split])
        if path.exists():
            features = np.load(path, allow_pickle=False)
            self.uses += Uses(read_frames=n, read_s=time.process_time() - start)
        else:
            featurizer = GMPFeaturizer(*_with_table(settings, densities))
            shard = featurise_shard(featurizer, self._frames[split], np.dtype("float32"))
            features = shard.features
            with atomic_path(path, overwrite=True) as temporary, open(temporary, "wb") as stream:
                np.save(stream, features)
            self.uses += Uses(n, time.process_time() - start)
        return replace(self._bare[split], features=features)

    def path(self, split: str, settings: GMPSettings, densities: str = "fitted") -> Path:
        """Where the features of a split and setting are kept."""
        recipe = {
            "gmp": _with_table(settings, densities)[0].to_dict(),
            "frames": self._digests[split],
            "version": hpopt_lib.__version__,
        }
        key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{split}-{key}.npy"


def _with_table(settings: GMPSettings, densities: str) -> tuple[GMPSettings, dict[int, ElementDensity]]:
    table = density_set(densities)
    return replace(settings, densities=table_label(table)), table
