"""Where frames occurred first, in bounded memory."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from hpopt_lib.data.duplicates import SeenFrames


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
