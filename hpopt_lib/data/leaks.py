"""Which groups two splits share: what makes an error on one look better than it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ase import Atoms

from hpopt_lib.data.groups import DERIVED, KINDS, LABELS, derived_group, is_labelled, label_of
from hpopt_lib.progress import say

#: Names of shared groups that are kept for messages.
EXAMPLES = 3


class LeakLedger:
    """Groups of every split, gathered frame by frame.

    Labels count when all frames of all splits have one, else derived groups
    (see `hpopt_lib.data.groups`); memory grows with the number of groups, not of frames.
    """

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, set[str]]] = {}
        self._derived: dict[str, dict[str, set[str]]] = {}
        self._unlabelled = dict.fromkeys(KINDS, 0)
        self._underivable = dict.fromkeys(KINDS, 0)
        self._frames = 0

    def add(self, split: str, atoms: Atoms, *, default_system: str = "") -> None:
        """Take in a frame of a split."""
        labels = self._labels.setdefault(split, {kind: set() for kind in KINDS})
        derived = self._derived.setdefault(split, {kind: set() for kind in KINDS})
        self._frames += 1
        for kind in KINDS:
            label = label_of(kind, atoms)
            if label is not None and is_labelled(kind, atoms, default_system=default_system):
                labels[kind].add(label)
            else:
                self._unlabelled[kind] += 1
            group = derived_group(kind, atoms)
            if group is None:
                self._underivable[kind] += 1
            else:
                derived[kind].add(group)

    def origin(self, kind: str) -> str | None:
        """Where the groups of a kind come from, or None when they are not known for all frames."""
        if not self._unlabelled[kind]:
            return f"labels ({' or '.join(LABELS[kind])})"
        return f"derived ({DERIVED[kind]})" if not self._underivable[kind] else None

    def groups(self, kind: str, split: str) -> set[str]:
        """Names of the groups that a split has."""
        chosen = self._derived if self._unlabelled[kind] else self._labels
        return chosen[split][kind]

    def shared(self, kind: str, first: str, second: str) -> set[str]:
        """Names of the groups that two splits share."""
        return self.groups(kind, first) & self.groups(kind, second)

    def table(self) -> dict[str, Any]:
        """What every split shares with the first, for a store's header.

        Returns
        -------
        dict
            ``origins``: kind of group to where its names come from; ``splits``: split to kind to
            ``shared``, ``of`` (groups in that split) and ``examples``.
        """
        kinds = [kind for kind in KINDS if self._frames and self.origin(kind)]
        train, *others = list(self._labels) or [""]
        splits: dict[str, dict[str, Any]] = {}
        for split in others:
            splits[split] = {}
            for kind in kinds:
                shared = self.shared(kind, train, split)
                splits[split][kind] = {
                    "shared": len(shared),
                    "of": len(self.groups(kind, split)),
                    "examples": sorted(shared)[:EXAMPLES],
                }
        return {"origins": {kind: self.origin(kind) for kind in kinds}, "splits": splits}

    def broken(self, disjoint: Iterable[tuple[str, str, str]]) -> list[str]:
        """Sentences about promises that do not hold.

        Parameters
        ----------
        disjoint : iterable of (kind, split, split)
            Pairs of splits that shall share no group of a kind.
        """
        sentences = []
        for kind, first, second in disjoint:
            if first not in self._labels or second not in self._labels or not self.origin(kind):
                continue
            shared = self.shared(kind, first, second)
            if shared:
                names = ", ".join(sorted(shared)[:EXAMPLES]) + (", …" if len(shared) > EXAMPLES else "")
                sentences.append(
                    f"splits {first} and {second} share {len(shared)} of "
                    f"{len(self.groups(kind, second))} groups by {kind} ({names})"
                )
        return sentences

    def shared_systems(self) -> list[str]:
        """Sentences about labelled systems that a split shares with the first."""
        if self._unlabelled["system"] or not self._frames:
            return []
        train, *others = self._labels
        return self.broken(("system", train, other) for other in others)


def leaks_record(ledger: LeakLedger, split: Mapping[str, Any] | None) -> dict[str, Any]:
    """The leak table for a store's header, with ``broken``: what is shared although it should not be.

    Parameters
    ----------
    ledger : LeakLedger
    split : dict or None
        How the splits were made; its ``disjoint`` pairs are what was promised. Splits that a user named
        himself promise nothing, but a labelled system that training and another split share is said too.
    """
    broken = ledger.broken((split or {}).get("disjoint", []))
    if not split:
        broken = ledger.shared_systems()
    for sentence in broken:
        say(f"warning: {sentence}: errors look better than they are")
    return {**ledger.table(), "broken": broken}
