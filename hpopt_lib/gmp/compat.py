"""Features of other GMP codes, so that a model made with them keeps its input.

Covered are AMPtorch's `GMP` (groups of components) and `GMPOrderNorm`, with solid or surface harmonics, and
GMP-Featurizer. Moments are summed component by component in the Maxwell-Cartesian form of those codes; values
agree with theirs to rounding where theirs are right (atoms on cell faces, which AMPtorch can miss, are found
here). New work should use :class:`hpopt_lib.gmp.features.GMPFeaturizer`: invariant, smooth and faster.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.compat_moments import Environment, pair_terms
from hpopt_lib.gmp.compat_settings import (
    PeerFeature,
    PeerSettings,
    amptorch_settings,
    gmp_featurizer_settings,
)
from hpopt_lib.gmp.densities import ElementDensity, require_elements
from hpopt_lib.gmp.density_files import read_g, read_gpsp
from hpopt_lib.gmp.neighbors import neighbor_pairs
from hpopt_lib.gmp.polynomials import components, groups, multinomial

_LOG_FLOOR = 1e-8
_ROUNDING = 256 * torch.finfo(torch.float64).eps


class NotInvariantWarning(UserWarning):
    """The features change when the structure is turned."""


class PeerFeaturizer:
    """Features as another GMP code defines them.

    Parameters
    ----------
    settings : PeerSettings
    densities : mapping of int to ElementDensity
        Densities by atomic number.

    Warns
    -----
    NotInvariantWarning
        Once for each featuriser, when groups of order 2 or above are among the features.
    """

    def __init__(self, settings: PeerSettings, densities: Mapping[int, ElementDensity]) -> None:
        self.settings, self._densities = settings, densities
        variant = [f.name for f in settings.features if f.group is not None and f.order >= 2]
        if variant:
            warnings.warn(
                f"{len(variant)} of {len(settings.features)} features ({variant[0]}, …) are groups of order 2"
                " or above, which are not rotation invariant: turning a structure changes them, and a model's"
                " energy with them; use order norms (gmpordernorm) instead",
                NotInvariantWarning,
                stacklevel=3,  # who called from_amptorch_config
            )

    def feature_names(self) -> list[str]:
        """Names of the columns, in the order of the other code."""
        return [feature.name for feature in self.settings.features]

    def __call__(self, atoms: Any) -> np.ndarray:
        """Features of an :class:`ase.Atoms`, shape (n_atoms, n_features), float64."""
        with torch.no_grad():
            return self.features_torch(
                torch.tensor(atoms.positions), atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc
            ).numpy()

    def features_torch(
        self, positions: Tensor, numbers: Sequence[int] | np.ndarray | Tensor, cell: Tensor, pbc: Any
    ) -> Tensor:
        """Features that can be differentiated with respect to `positions` and `cell` (total derivative).

        Parameters
        ----------
        positions : Tensor, shape (n_atoms, 3)
            In Å.
        numbers : sequence of int, shape (n_atoms,)
        cell : Tensor, shape (3, 3)
            Rows are lattice vectors in Å.
        pbc : sequence of bool, shape (3,)

        Returns
        -------
        Tensor, shape (n_atoms, n_features), float64
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        require_elements(self._densities, np.unique(numbers))
        positions, cell = positions.to(torch.float64), cell.to(torch.float64)
        pairs = neighbor_pairs(
            positions.detach().numpy(), cell=cell.detach().numpy(), pbc=pbc, cutoff=self.settings.cutoff
        )
        by_element = np.argsort(numbers[pairs.second], kind="stable")
        first = torch.from_numpy(pairs.first[by_element])
        second = torch.from_numpy(pairs.second[by_element])
        shifts = torch.from_numpy(pairs.shifts[by_element]).to(torch.float64)
        vectors = positions[second] - positions[first] + shifts @ cell
        environment = Environment(vectors, first, numbers[pairs.second][by_element], len(numbers))
        columns: dict[PeerFeature, Tensor] = {}
        for feature in self.settings.features:
            if feature not in columns:
                # all columns of one order and width share their moments
                alike = [f for f in self.settings.features if _probe(f) == _probe(feature)]
                columns.update(self._columns(environment, alike))
        values = torch.stack([columns[feature] for feature in self.settings.features], dim=1)
        return values.abs().clamp(min=_LOG_FLOOR).log10() if self.settings.log else values

    def _columns(self, environment: Environment, alike: list[PeerFeature]) -> dict[PeerFeature, Tensor]:
        order, indices = max(alike[0].order, 0), components(max(alike[0].order, 0))
        terms = pair_terms(environment, alike[0], self._densities)
        moments = environment.sum(terms)
        magnitude = environment.sum(terms.detach().square())
        result = {}
        for feature in alike:
            if feature.group is None:
                weights = torch.tensor([multinomial(n) for n in indices], dtype=torch.float64)
            else:
                parts = groups(order)[feature.group - 1]
                weights = torch.tensor([float(sorted(n) == sorted(parts)) for n in indices])
            if self.settings.square:
                result[feature] = (moments.square() * weights).sum(1)
            elif feature.group is not None and weights.count_nonzero() == 1:
                # AMPtorch leaves a group of one component its sign
                result[feature] = moments[:, int(weights.argmax())]
            else:
                result[feature] = _root((moments.square() * weights).sum(1), (magnitude * weights).sum(1))
        return result


def from_amptorch_config(
    config: Mapping[str, Any], *, densities: Mapping[int, ElementDensity] | None = None
) -> PeerFeaturizer:
    """The featuriser of an AMPtorch model.

    Parameters
    ----------
    config : mapping
        The whole training configuration, its ``dataset`` part or its ``fp_params``. The scheme is
        ``fp_scheme`` where given; else a list ``orders`` means `gmpordernorm` and groups mean `gmp`.
    densities : mapping of int to ElementDensity, optional
        Used instead of the files named in ``atom_gaussians``.

    Raises
    ------
    HpoptError
        Not a GMP configuration, a value is missing or unusable, a file is damaged, or no densities are given.

    Examples
    --------
    >>> from hpopt_lib.gmp.densities import load_densities
    >>> parameters = {"MCSHs": {"0": {"groups": [1], "sigmas": [0.5, 1.0]}}, "cutoff": 5.0}
    >>> from_amptorch_config(parameters, densities=load_densities()).feature_names()
    ['l0_group1_sigma0.5', 'l0_group1_sigma1']
    """
    dataset = config.get("dataset", config)
    parameters = dataset.get("fp_params", dataset)
    detailed = parameters.get("MCSHs_detailed_list", ())
    grouped = any("group" in entry for entry in detailed) or not (
        detailed or "orders" in parameters.get("MCSHs", ())
    )
    scheme = str(dataset.get("fp_scheme", "gmp" if grouped else "gmpordernorm")).lower()
    if scheme not in ("gmp", "gmpordernorm"):
        raise HpoptError(f"GMP configuration: fp_scheme: {scheme!r}", remedy="gmp or gmpordernorm are read")
    settings = amptorch_settings(parameters, order_norm=scheme == "gmpordernorm")
    if densities is None:
        if not parameters.get("atom_gaussians"):
            raise HpoptError(
                "GMP configuration: atom_gaussians is missing",
                remedy="name the .g files (AMPtorch's own: folder pseudodensity_psp_v3) or give densities",
            )
        densities = read_g(parameters["atom_gaussians"])
    return PeerFeaturizer(settings, densities)


def from_gmp_featurizer_config(
    config: Mapping[str, Any], *, densities: Mapping[int, ElementDensity] | None = None
) -> PeerFeaturizer:
    """The featuriser of a GMP-Featurizer configuration (its ``GMPs`` argument).

    Parameters
    ----------
    config : mapping
        With ``GMPs`` or ``GMPs_detailed_list``, ``custom_cutoff`` -1, ``cutoff`` and ``psp_path``.
    densities : mapping of int to ElementDensity, optional
        Used instead of the file ``psp_path``.

    Raises
    ------
    HpoptError
        A value is missing or unusable, or the file is damaged.
    """
    settings = gmp_featurizer_settings(config)
    if densities is None:
        if "psp_path" not in config:
            raise HpoptError("GMP configuration: psp_path is missing", remedy="name the .gpsp file")
        densities = read_gpsp(config["psp_path"])
    return PeerFeaturizer(settings, densities)


def _probe(feature: PeerFeature) -> tuple[int, float, float, float | None]:
    return feature.order, feature.sigma, feature.prefactor, feature.inverse_rs


def _root(square: Tensor, magnitude: Tensor) -> Tensor:
    """Square root; zero with gradient zero where rounding alone is left."""
    above = square.detach() > _ROUNDING**2 * magnitude
    return torch.where(above, square, 1.0).sqrt() * above
