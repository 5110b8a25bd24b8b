"""Profiles of clusters, the user's own, and the limits that requests are held against."""

from __future__ import annotations

import pytest

from hpopt_lib.cluster import settings
from hpopt_lib.cluster.request import server_request, worker_request
from hpopt_lib.cluster.settings import load_profile, parse_time, profiles
from hpopt_lib.errors import HpoptError


def own(home, text: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "cluster.toml").write_text(text, encoding="utf-8")


def test_packaged_profiles(home):
    found = profiles()
    assert set(found) == {"pace-ice", "generic-slurm", "pbs", "local"}
    pace = found["pace-ice"]
    assert (pace.max_hours_cpu, pace.max_hours_gpu, pace.max_cpu_hours, pace.max_gpu_hours) == (
        18,
        16,
        512,
        16,
    )
    server_request(pace)  # its own defaults must fit its limits
    worker_request(pace, workers=8)


def test_own_file_changes_and_adds(home):
    own(
        home,
        'profile = "ours"\n[pace-ice]\nqos = "coe-ice"\n[ours]\nlike = "pace-ice"\naccount = "group-7"\n',
    )
    assert load_profile("pace-ice").qos == "coe-ice"
    ours = load_profile()
    assert (ours.name, ours.account, ours.max_gpu_hours) == ("ours", "group-7", 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pace-ice]\ntyme = '1:00:00'\n", "[pace-ice] tyme = '1:00:00': no such field; use about, launcher"),
        ("[pace-ice]\nsignal_s = '60'\n", "signal_s = '60': not a number of at least 0"),
        ("[pace-ice]\nmax_array = 1.5\n", "max_array = 1.5: not a number"),
        ("[pace-ice]\nmodules = 'cuda'\n", "modules = 'cuda': not a list of texts"),
        ("[pace-ice]\ntime = '90'\n", "[pace-ice] time '90': not a time; write hours:minutes:seconds"),
        ("[pace-ice]\nlauncher = 'lsf'\n", "launcher = 'lsf': unknown; use slurm, pbs, local"),
        ("[pace-ice]\ngpu_option = '--gres={kind}'\n", "gpu_option = '--gres={kind}': not a pattern"),
        ("[ours]\nlike = 'lsf'\n", "[ours] like: no profile 'lsf'"),
        ("qos = 'x'\n", "qos = 'x': belongs to no profile"),
        ("[pace-ice\n", "cannot be read"),
    ],
)  # fmt: skip
def test_mistakes_are_named(home, text, said):
    own(home, text)
    with pytest.raises(HpoptError) as caught:
        profiles()
    assert said in str(caught.value) and "cluster.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_profile_is_found_by_the_host(home, monkeypatch):
    monkeypatch.setattr(settings.socket, "gethostname", lambda: "login-ice-2")
    monkeypatch.setattr(settings.socket, "getfqdn", lambda: "login-ice-2.pace.gatech.edu")
    assert load_profile().name == "pace-ice"
    assert load_profile().is_login_node()
    assert not load_profile().is_login_node("atl1-1-03-004-1-0.pace.gatech.edu")
    monkeypatch.setattr(settings.socket, "gethostname", lambda: "laptop")
    monkeypatch.setattr(settings.socket, "getfqdn", lambda: "laptop")
    monkeypatch.setattr(settings.shutil, "which", lambda name: None)
    assert load_profile().name == "local"
    monkeypatch.setattr(settings.shutil, "which", lambda name: name if name == "qsub" else None)
    assert load_profile().name == "pbs"
    monkeypatch.setenv("HPOPT_PROFILE", "generic-slurm")
    assert load_profile().name == "generic-slurm"


def test_unknown_profile(home):
    with pytest.raises(HpoptError, match="--profile: 'nersc' is unknown; use pace-ice, generic-slurm"):
        load_profile("nersc")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"workers": 24, "per_job": 24, "time": "24:00:00"}, "24 cores x 24 h = 576 CPU-hours, profile pace-ice allows 512; ask for at most 18:00:00"),
        ({"workers": 40, "per_job": 40, "time": "18:00:00"}, "40 cores x 18 h = 720 CPU-hours, profile pace-ice allows 512; ask for at most 12:48:00"),
        ({"workers": 1, "time": "18:00:01"}, "profile pace-ice allows 18 h for a job without a GPU"),
        ({"workers": 1, "gpu": "V100", "time": "17:00:00"}, "1 GPUs x 17 h = 17 GPU-hours, profile pace-ice allows 16; ask for at most 16:00:00"),
        ({"workers": 600}, "600 jobs in one array: profile pace-ice allows 500"),
        ({"workers": 0}, "--workers 0"),
        ({"workers": 4, "per_job": 0}, "--workers-per-job 0"),
        ({"workers": 4, "gpu": "K80"}, "--gpu K80: profile pace-ice has no such GPU"),
        ({"workers": 4, "time": "soon"}, "--time 'soon': not a time"),
    ],
)  # fmt: skip
def test_requests_above_the_limits(home, asked, said):
    with pytest.raises(HpoptError) as caught:
        worker_request(load_profile("pace-ice"), **asked)
    assert said in str(caught.value)


def test_requests_at_the_limits(home):
    pace = load_profile("pace-ice")
    assert worker_request(pace, workers=28, per_job=28, time="18:00:00").cpus == 28  # 504 CPU-hours
    gpu = worker_request(pace, workers=8, per_job=4, gpu="a100", time="16:00:00")
    assert (gpu.gpu_type, gpu.gpus, gpu.tasks, gpu.cpus, gpu.memory_mb) == ("A100", 1, 2, 4, 8000)
    assert worker_request(pace, workers=9, per_job=4).tasks == 3


@pytest.mark.parametrize(("text", "seconds"), [("0:01:00", 60), ("1-00:00:00", 86400), ("100:00:00", 360000)])
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "1:60:00", "0:00:10", "1:2:3", "-1:00:00"])
def test_bad_times(text):
    with pytest.raises(HpoptError, match="--time"):
        parse_time(text)
