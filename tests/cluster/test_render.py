"""The job scripts: what stands in pace_jobs, what a submission makes of the templates, and how it is quoted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hpopt_lib.cluster.render import default_scripts, render, setting_names, template_names, values_for
from hpopt_lib.cluster.request import Request, worker_request
from hpopt_lib.cluster.settings import ClusterProfile, load_profile
from hpopt_lib.errors import HpoptError

JOBS = Path(__file__).resolve().parents[2] / "pace_jobs"
#: What Slurm and PBS know, of which scripts use these.
SBATCH = {
    "job-name", "array", "nodes", "ntasks", "cpus-per-task", "mem", "mem-per-cpu", "time", "signal", "requeue",
    "open-mode", "output", "gres", "account", "qos", "constraint", "dependency",
}  # fmt: skip


def directives(text: str, mark: str) -> list[str]:
    """The options of a script, as a scheduler reads them: up to the first command."""
    found = []
    for line in text.splitlines():
        if line.startswith(mark):
            found.append(line.removeprefix(mark).strip())
        elif line and not line.startswith("#"):
            break
    assert text.count(f"\n{mark} ") == len(found), "an option below the first command is not read"
    return found


def parse_pbs(text: str) -> dict[str, list[str]]:
    """Options of a PBS script; fails on what PBS would not take."""
    options: dict[str, list[str]] = {}
    for line in directives(text, "#PBS"):
        match = re.fullmatch(r"-([A-Za-z])(?: (\S.*))?", line)
        assert match, line
        options.setdefault(match[1], []).append(match[2] or "")
    for resource in options["l"]:
        for part in resource.split(","):
            assert re.fullmatch(
                r"nodes=\d+:ppn=\d+(:gpus=\d+)?|mem=\d+(mb|gb)|walltime=\d+:\d\d:\d\d", part
            ), part
    assert re.fullmatch(r"[A-Za-z][\w.-]{0,62}", options["N"][0])
    return options


def test_pace_jobs_are_the_templates_with_default_values(home):
    made = default_scripts()
    here = {str(path.relative_to(JOBS)) for folder in ("slurm", "pbs") for path in (JOBS / folder).iterdir()}
    assert here == set(made)
    for name, text in made.items():
        assert (JOBS / name).read_text(encoding="utf-8") == text, f"{name}: run hpopt pace render"


@pytest.mark.parametrize(
    "name", [f"{'pbs' if n.endswith('.pbs') else 'slurm'}/{n}" for n in template_names()]
)
def test_scripts_are_sound(home, name):
    text = default_scripts()[name]
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr
    assert text.startswith("#!/bin/bash\n") and "set -euo pipefail" in text
    assert not re.search("@[A-Z_]+@", text)
    assert not re.search("password *=|passwd|PASSWORD", text)
    assert max(map(len, text.splitlines())) <= 130
    if name.endswith(".sbatch"):
        options = [re.match(r"--([a-z-]+)", line)[1] for line in directives(text, "#SBATCH")]
        assert set(options) <= SBATCH and len(options) == len(set(options))
        assert "umask 077" in text
    if name.endswith(".pbs"):
        assert not {"q", "A", "p"} & set(parse_pbs(text))


def test_server_outlives_workers(home):
    scripts = default_scripts()
    times = {
        name: re.search(r"--time=(\S+)", scripts[f"slurm/{name}.sbatch"])[1] for name in ("server", "workers")
    }
    assert times["server"] > times["workers"]
    for name in ("server", "workers"):
        text = scripts[f"slurm/{name}.sbatch"]
        assert "#SBATCH --signal=B:USR1@120" in text and "#SBATCH --requeue" in text
        assert "CONT'" not in text and " CONT\n" not in text, "trapping CONT loses the other signal"


def test_values_of_a_submission(home):
    profile = ClusterProfile(
        "x",
        account="acct",
        qos="q",
        options=("--constraint=amd",),
        modules=("python/3.11", "cuda"),
        signal_s=90,
    )
    request = worker_request(profile, workers=8, per_job=4, gpu="H100", time="2:00:00")
    text = render(
        "workers.sbatch", values_for(profile, request, STUDY="it's a {study} $HOME", LOGS="/s/logs/")
    )
    options = directives(text, "#SBATCH")
    for option in (
        "--account=acct", "--qos=q", "--constraint=amd", "--gres=gpu:H100:1", "--array=1-2", "--cpus-per-task=4",
        "--mem=8000M", "--time=02:00:00", "--signal=B:USR1@90", "--output=/s/logs/%x-%A_%a.log",
    ):  # fmt: skip
        assert option in options
    head = text.partition("# -----")[0]
    shown = subprocess.run(
        ["bash", "-c", head + '\nprintf "%s|%s|%s|%s" "$STUDY" "$WORKERS" "$DEVICE" "$MODULES"'],
        capture_output=True, text=True, check=True, env={"HOME": "/h", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    assert shown == "it's a {study} $HOME|4|cuda|python/3.11 cuda"


def test_settings_can_be_set_from_outside(home):
    text = render("workers.sbatch", values_for(ClusterProfile("x"), Request(3600), STUDY="inside"))
    head = text.partition("# -----")[0]
    shown = subprocess.run(
        ["bash", "-c", head + '\necho "$STUDY $STORAGE"'], capture_output=True, text=True, check=True,
        env={"HOME": "/h", "STUDY": "outside", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    assert shown == "outside team\n"
    assert {"STUDY", "STORAGE", "STORE", "WORKERS", "SERVER"} <= setting_names()


def test_any_gpu(home):
    pace = load_profile("pace-ice")
    values = values_for(pace, worker_request(pace, workers=1, gpu="any"))
    assert "#SBATCH --gres=gpu:1\n" in render("workers.sbatch", values)


def test_pbs(home):
    profile = ClusterProfile(
        "x", launcher="pbs", account="acct", qos="long", gpu_option=":gpus={count}", array_option="-J"
    )
    request = worker_request(profile, workers=6, per_job=2, gpu="any", time="3:00:00")
    options = parse_pbs(render("workers.pbs", values_for(profile, request, LOG_FOLDER="/s/logs/")))
    assert options["J"] == ["1-3"] and options["A"] == ["acct"] and options["q"] == ["long"]
    assert options["l"] == ["nodes=1:ppn=2:gpus=1", "mem=4000mb", "walltime=03:00:00"]
    assert options["o"] == ["/s/logs/"]
    assert "STOP_AFTER:-10680}" in render("workers.pbs", values_for(profile, request))


def test_a_line_break_cannot_add_an_option(home):
    values = values_for(ClusterProfile("x"), Request(3600), STUDY="a\n#SBATCH --account=b")
    with pytest.raises(HpoptError, match="study: has a line break in it"):
        render("workers.sbatch", values)


def test_templates_are_in_the_package():
    assert {
        "workers.sbatch",
        "server.sbatch",
        "workers.pbs",
        "server.pbs",
        "interactive_gpu.sh",
        "book.sbatch",
    } <= set(template_names())
