"""The catalogue of published data sets: where they are, their sizes and licences, how to cite them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hpopt_lib.errors import HpoptError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGED = Path(__file__).with_name("catalogue.toml")
#: Kinds of checksums, and how many hexadecimal digits they have.
SUMS = {"md5": 32, "sha256": 64, "git_blob": 40}
#: Rounded sizes may have been meant with powers of 1000 or of 1024, and are rounded.
ROUNDED_WITHIN = 1.25


@dataclass(frozen=True)
class Size:
    """A published size.

    Attributes
    ----------
    n_bytes : int
        Bytes; of a rounded size the larger reading, with powers of 1024.
    exact : bool
        Whether every byte counts.
    published : str
        The rounded size as its source prints it.
    """

    n_bytes: int
    exact: bool
    published: str = ""

    def fits(self, n_bytes: int) -> bool:
        """Whether a file of so many bytes can be the one that was meant."""
        if self.exact:
            return n_bytes == self.n_bytes
        return self.n_bytes / ROUNDED_WITHIN <= n_bytes <= self.n_bytes * ROUNDED_WITHIN


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set.

    Attributes
    ----------
    name : str
    addresses : tuple of str
        Where it can be had, in the order in which they are tried.
    size, unpacked, uncompressed : Size or None
        Published sizes: of the file, of what is in it, and of that with inner compression undone; None when
        not known.
    sums : dict of str to str
        Published checksums by their kind, see `SUMS`; empty when there are none.
    unpack : bool
        Whether an archive is unpacked.
    """

    name: str
    addresses: tuple[str, ...]
    size: Size | None
    unpacked: Size | None
    uncompressed: Size | None
    sums: dict[str, str]
    unpack: bool


@dataclass(frozen=True)
class Source:
    """A data set; the fields are explained at the top of ``catalogue.toml``."""

    name: str
    title: str
    citation: str
    license: str
    format: str
    energy: str
    energy_unit: str
    force_unit: str
    length_unit: str
    method: str
    frames: str
    homepage: str
    facts: str
    checked: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> Size | None:
        """Of all files; None when that of one is not known."""
        return _sum([file.size for file in self.files])


def load_catalogue(path: str | Path | None = None) -> dict[str, Source]:
    """All data sets by their names.

    Parameters
    ----------
    path : str or Path, optional
        A catalogue in the same form; by default the one of this package.

    Raises
    ------
    HpoptError
        For an unknown or missing field, or a value that cannot be; the message names file, set and field.
    """
    path = PACKAGED if path is None else Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HpoptError(f"{path}: cannot be read: {error}", remedy="correct the file") from error
    families = tables.get("family", {})
    found = {}
    for name, table in tables.get("set", {}).items():
        where = f"{path}: [set.{name}]"
        if not isinstance(table, dict):
            raise HpoptError(f"{where}: not a table", remedy="write its fields below the line [set.NAME]")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
            raise HpoptError(f"{where}: not a name", remedy="use small letters, digits, dots and hyphens")
        family = table.get("family", "")
        if family and family not in families:
            raise HpoptError(f"{where} family: no [family.{family}]", remedy="add it or leave the line out")
        found[name] = _source(name, {**families.get(family, {}), **table}, where)
    if not found:
        raise HpoptError(f"{path}: names no data set", remedy="write a table like [set.mine]")
    return found


def find_source(name: str, catalogue: Mapping[str, Source]) -> Source:
    """A data set by its name."""
    if name not in catalogue:
        near = [other for other in catalogue if other.startswith(name) or name in other]
        raise HpoptError(
            f"{name}: no data set of that name",
            remedy=f"did you mean {', '.join(near[:6])}?" if near else "see hpopt data list",
        )
    return catalogue[name]


def parse_size(value: int | str, where: str) -> Size:
    """A size as it is published.

    Examples
    --------
    >>> parse_size("344M", ""), parse_size(1024, "")
    (Size(n_bytes=360710144, exact=False, published='344M'), Size(n_bytes=1024, exact=True, published=''))
    """
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Size(value, exact=True)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT])", value) if isinstance(value, str) else None
    if not match:
        raise HpoptError(f"{where} = {value!r}: not a size", remedy='write bytes, or text like "344M"')
    assert isinstance(value, str)
    return Size(round(float(match[1]) * 1024 ** ("KMGT".index(match[2]) + 1)), exact=False, published=value)


def format_size(size: Size | int | None) -> str:
    """A size for a reader: as published, or with powers of 1000."""
    if size is None:
        return "not known"
    if isinstance(size, Size) and size.published:
        return f"{size.published[:-1]} {size.published[-1]}B"
    n_bytes = size if isinstance(size, int) else size.n_bytes
    amount, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    rounded = f"{amount:.0f}" if amount >= 100 or unit == "B" else f"{amount:.2g}"
    return f"{rounded} {unit}"


def _source(name: str, table: dict[str, Any], where: str) -> Source:
    values = {key: value for key, value in table.items() if key not in ("family", "base", "files")}
    wanted = {field.name for field in fields(Source)} - {"name", "files"}
    for key, value in values.items():
        if key not in wanted:
            raise HpoptError(f"{where} {key}: no such field", remedy=f"use {', '.join(sorted(wanted))}")
        if not isinstance(value, str):
            raise HpoptError(f"{where} {key} = {value!r}: not text", remedy="put it in quotes")
    if not re.fullmatch(r"(\d{4}-\d\d-\d\d)?", values.get("checked", "")):
        raise HpoptError(
            f"{where} checked = {values['checked']!r}: not a date", remedy='write 2026-11-25, or ""'
        )
    if missing := sorted(wanted - set(values)):
        raise HpoptError(f"{where}: without {', '.join(missing)}", remedy='add them; "" says: not known')
    entries = table.get("files")
    if not isinstance(entries, list) or not entries:
        raise HpoptError(f"{where} files: none", remedy="name at least one file")
    files = tuple(_file(entry, table.get("base", ""), f"{where} files") for entry in entries)
    if len({file.name for file in files}) < len(files):
        raise HpoptError(
            f"{where} files: a name stands there twice", remedy="give each file a name of its own"
        )
    return Source(name=name, files=files, **values)


def _file(given: Any, base: Any, where: str) -> RemoteFile:
    entry = dict(given) if isinstance(given, dict) else {}
    name = entry.pop("name", "")
    where = f"{where}, {name or 'one without a name'}:"
    if not isinstance(name, str) or not re.fullmatch(r"[\w+-][\w.+-]*", name):
        raise HpoptError(f"{where} not a file name", remedy="use letters, digits, dots and hyphens")
    addresses = entry.pop("addresses", [f"{base}{name}"] if base else [])
    if not isinstance(addresses, list) or not addresses:
        raise HpoptError(f"{where} addresses: no list of addresses", remedy="add it, or base to the family")
    for address in addresses:
        if not re.fullmatch(r"https?://[^/\s]+/\S*", str(address)):
            raise HpoptError(f"{where} {address!r}: not an address", remedy="begin with https://")
    sizes = {key: entry.pop(key, None) for key in ("size", "unpacked", "uncompressed")}
    sums = {key: str(entry.pop(key)).lower() for key in SUMS if key in entry}
    for key, value in sums.items():
        if not re.fullmatch(rf"[0-9a-f]{{{SUMS[key]}}}", value):
            raise HpoptError(f"{where} {key}: not {SUMS[key]} hexadecimal digits", remedy="copy it again")
    unpack = entry.pop("unpack", True)
    if not isinstance(unpack, bool):
        raise HpoptError(f"{where} unpack = {unpack!r}: not true or false", remedy="write it without quotes")
    if entry:
        raise HpoptError(f"{where} {', '.join(entry)}: no such field", remedy="see the top of catalogue.toml")
    known = {key: None if size is None else parse_size(size, f"{where} {key}") for key, size in sizes.items()}
    return RemoteFile(name=name, addresses=tuple(addresses), sums=sums, unpack=unpack, **known)


def _sum(sizes: list[Size | None]) -> Size | None:
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    if len(known) == 1:
        return known[0]
    return Size(sum(size.n_bytes for size in known), all(size.exact for size in known))
