"""What energies are relative to while a potential is trained; predictions are total energies again.

A reference explains the large part of a total energy that needs no network: `linear` holds the per-element
fit of the training split, which is the default and always the linear baseline; `kinds` the others; `files`
reads energies of elements.
"""

from hpopt_lib.references.kinds import Reference, parse_reference, reference_from_dict
from hpopt_lib.references.linear import (
    MAX_Z,
    LinearReference,
    ReferenceSums,
    composition,
    median_baseline,
)

__all__ = [
    "MAX_Z",
    "LinearReference",
    "Reference",
    "ReferenceSums",
    "composition",
    "median_baseline",
    "parse_reference",
    "reference_from_dict",
]
