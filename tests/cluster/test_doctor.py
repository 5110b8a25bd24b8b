"""`hpopt pace doctor`, and login nodes on which nothing heavy runs."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from hpopt_lib.cli import main
from hpopt_lib.cluster import doctor, server_programs
from hpopt_lib.cluster.settings import ClusterProfile, load_profile
from hpopt_lib.errors import HpoptError
from hpopt_lib.tuning.endpoint import Endpoint, register_server, write_endpoint


def findings(profile: ClusterProfile, **options) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.examine(profile, **options)}


def no_program():
    raise HpoptError("no server program", remedy="load a module")


def test_login_node_is_refused(home, monkeypatch):
    monkeypatch.setattr(doctor.socket, "gethostname", lambda: "login-ice-1")
    pace = load_profile("pace-ice")
    with pytest.raises(
        HpoptError, match=r"login-ice-1: a login node \(pace-ice\), where hpopt tune would.*pace submit"
    ):
        doctor.refuse_login_node(pace, what="hpopt tune")
    monkeypatch.setenv("HPOPT_ALLOW_LOGIN_NODE", "1")
    doctor.refuse_login_node(pace)
    monkeypatch.delenv("HPOPT_ALLOW_LOGIN_NODE")
    doctor.refuse_login_node(load_profile("local"))
    monkeypatch.setattr(doctor.socket, "gethostname", lambda: "atl1-1-03-004")
    doctor.refuse_login_node(pace)


def test_local_is_healthy(home):
    found = findings(load_profile("local"))
    failed = [str(f) for f in found.values() if f.state == "fail" and f.what != "database"]
    assert not failed
    assert found["optuna"].state == "ok" and found["TMPDIR"].state in ("ok", "warn")


def test_what_is_missing_is_said_with_its_remedy(home, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(server_programs, "find_program", no_program)
    profile = ClusterProfile("x", modules=("no-such-module",), quota_command="pace-quota")
    found = findings(profile)
    assert found["sbatch"].state == "fail" and "--profile local" in found["sbatch"].remedy
    assert found["modules"].state == "fail" and "cluster.toml" in found["modules"].remedy
    assert found["quota"].state == "warn"
    assert found["database"].state == "fail" and found["database"].remedy == "load a module"


def test_quota_is_shown(home, monkeypatch, tmp_path):
    (tmp_path / "pace-quota").write_text("#!/bin/sh\necho 'home 3 of 30 GB'\n")
    (tmp_path / "pace-quota").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert findings(ClusterProfile("x", quota_command="pace-quota"))["quota"].text == "home 3 of 30 GB"


def test_servers(home, tmp_path):
    register_server("down", tmp_path / "down")
    (tmp_path / "down").mkdir()
    register_server("dead", tmp_path / "dead")
    (tmp_path / "dead").mkdir()
    write_endpoint(tmp_path / "dead", Endpoint("127.0.0.1", 1, "u", "geheim", "d", node="n1"))
    found = findings(load_profile("local"))
    assert found["server down"].state == "ok"
    assert found["server dead"].state == "fail" and "geheim" not in str(found["server dead"])
    assert "server dead" not in findings(load_profile("local"), server="down")


def test_exit_status(home, monkeypatch, tmp_path):
    lines = [doctor.Finding("ok", "a", "b"), doctor.Finding("warn", "c", "d", "do e")]
    monkeypatch.setattr(doctor, "examine", lambda profile, server=None: iter(lines))
    result = CliRunner().invoke(main, ["pace", "doctor", "--profile", "local"])
    assert result.exit_code == 0 and "warn  c: d; do e" in result.output
    lines.append(doctor.Finding("fail", "f", "g"))
    assert CliRunner().invoke(main, ["pace", "doctor", "--profile", "local"]).exit_code == 1
