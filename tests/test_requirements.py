"""A machine that ought to have something must not skip quietly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Needs = Callable[[str], None]


@pytest.fixture
def absent(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of something that no machine has."""
    table = needs.__globals__["NEEDS"]
    monkeypatch.setitem(table, "unobtainium", lambda: "there is none on earth")
    monkeypatch.setitem(table, "air", lambda: None)
    return "unobtainium"


def test_what_is_there_is_not_skipped(needs: Needs, absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPOPT_REQUIRE", "air")
    needs("air")


def test_what_is_absent_is_skipped_with_the_reason(
    needs: Needs, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPOPT_REQUIRE", "air")
    with pytest.raises(pytest.skip.Exception, match="^there is none on earth$"):
        needs(absent)


def test_what_is_required_and_absent_fails(
    needs: Needs, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPOPT_REQUIRE", f"air, {absent}")
    with pytest.raises(
        pytest.fail.Exception, match="HPOPT_REQUIRE names unobtainium, but there is none on earth"
    ):
        needs(absent)
