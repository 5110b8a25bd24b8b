"""Downloads against a server that fails, stalls, lies and changes its mind."""

from __future__ import annotations

import errno
import hashlib
import json
import random
from collections import namedtuple
from pathlib import Path

import pytest

from hpopt_lib.data.catalogue import Size
from hpopt_lib.data.download import Patience, download
from hpopt_lib.data.exchange import AddressFailed
from hpopt_lib.errors import HpoptError

CONTENT = random.Random(7).randbytes(700_000)
OTHER = random.Random(8).randbytes(700_000)
SUMS = {"md5": hashlib.md5(CONTENT).hexdigest()}
SIZE = Size(len(CONTENT), exact=True)
QUICK = Patience(timeout_s=0.5, wait_s=0.001, longest_wait_s=0.01, attempts=4, first_attempts=2)


@pytest.fixture
def get(site, tmp_path):
    """Download the file of the server with given plays; the second value is where it came to."""
    address = site.put("frames.bin", CONTENT)

    def get(*plays: str, sums=SUMS, size=SIZE, patience=QUICK, address=address):
        site.plays = list(plays)
        return download(address, tmp_path / "frames.bin", sums=sums, size=size, patience=patience)

    get.address = address
    return get


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_is_verified(get, tmp_path, site):
    got = get()
    assert got.path.read_bytes() == CONTENT and listing(tmp_path) == ["frames.bin"]
    assert got.verified == ("md5", "size", "length") and got.n_bytes == len(CONTENT)
    assert got.sums == {"md5": SUMS["md5"], "sha256": hashlib.sha256(CONTENT).hexdigest()}
    headers = site.asked[0][1]
    assert headers["User-Agent"].startswith("hpopt/") and headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "play",
    [
        "status 500",
        "status 503",
        "status 429",
        "cut 300000",
        "reset 300000",
        "stall 300000",
        "chunked 400000",
    ],
)
def test_what_passes_is_tried_again(get, tmp_path, site, play, capsys):
    assert get(play).path.read_bytes() == CONTENT
    assert listing(tmp_path) == ["frames.bin"] and len(site.asked) == 2
    assert "; next try in 0 s" in capsys.readouterr().err


def test_a_promise_of_too_much_is_mended_by_asking_for_the_rest(get, site):
    assert get("promise 50", size=None).path.read_bytes() == CONTENT
    assert site.ranges == ["", "bytes=700000-"]


@pytest.mark.parametrize("play", ["cut 300000", "stall 300000"])
def test_only_the_rest_is_asked_for_again(get, site, play):
    get(play, "cut 100000")
    assert site.ranges == ["", "bytes=300000-", "bytes=400000-"]
    assert all("If-Range" in headers for _, headers in site.asked[1:])


def test_a_download_that_goes_on_bit_by_bit_is_not_given_up(get, site):
    plays = ["cut 60000"] * 10
    assert get(*plays).path.read_bytes() == CONTENT and len(site.asked) == 11 > QUICK.attempts


def test_a_server_that_does_not_recover_leaves_the_part(get, tmp_path, site):
    with pytest.raises(
        AddressFailed, match=r"answers 500 Internal Server Error \(4 times in a row\); the same command"
    ):
        get("cut 300000", *["status 500"] * 9)
    assert listing(tmp_path) == ["frames.bin.part", "frames.bin.part.json"]
    assert (tmp_path / "frames.bin.part").read_bytes() == CONTENT[:300_000]
    site.asked.clear()
    assert get().path.read_bytes() == CONTENT
    assert site.ranges == ["bytes=300000-"] and listing(tmp_path) == ["frames.bin"]


def test_what_the_server_asks_to_wait_counts(get, monkeypatch):
    waited = []
    monkeypatch.setattr("hpopt_lib.data.download.time.sleep", waited.append)
    get("status 503", "status 500", "status 503", patience=Patience(wait_s=2.0, longest_wait_s=30.0))
    assert waited == [7.0, 7.0, 8.0]
    assert [Patience().pause_s(n, 0.0) for n in (1, 2, 3, 9)] == [1.0, 2.0, 4.0, 60.0]


def test_a_server_that_ignores_ranges_sends_all_again(get, site):
    assert get("cut 300000", "whole").path.read_bytes() == CONTENT
    assert site.ranges == ["", "bytes=300000-"]


@pytest.mark.parametrize("sums", [{}, {"md5": hashlib.md5(OTHER).hexdigest()}])
def test_a_file_that_changes_in_between_is_not_glued(get, tmp_path, site, sums):
    with pytest.raises(AddressFailed):
        get("cut 300000", *["status 500"] * 9, sums=sums)
    site.put("frames.bin", OTHER)
    assert get(sums=sums).path.read_bytes() == OTHER


@pytest.mark.parametrize("validators", [True, False])
def test_a_careless_server_is_caught_by_the_checksum(get, site, validators, capsys):
    """It sends the rest of another file of the same length as if nothing had happened."""
    site.validators = validators
    with pytest.raises(AddressFailed):
        get("cut 300000", *["status 500"] * 9, sums={"md5": hashlib.md5(OTHER).hexdigest()})
    site.put("frames.bin", OTHER)
    assert get("careless", sums={"md5": hashlib.md5(OTHER).hexdigest()}).path.read_bytes() == OTHER
    assert "the parts do not fit together, it starts again" in capsys.readouterr().err


def test_another_length_than_before_is_another_file(get, site):
    with pytest.raises(AddressFailed):
        get("cut 300000", *["status 500"] * 9, sums={}, size=None)
    site.put("frames.bin", OTHER + b"more")
    assert get("careless", sums={}, size=None).path.read_bytes() == OTHER + b"more"


def test_a_file_that_became_shorter_starts_again(get, site):
    with pytest.raises(AddressFailed):
        get("cut 300000", *["status 500"] * 9, sums={}, size=None)
    site.put("frames.bin", OTHER[:1000])
    assert get("careless", sums={}, size=None).path.read_bytes() == OTHER[:1000]


def test_without_any_way_to_notice_a_change_nothing_is_continued(get, site):
    site.validators = False
    assert get("cut 300000", sums={}).path.read_bytes() == CONTENT
    assert site.ranges == ["", ""]


def test_a_weak_etag_is_not_relied_on(get, site):
    """It may stay the same while bytes change; the date of the last change stands in for it."""
    site.weak = True
    assert get("cut 300000", sums={}).path.read_bytes() == CONTENT
    assert site.asked[1][1]["If-Range"] == "Wed, 10 Feb 2021 00:00:00 GMT"


def test_lengths_that_go_up_and_down_are_no_progress(get, site):
    site.validators = False
    with pytest.raises(AddressFailed, match=r"\(4 times in a row\)"):
        get(*["cut 300000", "cut 100000"] * 10, sums={})


def test_a_part_that_is_whole_already_needs_no_byte_more(get, tmp_path, site):
    (tmp_path / "frames.bin.part").write_bytes(CONTENT)
    assert get().path.read_bytes() == CONTENT
    assert site.ranges == ["bytes=700000-"]


def test_a_part_from_another_mirror_goes_on_when_a_checksum_is_known(get, tmp_path, site):
    (tmp_path / "frames.bin.part").write_bytes(CONTENT[:200_000])
    notes = {"address": "https://elsewhere.org/frames.bin", "etag": '"x"', "length": "700000"}
    (tmp_path / "frames.bin.part.json").write_text(json.dumps(notes))
    assert get().path.read_bytes() == CONTENT
    assert site.ranges == ["bytes=200000-"] and "If-Range" not in site.asked[0][1]


def test_a_wrong_checksum_throws_the_file_away(get, tmp_path, site):
    site.put("frames.bin", OTHER)
    with pytest.raises(
        AddressFailed, match=r"frames.bin: its md5 is [0-9a-f]{32}, published is [0-9a-f]{32}; it was"
    ):
        get()
    assert listing(tmp_path) == [] and len(site.asked) == 1


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (Size(699_999, True), "has 700000 bytes, published are 699999"),
        (Size(2**21, False, "2M"), "published are 2M"),
    ],
)
def test_another_size_than_published_is_refused_before_it_comes(get, tmp_path, size, problem):
    with pytest.raises(AddressFailed, match=problem):
        get(size=size)
    assert listing(tmp_path) == []


def test_more_than_published_is_cut_off(get, tmp_path):
    with pytest.raises(AddressFailed, match="sends more than 500000 bytes"):
        get("chunked", size=Size(500_000, True))
    assert listing(tmp_path) == []


@pytest.mark.parametrize(("play", "size"), [("promise 50", None), ("nolength 300000", SIZE)])
def test_a_server_that_always_lies_about_the_length_is_given_up(get, site, play, size):
    site.validators = False
    with pytest.raises(
        AddressFailed, match=r"the connection ended after \d+ of \d+ bytes \(4 times in a row\)"
    ):
        get(*[play] * 20, sums={}, size=size)
    assert len(site.asked) < 10


def test_without_length_and_checksum_nothing_is_claimed(get):
    assert get("nolength", sums={}, size=None).verified == ()


@pytest.mark.parametrize(
    ("play", "problem"),
    [
        ("status 404", "the server answers 404 Not Found; it may have moved"),
        ("status 403", "the server answers 403 Forbidden"),
        ("status 204", "answers 204 with nothing in it"),
        ("html", "answers with a web page instead of the file; open it in a browser"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(get, tmp_path, site, play, problem):
    with pytest.raises(AddressFailed, match=problem):
        get(play)
    assert len(site.asked) == 1 and listing(tmp_path) == []


def test_redirections_are_followed_with_the_range(get, site):
    place = site.put("store/frames.bin", CONTENT)
    assert get("cut 300000", f"moved {place}").path.read_bytes() == CONTENT
    assert site.ranges == ["", "bytes=300000-", "bytes=300000-"]


def test_without_internet_the_wait_is_short(get, tmp_path):
    with pytest.raises(
        AddressFailed, match=r"the connection broke .* \(2 times in a row\).*without internet use --from"
    ):
        get(address="http://127.0.0.1:9/frames.bin")
    assert listing(tmp_path) == []


def test_proxies_are_taken_from_the_environment(get, site, monkeypatch):
    monkeypatch.setenv("http_proxy", site.base)
    monkeypatch.setenv("no_proxy", "")
    assert get(address="http://data.example.org/frames.bin").path.read_bytes() == CONTENT
    assert site.asked[0][0] == "http://data.example.org/frames.bin"


def test_keys_in_an_address_are_not_written_down(get, tmp_path):
    with pytest.raises(AddressFailed) as caught:
        get("cut 300000", *["status 500"] * 9, address=f"{get.address}?key=secret")
    notes = (tmp_path / "frames.bin.part.json").read_text()
    assert "secret" not in str(caught.value) + notes
    assert get(address=f"{get.address}?key=secret").address == get.address


def test_a_length_that_nobody_published_is_compared_with_the_disk(get, tmp_path, monkeypatch):
    with pytest.raises(AddressFailed):
        get("cut 300000", *["status 500"] * 9)
    for free, message in ((399_999, "frames.bin.part: 400 kB are to come, 400 kB are free"), (400_000, "")):
        usage = namedtuple("usage", "total used free")(10**9, 0, free)
        monkeypatch.setattr("hpopt_lib.data.partial.shutil.disk_usage", lambda _path, usage=usage: usage)
        if message:
            with pytest.raises(HpoptError, match=message):
                get(size=None)
        else:
            assert get(size=None).path.read_bytes() == CONTENT


def test_a_full_disk_is_no_broken_connection(get, tmp_path, monkeypatch):
    import io

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open

    def opened(path, mode="r", *args, **kwargs):
        return Full(path, mode) if mode == "ab" else real(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(
        HpoptError, match="frames.bin.part: cannot be written: No space left on device; free some"
    ):
        get()
    monkeypatch.undo()
    assert get().path.read_bytes() == CONTENT
