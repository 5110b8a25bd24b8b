"""Titles, alternative texts and captions of a report's figures."""

from __future__ import annotations

from collections.abc import Mapping

#: Figures whose interactive version needs more than a phone's width.
WIDE = ("parallel", "slice")

#: Title, what the figure is in words for those who cannot see it, and caption.
TEXTS: Mapping[str, tuple[str, str, str]] = {
    "history": (
        "Optimisation history",
        "{label} by trial, with the best value so far as a line of steps",
        "{label} of every completed trial, and the best so far. Pruned trials stand at their last report, "
        "which is not a result (static version).",
    ),
    "intermediate": (
        "Intermediate values",
        "{label} by {step}, one line for each trial",
        "{label} by {step}: the best trial red, completed ones blue, pruned ones orange and cut short.",
    ),
    "front": (
        "Front",
        "error in domain against the worst error out of domain of every completed trial, the front in colour",
        "Every completed trial by its first two objectives; those on the front are coloured by the third, "
        "and the points with a name are circled. Very bad trials lie outside.",
    ),
    "timeline": (
        "Timeline",
        "when each trial ran, coloured by its state",
        "When each trial ran. Gaps are time without work; bars above one another are parallel workers.",
    ),
    "importances": (
        "Importances",
        "importance of each hyperparameter by fANOVA and by PED-ANOVA, with intervals",
        "Share of each hyperparameter in the variation of the objective: mean and 10th to 90th percentile "
        "over bootstrap resamples of the trials. fANOVA looks at the whole space and leaves out conditional "
        "parameters; PED-ANOVA asks what tells the best trials from the rest. Where they disagree, trust "
        "neither.",
    ),
    "parallel": (
        "Parallel coordinates",
        "every completed trial as a line through its hyperparameters",
        "Every completed trial as a line through all its hyperparameters; dark lines are good trials "
        "(interactive version: red ones). A conditional parameter that was not drawn leaves a gap "
        "(interactive version: None).",
    ),
    "slice": (
        "Slices",
        "{label} against each hyperparameter",
        "{label} against each hyperparameter. Later trials are darker (interactive version: redder). The "
        "other hyperparameters differ from dot to dot.",
    ),
    "contour": (
        "Two hyperparameters",
        "{label} over the two most important numbers",
        "{label} over the two most important numeric hyperparameters, interpolated between the trials "
        "(circles). All other hyperparameters vary too: a shadow of the surface, not a cut through it.",
    ),
    "error_by_split": (
        "Error by split",
        "energy MAE on every split, of the model and of both baselines",
        "Energy MAE of the final model on every split beside the two baselines; faint dots are single seeds.",
    ),
    "parity": (
        "Parity",
        "predicted against reference energies, one panel for each split",
        "Predicted against reference energy per atom of the first seed's model, both relative to the linear "
        "baseline: on the diagonal the model is exact, on the dashed line no better than the baseline.",
    ),
    "learning_curves": (
        "Learning curves of the final trainings",
        "training loss and validation error by epoch",
        "Training loss (left) and validation error (right) of the final trainings, each in its own unit; the "
        "dot marks the epoch whose weights were kept.",
    ),
}
