"""A feature store in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpopt_lib.store.reader import Store


def describe(store: Store) -> str:
    """A store's contents as text for a person."""
    header, settings = store.header, store.settings
    sigmas = ", ".join(f"{sigma:g}" for sigma in settings.sigmas)
    cutoff = f"{settings.cutoff:g} Å ({'smooth' if settings.smooth_cutoff else 'sharp'})"
    lines = [
        f"{store.path}: feature store, format {header['version']}, {store.path.stat().st_size / 1e6:.2f} MB",
        f"made     {header['created']} by hpopt {header['hpopt_version']}",
        f"features {settings.num_features} ({header['dtype']}): orders 0 to {settings.max_order}, "
        f"sigmas {sigmas} Å, cutoff {cutoff}, densities {settings.densities}",
        f"constant {', '.join(header['constant_features']) or 'no feature'}",
        f"units    energy {header['units']['energy']}, forces {header['units']['forces']}",
        *describe_inputs(header),
        f"energies relative to {store.reference.label}",
        f"{'split':<16}{'frames':>9}{'atoms':>10}  {'forces':<7} elements",
    ]
    for name, entry in header["splits"].items():
        role = " (train)" if name == store.train_split and name != "train" else ""
        lines.append(
            f"{name + role:<16}{entry['n_frames']:>9}{entry['n_atoms']:>10}  "
            f"{'yes' if entry['has_forces'] else 'no':<7} {' '.join(entry['elements'])}"
        )
    return "\n".join([*lines, *describe_split(header.get("split")), *describe_leaks(header)])


def describe_inputs(header: Mapping[str, Any]) -> list[str]:
    """What was read, in one line for each way of reading; nothing for stores that do not say."""
    ways: dict[str, list[str]] = {}
    for split, entry in header["splits"].items():
        if "input" in entry:
            found = entry["input"]
            units = f"{found['energy_unit']} and {found['length_unit']}"
            way = f"{found['format']} in {units}; energies: {found['energy']}"
            ways.setdefault(way, []).append(split)
    return [
        f"input    {way}" + (f" ({', '.join(splits)})" if len(ways) > 1 else "")
        for way, splits in ways.items()
    ]


def describe_split(split: Mapping[str, Any] | None) -> list[str]:
    """How the frames were divided, if a split file says so."""
    if not split:
        return []
    fold = f", fold {split['fold']} of {split['folds']}" if split["folds"] else ""
    name = f"{split['file']} (sha256 {split['sha256'][:12]}, seed {split['seed']}{fold})"
    return [f"split by {split['by']}: {name}"]


def describe_leaks(header: Mapping[str, Any]) -> list[str]:
    """Table of the groups that each split shares with the training split."""
    leaks = header.get("leaks")
    if leaks is None:
        return ["shared with the training split: not recorded by the older hpopt that made this store"]
    if not leaks["splits"]:
        return []
    kinds = list(leaks["origins"])
    lines = [f"{'groups shared with training':<28}" + "".join(f"{kind:>20}" for kind in kinds)]
    for name, found in leaks["splits"].items():
        cells = (f"{found[kind]['shared']} of {found[kind]['of']}" for kind in kinds)
        lines.append(f"{name:<28}" + "".join(f"{cell:>20}" for cell in cells))
    lines += [f"  {kind}: {origin}" for kind, origin in leaks["origins"].items()]
    return lines + [f"warning: {sentence}" for sentence in leaks["broken"]]
