"""Archives: what is unpacked, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from hpopt_lib.data.unpack import ArchiveFailed, is_archive, unpack

FRAMES = b"3\nProperties=species:S:1:pos:R:3\n" * 4000


def tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    """A tar of given members; the name says how it is compressed."""
    kind = path.suffix[1:]
    with tarfile.open(path, f"w:{'' if kind == 'tar' else kind}") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size, info.mode = len(member[1]), 0o777 | stat.S_ISUID
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "outside").mkdir()
    inside = tmp_path / "outside" / "inside"
    inside.mkdir()
    return inside


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_tars(tmp_path, folder, ending):
    path = tar(tmp_path / f"set.{ending}", ("set/0.extxyz", FRAMES), ("set/README", b"read me"))
    assert unpack(path, folder) == len(FRAMES) + 7
    assert everything(folder) == {"set/0.extxyz": FRAMES, "set/README": b"read me"}
    assert not (folder / "set/README").stat().st_mode & (stat.S_ISUID | stat.S_IWOTH)


def test_a_zip(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/0.extxyz", FRAMES)
    assert unpack(tmp_path / "set.zip", folder) == len(FRAMES)
    assert everything(folder) == {"set/0.extxyz": FRAMES}


@pytest.mark.parametrize(
    ("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_compressed_files(tmp_path, folder, ending, compress):
    path = tmp_path / f"0.extxyz.{ending}"
    path.write_bytes(compress(FRAMES))
    assert unpack(path, folder) == len(FRAMES) and everything(folder) == {"0.extxyz": FRAMES}


def test_what_counts_as_an_archive():
    assert all(
        map(is_archive, ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.zip", "a.xz", "a.gz"])
    )
    assert not any(map(is_archive, ["a.npz", "a.pkl", "a.txt", "tar", "a.lmdb"]))


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../stolen", b"x"), "leads out of the folder"),
        (("set/../../stolen", b"x"), "leads out of the folder"),
        (("/stolen", b"x"), "leads out of the folder"),
        (("C:\\stolen", b"x"), "leads out of the folder"),
        (special("set", tarfile.SYMTYPE, ".."), "a link or a special file"),
        (special("set", tarfile.SYMTYPE, "inside/other"), "a link or a special file"),
        (special("set", tarfile.LNKTYPE, "../../secret"), "a link or a special file"),
        (special("pipe", tarfile.FIFOTYPE), "a link or a special file"),
        (special("disk", tarfile.BLKTYPE), "a link or a special file"),
    ],
)
def test_members_of_a_tar_that_would_leave_the_folder(tmp_path, folder, member, reason):
    path = tar(tmp_path / "set.tar", ("set.txt", b"fine"), member, ("set/stolen", b"x"))
    with pytest.raises(ArchiveFailed, match=f"set.tar: member .*: {reason}; do not use this archive"):
        unpack(path, folder)
    assert everything(tmp_path / "outside") == {"inside/set.txt": b"fine"}


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("../stolen", 0, "leads out"),
        ("/stolen", 0, "leads out"),
        ("set/../../stolen", stat.S_IFREG | 0o644, "leads out"),
        ("link", stat.S_IFLNK | 0o777, "a link"),
    ],
)
def test_members_of_a_zip_that_would_leave_the_folder(tmp_path, folder, name, mode, reason):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "..")
    with pytest.raises(ArchiveFailed, match=f"set.zip: member '{name}': {reason}"):
        unpack(tmp_path / "set.zip", folder)
    assert everything(tmp_path / "outside") == {}


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_damaged_tar_is_one_clear_line(tmp_path, folder, ending, damage):
    path = tar(tmp_path / f"set.{ending}", ("set/0.extxyz", bytes(range(256)) * 2000))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"\x01" * 2000)
    with pytest.raises(
        ArchiveFailed,
        match=f"set.{ending}: cannot be unpacked, the archive is damaged: .+; download it again",
    ):
        unpack(path, folder)


def test_a_damaged_zip_is_one_clear_line(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("0.extxyz", FRAMES)
    data = bytearray((tmp_path / "set.zip").read_bytes())
    data[5000] ^= 1
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(ArchiveFailed, match="damaged: Bad CRC-32 for file '0.extxyz'"):
        unpack(tmp_path / "set.zip", folder)


@pytest.mark.parametrize(
    ("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_cut_compressed_file_is_one_clear_line(tmp_path, folder, ending, compress):
    path = tmp_path / f"0.extxyz.{ending}"
    path.write_bytes(compress(bytes(range(256)) * 400)[:-20])
    with pytest.raises(ArchiveFailed, match="the archive is damaged"):
        unpack(path, folder)
