"""Commands that are imported when they are called, so that `--help` answers at once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

# name → (module with an `app` or a `GROUP`, or module:name, and one line of help)
COMMANDS = {
    "fit": ("ostinato.cli.fit", "Train a model on files, or resume a training."),
    "features": ("ostinato.cli.features", "Turn text into vectors."),
    "vectors": ("ostinato.cli.vectors", "Use word vectors: nearest words, analogies, other programs' files."),
    "index": ("ostinato.cli.index", "Make files searchable."),
    "search": ("ostinato.cli.search", "Find documents in an index."),
    "generate": ("ostinato.cli.generate", "Let a model write."),
    "compare": ("ostinato.cli.compare", "Train several models on the same data, and say which to choose."),
    "evaluate": ("ostinato.cli.evaluate", "Score a model on held-out files."),
    "backtest": ("ostinato.cli.backtest", "A forecaster on windows of the past, beside simpler methods."),
    "predict": ("ostinato.cli.predict", "What a model says of each example of files."),
    "similar": ("ostinato.cli.similar", "Rank the texts of a corpus by how like a query they are."),
    "score": ("ostinato.cli.score", "The log-probability of each token of a text."),
    "inspect": ("ostinato.cli.inspect", "Show a model in one page: training, gradients, units, mistakes."),
    "watch": ("ostinato.cli.watch", "Follow a training in the browser."),
    "diagnose": ("ostinato.cli.diagnose", "What is wrong with a model, why, and what to change."),
    "info": ("ostinato.cli.info", "What a model is, and how its training went."),
    "experiment": ("ostinato.cli.experiment", "See in minutes why a network does not learn, and what helps."),
    "demo": ("ostinato.cli.demo", "Train a small model on a built-in corpus."),
    "bench": ("ostinato.cli.bench", "Time the layers beside the best peers."),
    "doctor": ("ostinato.cli.doctor", "What this machine has, and which backend serves."),
}


class LazyGroup(TyperGroup):
    """A group that knows the names and the help of its commands, and imports one when it is called."""

    def __init__(self, name: str, lazy: dict[str, tuple[str, str]], **options: Any) -> None:
        stubs: Any = {command: TyperCommand(command, help=text) for command, (_, text) in lazy.items()}
        context = {"help_option_names": ["-h", "--help"]}
        super().__init__(
            name=name,
            commands=stubs,
            no_args_is_help=True,
            rich_markup_mode="rich",
            context_settings=context,
            **options,
        )
        self._lazy = lazy

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Names in the order of use."""
        return list(self._lazy)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in self._lazy:
            where, _, attribute = self._lazy[name][0].partition(":")
            module = import_module(where)
            if hasattr(module, "command_for"):  # its options depend on what it is called with
                return name, module.command_for(rest), rest
            app = getattr(module, attribute or ("GROUP" if hasattr(module, "GROUP") else "app"))
            command = app if isinstance(app, TyperGroup) else get_command(app)
        return name, command, rest
