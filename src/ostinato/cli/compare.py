"""`ostinato compare TASK`: models of a task on the same data, and which to choose."""

from __future__ import annotations

from ostinato.cli.app import COMMANDS, LazyGroup

GROUP = LazyGroup(
    "compare",
    {"classifier": ("ostinato.cli.compare_classifier", "Linear, feed-forward and recurrent classifiers.")},
    help=COMMANDS["compare"][1],
)
