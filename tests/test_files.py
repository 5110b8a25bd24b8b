"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.progress import byte_progress, progress, say


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end_of_the_block(tmp_path):
    target = tmp_path / "new" / "out.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent and not target.exists()
    assert target.read_text() == "whole" and listing(target.parent) == ["out.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, error):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old" and listing(tmp_path) == ["out.txt"]


def test_an_existing_file_is_refused_before_any_work(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(HpoptError, match="output exists already; .*--overwrite"), atomic_path(target):
        pytest.fail("the block must not run")
    with atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    target = tmp_path / "out.txt"
    with pytest.raises(
        HpoptError, match="out.txt: cannot be written: No space left on device; free some space"
    ):
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise full
    assert listing(tmp_path) == []


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")
    with pytest.raises(HpoptError, match="a folder, not a file"):
        with atomic_path(tmp_path / "out", overwrite=True) as temporary:
            temporary.write_text("new")
    assert listing(tmp_path) == ["out"] and listing(tmp_path / "out") == ["kept"]


def test_folders_are_replaced_as_a_whole(tmp_path):
    target = tmp_path / "report"
    for name in ("first", "second"):
        with atomic_path(target, overwrite=True) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert listing(target) == ["second"] and listing(tmp_path) == ["report"]


def test_rests_of_a_killed_process_with_the_same_number_do_not_mix_in(tmp_path):
    (tmp_path / f".out.part-{os.getpid()}").write_text("rest of a killed process")
    with atomic_path(tmp_path / "out") as temporary:
        assert not temporary.exists()
        with open(temporary, "a") as stream:
            stream.write("new")
    assert (tmp_path / "out").read_text() == "new"


def test_a_file_as_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HpoptError, match="folder cannot be made: .*; choose a folder"):
        with atomic_path(tmp_path / "file" / "out.txt"):
            pytest.fail("the block must not run")


def test_error_messages_are_one_line():
    error = HpoptError("a.traj: frame 3:\n  energy", remedy="remove\nit")
    assert str(error) == "a.traj: frame 3: energy; remove it"
    assert str(HpoptError("bad")) == "bad"


def test_progress_passes_items_on_and_counts_lines(capsys, monkeypatch):
    monkeypatch.setattr("hpopt_lib.progress.LINE_INTERVAL_S", 0.0)
    assert list(progress(iter("abc"), total=3, desc="read", unit="frame")) == ["a", "b", "c"]
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines()[0] == "read: 1 of 3 frames, 0 s"
    say("done")
    assert capsys.readouterr().err == "done\n"


@pytest.mark.parametrize(("total", "of_total"), [(2_000_000, " of 2.0"), (None, "")])
def test_bytes_are_counted_from_where_an_earlier_run_stopped(capsys, monkeypatch, total, of_total):
    monkeypatch.setattr("hpopt_lib.progress.LINE_INTERVAL_S", 0.0)
    with byte_progress("set.tar", total=total, done=500_000) as advance:
        advance(1_000_000)
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"set.tar: 1.5{of_total} MB, ")
