"""`ostinato experiment NAME`: a table, a sentence and a figure."""

from __future__ import annotations

from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.experiments import EXPERIMENTS

GROUP = LazyGroup(
    "experiment",
    {name: (f"ostinato.cli.experiment_command:{name}", text) for name, (_, text) in EXPERIMENTS.items()},
    help=COMMANDS["experiment"][1],
)
