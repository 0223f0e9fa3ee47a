"""Experiments: what a recurrent network does, shown in minutes, with a table and a figure."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ostinato.errors import SettingsError, nearest

if TYPE_CHECKING:
    from ostinato.experiments.frame import Experiment

EXPERIMENTS = {
    "vanishing": ("ostinato.experiments.vanishing:Vanishing", "How a gradient fades over the lag, cell by cell."),
    "clipping": ("ostinato.experiments.clipping:Clipping", "The cliff in the error of one unit, and clipping at it."),
    "adding": ("ostinato.experiments.adding:Adding", "Add two marked numbers of a long sequence."),
    "copy": ("ostinato.experiments.copying:Copying", "Repeat ten symbols after a long pause."),
    "sequential-mnist": (
        "ostinato.experiments.sequential_mnist:SequentialMNIST",
        "Read digits row by row, or by pixel.",
    ),
    "memory": ("ostinato.experiments.memory:Memory", "How many steps each cell remembers a symbol."),
    "cnn-rnn-fnn": (
        "ostinato.experiments.cnn_rnn_fnn:CNNAgainstRNN",
        "Three networks of one size on the same sequences.",
    ),
}
"""Where the class of each experiment is, and what it shows."""


def experiment_class(name: str) -> type[Experiment]:
    """The class of an experiment.

    Raises:
        SettingsError: if there is no such experiment, with the nearest that there is.

    >>> experiment_class("ading")
    Traceback (most recent call last):
    ostinato.errors.SettingsError: experiment 'ading': one of vanishing, clipping, ... (did you mean adding?)
    """
    if name not in EXPERIMENTS:
        raise SettingsError(f"experiment {name!r}: one of {', '.join(EXPERIMENTS)}{nearest(name, EXPERIMENTS)}")
    module, _, attribute = EXPERIMENTS[name][0].partition(":")
    return getattr(import_module(module), attribute)
