"""What other GMP codes call a configuration, as a plain list of features.

AMPtorch (`GMP` and `GMPOrderNorm`) and GMP-Featurizer take nested dictionaries. Here they become a
:class:`PeerSettings`: each feature with its order, width, probe prefactor and form, in the peer's order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.polynomials import groups

MAX_PEER_ORDER = 9


@dataclass(frozen=True)
class PeerFeature:
    """One column of features.

    Attributes
    ----------
    order : int
        Angular order; -1 is the density at the atom itself, without probe.
    sigma : float
        Width of the probe in Å.
    prefactor : float
        Factor of the probe's exponential.
    group : int or None
        Number of AMPtorch's group of components, from 1; None: the norm over the whole order.
    inverse_rs : float or None
        Surface harmonics of x / rs, in Å⁻¹; None: solid harmonics.
    """

    order: int
    sigma: float
    prefactor: float
    group: int | None = None
    inverse_rs: float | None = None

    @property
    def name(self) -> str:
        """Column name, like ``l2_group1_sigma0.69``; ``density`` for order -1."""
        if self.order < 0:
            return "density"
        group = "" if self.group is None else f"_group{self.group}"
        return f"l{self.order}{group}_sigma{self.sigma:g}"


@dataclass(frozen=True)
class PeerSettings:
    """Features of another GMP code: columns, sharp cutoff in Å, squared or not, logarithm or not."""

    features: tuple[PeerFeature, ...]
    cutoff: float
    square: bool
    log: bool = False

    def __post_init__(self) -> None:
        if not self.features:
            raise HpoptError("GMP configuration: no features", remedy="give orders and sigmas")
        if not (math.isfinite(self.cutoff) and self.cutoff > 0):
            raise HpoptError(f"GMP configuration: cutoff: {self.cutoff}", remedy="give a radius in Å")
        for feature in self.features:
            _check(feature)


def amptorch_settings(parameters: Mapping[str, Any], *, order_norm: bool) -> PeerSettings:
    """Settings of AMPtorch's ``fp_params``.

    Parameters
    ----------
    parameters : mapping
        With ``MCSHs`` (or ``MCSHs_detailed_list``), ``cutoff`` and optionally ``square``, ``log``,
        ``solid_harmonics`` and ``rs_setup``.
    order_norm : bool
        The scheme `gmpordernorm`; False is `gmp`, with groups.

    Raises
    ------
    HpoptError
        A key is missing or has no usable value.
    """
    inverse_rs = _inverse_rs(parameters.get("rs_setup"))
    solid = order_norm and bool(parameters.get("solid_harmonics", True))
    features = []
    for order, group, sigma in _amptorch_list(parameters, order_norm=order_norm):
        _check_sigma(sigma)
        prefactor = (sigma * math.sqrt(2.0 * math.pi)) ** (-3 if order_norm else -1)
        scale = None if solid else inverse_rs / sigma if _scaled(parameters) else inverse_rs
        features.append(PeerFeature(order, sigma, prefactor, group, scale))
    cutoff = parameters.get("cutoff")
    if cutoff is None:
        if not order_norm:
            raise _missing("cutoff")
        cutoff = default_cutoff(max((feature.sigma for feature in features), default=1.0))
    square = bool(parameters.get("square", order_norm))
    return PeerSettings(tuple(features), float(cutoff), square, log=bool(parameters.get("log", False)))


def gmp_featurizer_settings(parameters: Mapping[str, Any]) -> PeerSettings:
    """Settings of GMP-Featurizer's ``GMPs`` dictionary (solid harmonics, orders and widths sorted).

    Raises
    ------
    HpoptError
        A key is missing or unusable, or the cutoff is to be found from overlaps (``custom_cutoff``
        other than -1), which is not reproduced.
    """
    if parameters.get("custom_cutoff", 4) != -1:
        raise HpoptError(
            f"GMP configuration: custom_cutoff: {parameters.get('custom_cutoff', 4)}: cutoffs by overlap are"
            " not reproduced",
            remedy="set custom_cutoff to -1 and give cutoff in Å",
        )
    mode = parameters.get("scaling_mode", "radial")
    if mode not in ("radial", "both"):
        raise HpoptError(f"GMP configuration: scaling_mode: {mode!r}", remedy="use radial or both")
    if parameters.get("GMPs_detailed_list") is not None:
        probes = sorted((int(order), float(sigma)) for order, sigma in parameters["GMPs_detailed_list"])
    else:
        lists = _required(parameters, "GMPs")
        sigmas = sorted(float(sigma) for sigma in _required(lists, "sigmas"))
        orders = sorted(int(order) for order in _required(lists, "orders"))
        probes = [(n, s) for n in orders for s in (sigmas if n >= 0 else [0.0])]
    features = []
    for order, sigma in probes:
        if order >= 0:
            _check_sigma(sigma)
            features.append(PeerFeature(order, sigma, _prefactor(order, sigma, both=mode == "both")))
        else:
            features.append(PeerFeature(order, 0.0, 1.0))
    return PeerSettings(
        tuple(features), float(_required(parameters, "cutoff")), bool(parameters.get("square", False))
    )


def default_cutoff(largest_sigma: float, *, threshold: float = 1e-8) -> float:
    """Cutoff in Å that AMPtorch takes when none is given: where the widest probe falls to `threshold`."""
    height = 1.0 / (largest_sigma * math.sqrt(2.0 * math.pi))
    return round(largest_sigma * math.sqrt(-2.0 * math.log(threshold / height)), 2)


def _prefactor(order: int, sigma: float, *, both: bool) -> float:
    if not both:
        return (sigma * math.sqrt(2.0 * math.pi)) ** -3
    # unit norm of the whole probe, radial and angular part
    odd = math.prod(range(2 * order - 1, 0, -2)) * math.prod(range(2 * order + 1, 0, -2))
    square = math.factorial(order) * odd * (0.5 * sigma**2) ** order * (math.pi * sigma**2) ** 1.5
    return square**-0.5


def _amptorch_list(parameters: Mapping[str, Any], *, order_norm: bool) -> list[tuple[int, int | None, float]]:
    if "MCSHs_detailed_list" in parameters:
        rows = []
        for entry in parameters["MCSHs_detailed_list"]:
            group = None if order_norm else int(_required(entry, "group"))
            order = int(_required(entry, "order"))
            rows += [(order, group, float(sigma)) for sigma in _required(entry, "sigmas")]
        return rows
    lists = _required(parameters, "MCSHs")
    if order_norm:
        orders, sigmas = _required(lists, "orders"), _required(lists, "sigmas")
        return [(int(order), None, float(sigma)) for order in orders for sigma in sigmas]
    rows = []
    for key in sorted(lists, key=_order_of):
        numbers: Sequence[int] = _required(lists[key], "groups")
        sigmas = _required(lists[key], "sigmas")
        rows += [(_order_of(key), int(group), float(sigma)) for group in numbers for sigma in sigmas]
    return rows


def _order_of(key: Any) -> int:
    try:
        return int(key)
    except (TypeError, ValueError) as error:
        raise HpoptError(
            f"GMP configuration: MCSHs: {key!r} is no order", remedy="use keys like '0', '1'"
        ) from error


def _scaled(parameters: Mapping[str, Any]) -> bool:
    return (parameters.get("rs_setup") or {}).get("setup") == "scale"


def _inverse_rs(setup: Mapping[str, Any] | None) -> float:
    """1 / rs, or 1 / factor when rs is a multiple of sigma; 1 Å when nothing is said."""
    keys = {"constant": "rs", "scale": "scale_factor"}
    if not setup or setup.get("setup") not in keys:
        return 1.0
    value = float(_required(setup, keys[setup["setup"]]))
    if not (math.isfinite(value) and value > 0):
        raise HpoptError(f"GMP configuration: rs_setup: {value}", remedy="give a positive number")
    return 1.0 / value


def _required(mapping: Mapping[str, Any], key: str) -> Any:
    if not isinstance(mapping, Mapping) or key not in mapping:
        raise _missing(key)
    return mapping[key]


def _missing(key: str) -> HpoptError:
    return HpoptError(f"GMP configuration: {key} is missing", remedy="give the dictionary of the other code")


def _check_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise HpoptError(f"GMP configuration: sigmas: {sigma}", remedy="give positive widths in Å")


def _check(feature: PeerFeature) -> None:
    if not -1 <= feature.order <= MAX_PEER_ORDER:
        raise HpoptError(
            f"GMP configuration: order {feature.order}", remedy=f"orders run from -1 to {MAX_PEER_ORDER}"
        )
    if feature.group is not None and not 1 <= feature.group <= len(groups(max(feature.order, 0))):
        raise HpoptError(
            f"GMP configuration: order {feature.order} has no group {feature.group}",
            remedy=f"its groups are 1 to {len(groups(max(feature.order, 0)))}",
        )
