"""The report of a study: what it says, that it stands alone, and that nothing makes it fall over."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from synthetic_studies import add, empty_study, final_record, usual_study

from hpopt_lib.errors import HpoptError
from hpopt_lib.report.document import escape_markdown, to_markdown
from hpopt_lib.report.document_html import inline
from hpopt_lib.report.study_report import report_blocks, write_report
from hpopt_lib.report.study_verdicts import final_verdicts, search_verdicts

FIGURES = ["history", "intermediate", "timeline", "importances", "parallel", "slice", "contour"]
FINAL_FIGURES = ["error_by_split", "parity", "learning_curves"]


class Resources(HTMLParser):
    """Everything that a browser would fetch, and what the page shows as text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.styles = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "background") or (name == "href" and tag != "a"):
                self.fetched.append(value or "")
            if name == "style":
                self.styles += value or ""

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["style"]:
            self.styles += data
        elif self.tags[-1:] != ["script"]:
            self.text += data


def read(path: Path) -> Resources:
    parsed = Resources()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, store_path: Path) -> tuple[optuna.Study, Path, Path]:
    """A study of three trials on slabs with EMT energies, its final model and its report."""
    from hpopt_lib.tuning.config import StudyConfig
    from hpopt_lib.tuning.final import final_model
    from hpopt_lib.tuning.study import tune

    folder = tmp_path_factory.mktemp("real")
    space = '[lr]\ntype = "float"\nlow = 1e-3\nhigh = 1e-1\nlog = true\n[num_nodes]\ntype = "int"\nlow = 2\nhigh = 8\n'
    config = StudyConfig(
        store=str(store_path),
        space=space,
        validation="val",
        fixed={"epochs": 3, "num_layers": 1},
    )
    study = tune("real", config, trials=4, storage=f"sqlite:///{folder}/h.db")
    final_model(study, folder / "final", seeds=2)
    write_report(study, folder / "report", final_dir=folder / "final")
    return study, folder / "final", folder / "report"


def test_a_real_study_gives_a_whole_report(real):
    study, _, report = real
    page = (report / "report.md").read_text(encoding="utf-8")
    assert page.startswith("# Study `real`\n")
    links = re.findall(r"!\[([^\]]+)\]\((figures/[a-z_]+\.png)\)", page)
    assert [Path(link).stem for _, link in links] == FINAL_FIGURES + FIGURES
    assert all((report / link).read_bytes().startswith(b"\x89PNG") and len(alt) > 20 for alt, link in links)
    assert sorted(path.name for path in report.iterdir()) == ["figures", "report.html", "report.md"]
    assert f"The best trial is number {study.best_trial.number}: validation energy MAE" in page
    assert f"{study.best_value:.4g} meV/atom" in page
    for split in ("val", "ood"):
        assert re.search(
            rf"On `{split}` the model's MAE is [\d.]+ ± [\d.]+ meV/atom and the linear baseline's", page
        )
    assert "mean ± standard deviation over 2 seeds" in page and "[num_nodes]" in page
    assert "hpopt " in page and "optuna 5" in page and "tpe" in page


def test_the_standalone_page_fetches_nothing(real):
    _, _, report = real
    html = (report / "report.html").read_text(encoding="utf-8")
    parsed = read(report / "report.html")
    assert parsed.fetched and all(source.startswith("data:image/png;base64,") for source in parsed.fetched)
    assert "link" not in parsed.tags and "iframe" not in parsed.tags
    assert "url(" not in parsed.styles and "@import" not in parsed.styles
    assert "http" not in parsed.text and "http" not in parsed.styles
    assert html.count("* plotly.js v") == 1
    assert parsed.tags.count("figure") == len(FINAL_FIGURES + FIGURES)
    assert len(re.findall(r'<div class="book-plotly"', html)) == len(FIGURES)
    assert 'name="viewport"' in html and "prefers-color-scheme" in html


def test_an_existing_output_is_refused_and_kept(real, tmp_path):
    study, final, report = real
    before = (report / "report.md").read_text(encoding="utf-8")
    with pytest.raises(HpoptError, match="exists already"):
        write_report(study, report, final_dir=final)
    assert (report / "report.md").read_text(encoding="utf-8") == before
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.tex").write_text("years of work")
    with pytest.raises(HpoptError, match="not a report"):
        write_report(study, precious, overwrite=True)
    assert (precious / "chapter.tex").read_text() == "years of work"


def test_overwriting_leaves_no_figure_of_the_older_report(tmp_path):
    write_report(usual_study(5), tmp_path / "r")
    assert (tmp_path / "r" / "figures" / "contour.png").exists()
    lone = empty_study()
    add(lone, 5.0)
    paths = write_report(lone, tmp_path / "r", overwrite=True)
    assert not (tmp_path / "r" / "figures" / "contour.png").exists()
    assert all(path.exists() for path in paths)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r"]


def test_a_final_model_of_another_study_or_damaged_is_refused(real, tmp_path):
    study, final, _ = real
    with pytest.raises(HpoptError, match="of study 'real', not of 'tiny'"):
        write_report(usual_study(3), tmp_path / "r", final_dir=final)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(HpoptError, match="damaged"):
        write_report(study, tmp_path / "r", final_dir=tmp_path)
    assert not (tmp_path / "r").exists()


def test_a_lost_store_costs_only_the_parity_plot(real):
    _, final, _ = real
    study = empty_study(name="real")
    for value in (5.0, 4.0, 6.0):
        add(study, value)
    page = to_markdown(report_blocks(study, final_dir=final))
    assert "**Parity** cannot be drawn" in page and "missing.lmdb" in page
    assert "(figures/error_by_split.png)" in page


@pytest.mark.parametrize("state", [None, TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE])
def test_poor_studies_give_a_report_with_reasons(state):
    study = empty_study()
    if state is not None:
        add(study, 4.0, state=state)
    page = to_markdown(report_blocks(study))
    assert "There is no final model yet" in page and "hpopt tune missing.lmdb --study tiny --trials N" in page
    assert "**Importances**: An importance needs 4 completed trials" in page
    assert "**Two hyperparameters**: A contour plot needs" in page
    if state is TrialState.FAIL:
        assert "none recorded" in page
    if state is TrialState.PRUNED:
        assert "1 of 1 trials was pruned" in page
    if state is not TrialState.COMPLETE:
        assert "No trial is complete" in page


def test_failures_are_listed_with_their_reasons():
    page = to_markdown(report_blocks(usual_study(3)))
    assert re.search(r"\| 5 \| training: the loss is not finite in epoch 1", page)
    assert (
        "2 of 6 trials were pruned, after 1 to 2 epochs; at 4 epochs for a whole trial, that saved 5" in page
    )


def test_a_foreign_study_gets_a_report_from_its_trials_alone():
    study = usual_study(5, foreign=True)
    page = to_markdown(report_blocks(study))
    assert "objective value" in page and "meV/atom" not in page
    assert "not made by `hpopt tune`" in page and "(figures/history.png)" in page and "step" in page


def test_several_objectives_are_refused(tmp_path):
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(HpoptError, match="2 objectives"):
        write_report(study, tmp_path / "r")


def test_verdicts_follow_the_numbers():
    best_at_edge = empty_study()
    add(best_at_edge, 9.0, params={"lr": 1e-2, "num_layers": 2})
    add(best_at_edge, 8.0, params={"lr": 1e-3, "num_layers": 3})
    add(best_at_edge, 4.0, params={"lr": 1e-1, "num_layers": 3})
    text = " ".join(search_verdicts(best_at_edge))
    assert "`lr` = 0.1 of the best trial lies at the upper edge of its range (0.0001 to 0.1)" in text
    assert "num_layers" not in text and "still improving" in text and "50% below" in text
    add(best_at_edge, 2.0, params={"lr": 1e-2, "num_layers": 3})
    add(best_at_edge, 3.0, params={"lr": 1e-2, "num_layers": 3})
    text = " ".join(search_verdicts(best_at_edge))
    assert (
        "No number of the best trial lies at an edge" in text and "last 1 completed trial brought no" in text
    )


def test_verdicts_on_the_final_model_follow_the_numbers():
    sentences = final_verdicts(final_record())
    assert (
        "On `val` the model's MAE is 12.0 ± 2.0 meV/atom and the linear baseline's 30.0: better with every"
        in sentences[0]
    )
    assert "better with 1 of 3 seeds, so not told apart" in sentences[1]
    assert "**not better with any seed**" in sentences[2]
    assert "within two standard deviations" in sentences[3]
    assert "`val_far`: its error is 7.58 times" in sentences[4]
    lucky = {**final_record(), "tuned_error": 5.0}
    assert "the trial was lucky" in " ".join(final_verdicts(lucky))
    assert "One seed cannot tell" in " ".join(final_verdicts(final_record(seeds=1)))


def test_names_that_look_like_markup_stay_text(tmp_path):
    study = empty_study(name="<b>`x`</b> $a$ | ../")
    add(study, None, state=TrialState.FAIL, failure="<script>alert(1)</script> | $x$ `y` *z*")
    page, html, *_ = write_report(study, tmp_path / "r")
    assert r"\<script\>alert(1)\</script\> \| \$x\$ \`y\` \*z\*" in page.read_text(encoding="utf-8")
    parsed = read(html)
    assert "<script>alert(1)</script> | $x$ `y` *z*" in parsed.text and parsed.tags.count("b") == 0
    assert escape_markdown("num_layers _a_") == r"num_layers \_a\_"
    assert inline("**a** `<b>` & c") == "<strong>a</strong> <code>&lt;b&gt;</code> &amp; c"


def test_the_command_writes_the_report_and_names_what_it_wrote(real, monkeypatch, tmp_path):
    from click.testing import CliRunner

    from hpopt_lib.cli import main

    _, final, report = real
    monkeypatch.chdir(tmp_path)
    storage = f"sqlite:///{report.parent}/h.db"
    done = CliRunner().invoke(main, ["report", "real", "--storage", storage, "--final", str(final)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[:2] == ["real-report/report.md", "real-report/report.html"]
    assert Path("real-report/figures/parity.png").is_file()
