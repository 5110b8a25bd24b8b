"""The search space: what a user can write, what is refused, and what is drawn."""

from __future__ import annotations

import optuna
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.tuning.space_file import DEFAULT_SPACE, load_space, parse_assignments, parse_space

CONDITIONAL = """
[schedule]
type = "categorical"
choices = ["step", "cosine", "constant"]
[gamma]
type = "float"
low = 0.1
high = 0.9
when = { schedule = ["step", "constant"] }
[lr]
type = "float"
low = 1e-4
high = 1e-1
log = true
[num_layers]
type = "int"
low = 1
high = 9
step = 2
"""


def draws(text: str, n: int = 200, **fixed) -> list[dict]:
    space = parse_space(text, where="test", fixed=fixed)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(n)]


def test_the_default_space_gives_valid_settings_only():
    space = load_space()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    settings = [TrainSettings.from_dict(space.suggest(study.ask())) for _ in range(100)]
    assert {s.schedule for s in settings} == {"cosine", "step", "constant"}
    assert space.text == DEFAULT_SPACE.read_text(encoding="utf-8") and space.is_conditional


def test_conditional_parameters_are_drawn_only_when_due():
    for values in draws(CONDITIONAL):
        assert ("gamma" in values) == (values["schedule"] in ("step", "constant"))


def test_a_log_range_is_drawn_evenly_in_its_logarithm():
    lr = [values["lr"] for values in draws(CONDITIONAL, 600)]
    assert min(lr) >= 1e-4 and max(lr) <= 1e-1
    thirds = [sum(low <= x < 10 * low for x in lr) for low in (1e-4, 1e-3, 1e-2)]
    assert all(150 < count < 250 for count in thirds)


def test_steps_and_both_ends():
    assert {values["num_layers"] for values in draws(CONDITIONAL)} == {1, 3, 5, 7, 9}


def test_fixed_values_leave_the_space_and_steer_conditions():
    values = draws(CONDITIONAL, 20, schedule="step", lr=0.01)
    assert all(v["lr"] == 0.01 and v["schedule"] == "step" and "gamma" in v for v in values)
    space = parse_space(CONDITIONAL, where="test", fixed={"schedule": "cosine"})
    assert space.names == ["gamma", "lr", "num_layers"]
    assert all("gamma" not in v for v in draws(CONDITIONAL, 20, schedule="cosine"))
    without = CONDITIONAL[CONDITIONAL.index("[gamma]") :]  # the condition may be on a fixed value alone
    assert all("gamma" in v for v in draws(without, 5, schedule="step"))


def test_grids():
    space = parse_space(CONDITIONAL, where="test")
    grids = {p.name: p.grid(3) for p in space.parameters}
    assert grids["schedule"] == ["step", "cosine", "constant"]
    assert grids["gamma"] == pytest.approx([0.1, 0.5, 0.9])
    assert grids["lr"] == pytest.approx([1e-4, 10**-2.5, 1e-1])
    assert grids["num_layers"] == [1, 3, 5, 7, 9]
    assert parse_space("[num_nodes]\ntype='int'\nlow=1\nhigh=2", where="t").parameters[0].grid(5) == [1, 2]


def test_largest_values():
    space = parse_space(CONDITIONAL, where="test", fixed={"epochs": 7})
    assert (space.largest("num_layers"), space.largest("epochs"), space.largest("num_nodes")) == (9, 7, None)
    assert parse_space("[epochs]\ntype='categorical'\nchoices=[3, 9, 4]", where="t").largest("epochs") == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[lr", "f.toml: not valid TOML: .*; see the comments"),
        ("", "f.toml: no parameter left to search"),
        ("[learning_rate]\ntype='float'\nlow=1\nhigh=2", "f.toml: 'learning_rate' is unknown; the hyperparameters are"),
        ("lr = 3", "f.toml: lr: type: None is unknown; use float, int, categorical"),
        ("[lr]\ntype='real'\nlow=1\nhigh=2", "f.toml: lr: type: 'real' is unknown"),
        ("[lr]\ntype='float'\nlow=1", "f.toml: lr: high: None is not a number"),
        ("[lr]\ntype='float'\nlow='a'\nhigh=2", "f.toml: lr: low: 'a' is not a number"),
        ("[lr]\ntype='float'\nlow=true\nhigh=2", "f.toml: lr: low: True is not a number"),
        ("[lr]\ntype='float'\nlow=0.1\nhigh=0.01", "f.toml: lr: low 0.1 is above high 0.01; swap them"),
        ("[lr]\ntype='float'\nlow=nan\nhigh=0.01", "f.toml: lr: low nan is above high"),
        ("[lr]\ntype='float'\nlow=1e-3\nhigh=inf", "f.toml: lr: lr: inf is out of range"),
        ("[lr]\ntype='float'\nlow=1e-3\nhigh=50.0", "f.toml: lr: lr: 50.0 is out of range; give 1e-09 to 10.0"),
        ("[weight_decay]\ntype='float'\nlow=0.0\nhigh=1\nlog=true", "f.toml: weight_decay: low: 0.0 with log = true"),
        ("[lr]\ntype='float'\nlow=0.1\nhigh=1\nlog='yes'", "f.toml: lr: log: 'yes'; give true or false"),
        ("[lr]\ntype='float'\nlow=0.1\nhigh=1\nlog=true\nstep=0.1", "f.toml: lr: step: not possible with log"),
        ("[lr]\ntype='float'\nlow=0.1\nhigh=1\nstep=0", "f.toml: lr: step: 0; give a positive number"),
        ("[lr]\ntype='float'\nlow=0.1\nhigh=1\nchoices=[1]", "f.toml: lr: 'choices' is unknown; a float has"),
        ("[num_layers]\ntype='int'\nlow=1.0\nhigh=3", "f.toml: num_layers: low: 1.0 is not a number of type int"),
        ("[num_layers]\ntype='float'\nlow=1\nhigh=3", "f.toml: num_layers: num_layers: 1.0 is not of type int"),
        ("[num_layers]\ntype='int'\nlow=0\nhigh=3", "f.toml: num_layers: num_layers: 0 is out of range"),
        ("[loss]\ntype='categorical'\nchoices=[]", r"f.toml: loss: choices: \[\]"),
        ("[loss]\ntype='categorical'\nchoices='mae'", "f.toml: loss: choices: 'mae'"),
        ("[loss]\ntype='categorical'\nchoices=['mae', 'rmse']", "f.toml: loss: choices: loss: 'rmse' is unknown"),
        ("[gamma]\ntype='float'\nlow=0.1\nhigh=1\nwhen={schedule='step'}", "gamma: when: 'schedule' does not stand above"),
        ("[gamma]\ntype='float'\nlow=0.1\nhigh=1\nwhen='step'", "f.toml: gamma: when: 'step'; write when ="),
        (CONDITIONAL.replace('["step", "constant"]', '"stepp"'), "gamma: when: schedule: 'stepp' is unknown"),
    ],
)  # fmt: skip
def test_spaces_that_are_refused(tmp_path, text, message):
    path = tmp_path / "f.toml"
    path.write_text(text)
    with pytest.raises(HpoptError, match=message) as raised:
        load_space(path)
    assert raised.value.remedy


def test_files_that_cannot_be_read(tmp_path):
    binary = tmp_path / "space.toml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    for path, message in (
        (tmp_path / "no.toml", "no.toml: cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (binary, "space.toml: not a text file"),
    ):
        with pytest.raises(HpoptError, match=message):
            load_space(path)


def test_fixing_everything_leaves_nothing_to_search():
    with pytest.raises(HpoptError, match="no parameter left to search; .*fix fewer with --set"):
        parse_space("[lr]\ntype='float'\nlow=0.1\nhigh=1", where="t", fixed={"lr": 0.2})


def test_assignments():
    found = parse_assignments(["lr=1e-3", "schedule=step", "num_layers = 2", 'loss="mae"', "gamma=1"])
    assert found == {"lr": 1e-3, "schedule": "step", "num_layers": 2, "loss": "mae", "gamma": 1.0}
    assert isinstance(found["gamma"], float) and parse_assignments([]) == {}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("lr", "--set: 'lr' has no '='; write name=value"),
        ("rate=1", "--set: 'rate' is unknown; the hyperparameters are"),
        ("lr=fast", "lr: 'fast' is not of type float"),
        ("lr=", "lr: '' is not of type float"),
        ("lr=0", "lr: 0.0 is out of range"),
        ("num_layers=2.5", "num_layers: 2.5 is not of type int"),
        ("epochs=[1, 2]", r"epochs: \[1, 2\] is not of type int"),
    ],
)
def test_assignments_that_are_refused(assignment, message):
    with pytest.raises(HpoptError, match=message):
        parse_assignments([assignment])
