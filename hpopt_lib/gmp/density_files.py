"""Element densities from the files of other GMP codes: ``.g`` (AMPtorch) and ``.gpsp`` (GMP-Featurizer).

Both hold primitive Gaussians ``rho(r) = sum_g B_g exp(-beta_g r^2)``, one pair "B beta" (e/Å³, Å⁻²) a line.
A ``.g`` file is one element and is named after it (``Cu_pseudodensity.g``). A ``.gpsp`` file holds a whole
table: comments (#), a line "! N elements", and blocks that begin with a line ``****`` and "symbol Z n".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import ElementDensity

_REMEDY = "copy the file again from where it was published"


def read_g(source: str | Path | Mapping[str, str | Path]) -> dict[int, ElementDensity]:
    """Read ``.g`` files.

    Parameters
    ----------
    source : path or mapping of str to path
        One file or a folder of files named after their element (``Cu_pseudodensity.g`` or ``Cu.g``), or
        chemical symbols with their files, like AMPtorch's ``atom_gaussians``.

    Returns
    -------
    dict
        Atomic number -> :class:`~hpopt_lib.gmp.densities.ElementDensity`, as
        :class:`~hpopt_lib.gmp.features.GMPFeaturizer` takes it.

    Raises
    ------
    HpoptError
        A file is missing or damaged, or its name tells no element; the message names file and line.
    """
    if isinstance(source, Mapping):
        files = {str(symbol): Path(path) for symbol, path in source.items()}
    else:
        folder = Path(source)
        paths = sorted(folder.glob("*.g")) if folder.is_dir() else [folder]
        if not paths:
            raise HpoptError(f"{folder}: no .g file in this folder", remedy="give the folder that holds them")
        files = {}
        for path in paths:
            symbol = _symbol_of_name(path)
            if symbol in files:
                raise HpoptError(
                    f"{path}: {symbol}: {files[symbol].name} is of the same element", remedy="keep one"
                )
            files[symbol] = path
    densities = {}
    for symbol, path in files.items():
        if symbol not in atomic_numbers:
            raise HpoptError(f"{path}: {symbol!r} is no chemical symbol", remedy="name the element, like Cu")
        pairs = [_pair(path, number, line) for number, line in _lines(path)]
        densities[atomic_numbers[symbol]] = _density(path, symbol, pairs)
    return dict(sorted(densities.items()))


def read_gpsp(path: str | Path) -> dict[int, ElementDensity]:
    """Read a ``.gpsp`` file.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        Atomic number -> :class:`~hpopt_lib.gmp.densities.ElementDensity`; the dummy element X (0) is kept.

    Raises
    ------
    HpoptError
        The file is missing or damaged, a count in it is wrong, or it ends with ``****``, after which
        GMP-Featurizer's own reader leaves the last element without a density.
    """
    path = Path(path)
    announced: int | None = None
    blocks: list[list[tuple[int, str]]] = []
    for number, line in _lines(path):
        if line.startswith("!"):
            match = re.fullmatch(r"!\s*(\d+)\s+elements?", line)
            announced = int(match.group(1)) if match else announced
        elif line.startswith("*"):
            if blocks and not blocks[-1]:
                raise HpoptError(f"{path}: line {number}: two **** without an element", remedy=_REMEDY)
            blocks.append([])
        elif not blocks:
            raise HpoptError(f"{path}: line {number}: {line!r} before the first ****", remedy=_REMEDY)
        else:
            blocks[-1].append((number, line))
    if not blocks:
        raise HpoptError(f"{path}: no **** line, so no element: not a .gpsp file", remedy=_REMEDY)
    if not blocks[-1]:
        raise HpoptError(
            f"{path}: last line: a trailing ****, after which other readers lose the last element",
            remedy="delete that line",
        )
    densities: dict[int, ElementDensity] = {}
    for (number, header), *rows in blocks:
        symbol, atomic_number, count = _header(path, number, header)
        if atomic_number in densities:
            raise HpoptError(f"{path}: line {number}: {symbol} a second time", remedy=_REMEDY)
        if len(rows) != count:
            raise HpoptError(
                f"{path}: line {number}: {symbol}: {count} Gaussians announced, {len(rows)} given",
                remedy=_REMEDY,
            )
        densities[atomic_number] = _density(path, symbol, [_pair(path, n, line) for n, line in rows])
    if announced is not None and announced != len(densities):
        raise HpoptError(f"{path}: {announced} elements announced, {len(densities)} given", remedy=_REMEDY)
    return densities


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines that are not empty and no comment."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HpoptError(f"{path}: not a text file", remedy=_REMEDY) from error
    except OSError as error:
        raise HpoptError(f"{path}: cannot be read: {error.strerror or error}", remedy=_REMEDY) from error
    stripped = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]


def _symbol_of_name(path: Path) -> str:
    symbol = re.split(r"[_.-]", path.name)[0]
    if path.suffix != ".g" or symbol not in atomic_numbers:
        raise HpoptError(
            f"{path}: the name tells no element",
            remedy="rename it like Cu_pseudodensity.g, or give {symbol: path}",
        )
    return symbol


def _header(path: Path, number: int, line: str) -> tuple[str, int, int]:
    words = line.split()
    numeric = len(words) == 3 and all(word.isdigit() for word in words[1:])
    if not numeric or words[0] not in atomic_numbers:
        raise HpoptError(
            f"{path}: line {number}: {line!r} is not 'symbol, atomic number, number of Gaussians'",
            remedy=_REMEDY,
        )
    if atomic_numbers[words[0]] != int(words[1]):
        raise HpoptError(
            f"{path}: line {number}: {words[1]} is not the atomic number of {words[0]}",
            remedy=_REMEDY,
        )
    return words[0], int(words[1]), int(words[2])


def _pair(path: Path, number: int, line: str) -> tuple[float, float]:
    try:
        amplitude, exponent = (float(word) for word in line.split())
    except ValueError as error:
        raise HpoptError(
            f"{path}: line {number}: {line[:40]!r} is not a pair of numbers", remedy=_REMEDY
        ) from error
    if not (math.isfinite(amplitude) and math.isfinite(exponent) and exponent > 0.0):
        raise HpoptError(
            f"{path}: line {number}: a Gaussian needs a finite amplitude and a positive exponent",
            remedy=_REMEDY,
        )
    return amplitude, exponent


def _density(path: Path, symbol: str, pairs: list[tuple[float, float]]) -> ElementDensity:
    if not pairs:
        raise HpoptError(f"{path}: {symbol}: no Gaussians", remedy=_REMEDY)
    amplitudes, exponents = np.array(pairs).T
    order = np.argsort(exponents, kind="stable")
    amplitudes, exponents = amplitudes[order], exponents[order]
    charge = float(np.sum(amplitudes * (math.pi / exponents) ** 1.5))
    if charge <= 0.0 and symbol != "X":
        raise HpoptError(f"{path}: {symbol}: the density holds {charge:.3g} electrons", remedy=_REMEDY)
    amplitudes.flags.writeable = exponents.flags.writeable = False
    return ElementDensity(
        symbol=symbol,
        number=atomic_numbers[symbol],
        n_electrons=round(charge),
        amplitudes=amplitudes,
        exponents=exponents,
        l1_residual=math.nan,
        source=path.name,
    )
