"""Numbers of frames as text: ``0-99,120``."""

from __future__ import annotations

import re

import numpy as np

_PART = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")


def format_ranges(numbers: np.ndarray) -> str:
    """Text of ascending numbers, runs as ``first-last``."""
    if len(numbers) == 0:
        return ""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    firsts, lasts = numbers[np.concatenate([[0], ends + 1])], numbers[np.concatenate([ends, [-1]])]
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(firsts.tolist(), lasts.tolist()))


def parse_ranges(text: str, n_frames: int) -> np.ndarray:
    """Numbers of a text of `format_ranges`.

    Raises
    ------
    ValueError
        When the text is something else, its numbers do not ascend, or one is not below `n_frames`.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text of ranges")
    parts, last = [np.zeros(0, dtype=np.int64)], -1
    for piece in text.split(",") if text else []:
        match = _PART.fullmatch(piece)
        first, end = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if match is None or first <= last or end < first:
            raise ValueError(f"{piece!r} is no range that follows {last}")
        if end >= n_frames:
            raise ValueError(f"frame {end} of {n_frames}")
        parts.append(np.arange(first, end + 1, dtype=np.int64))
        last = end
    return np.concatenate(parts)
