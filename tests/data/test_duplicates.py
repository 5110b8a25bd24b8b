"""What stays of a long series in bounded memory: where frames occurred first, an even part of a list."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpopt_lib.data.duplicates import SeenFrames
from hpopt_lib.data.thinned import Thinned


@given(st.lists(st.integers(0, 30), max_size=60))
def test_the_index_knows_where_a_frame_occurred_first(tmp_path_factory, numbers):
    expected: dict[int, tuple[int, int]] = {}
    with SeenFrames(tmp_path_factory.getbasetemp() / "seen") as seen:
        for place, number in enumerate(numbers):
            digest = number.to_bytes(16, "big")
            assert seen.first(digest, (place // 20, place)) == expected.setdefault(
                number, (place // 20, place)
            )


def test_the_index_spills_to_its_file_which_is_removed(tmp_path):
    path = tmp_path / "seen"
    path.write_text("left by a process that was killed", encoding="utf-8")
    digests = [os.urandom(16) for _ in range(60_000)]
    with SeenFrames(path, cache_mb=1) as seen:
        for number, digest in enumerate(digests):
            assert seen.first(digest, (0, number)) == (0, number)
        assert path.stat().st_size > 1_000_000
        assert [seen.first(digest, (1, 0)) for digest in digests[:50]] == [(0, n) for n in range(50)]
    assert list(tmp_path.iterdir()) == []


@given(st.integers(0, 200), st.integers(2, 9))
def test_a_thinned_series_is_an_even_part_of_it(count, limit):
    thinned = Thinned(limit)
    for number in range(count):
        thinned.append(number)
    stride = next(k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if len(range(0, count, k)) <= limit)
    assert thinned.items == list(range(0, count, stride))


def test_a_limit_that_keeps_nothing_is_refused():
    with pytest.raises(ValueError, match="limit of 1"):
        Thinned(1)
