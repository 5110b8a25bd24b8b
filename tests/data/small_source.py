"""A small data set in a catalogue of its own, on the faulty server."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

from faulty_server import Site

from hpopt_lib.data.download import Patience

QUICK = Patience(timeout_s=5.0, wait_s=0.001, longest_wait_s=0.01, attempts=2, first_attempts=2)
FRAMES = os.urandom(300_000)
ENTRY = """
[set.{name}]
title = "made for a test"
citation = "chanussot2021oc20"
license = "CC-BY-4.0"
format = "extxyz"
energy = "total energies"
energy_unit = "eV"
force_unit = "eV/Å"
length_unit = "Å"
method = "none"
frames = "1"
homepage = "https://example.org"
facts = "this test"
checked = ""
files = [
  {{ name = "frames.tar", addresses = [{address}"{base}/frames.tar"], md5 = "{md5}", size = {size}, unpacked = 300000 }},
  {{ name = "readme.txt", addresses = ["{base}/readme.txt"] }},
]
"""


def tar_of(name: str) -> bytes:
    with io.BytesIO() as raw:
        with tarfile.open(fileobj=raw, mode="w") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(FRAMES)
            archive.addfile(info, io.BytesIO(FRAMES))
        return raw.getvalue()


def written(site: Site, path: Path, *, first: str = "") -> Path:
    content = site.files["/frames.tar"]
    md5 = hashlib.md5(content).hexdigest()
    text = ENTRY.format(name="slabs", base=site.base, md5=md5, size=len(content), address=first)
    path.write_text(text, encoding="utf-8")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(everything(folder))


#: What is there in the end.
WHOLE = ["slabs/SOURCE.json", "slabs/readme.txt", "slabs/set/0.extxyz"]
