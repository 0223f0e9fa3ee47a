"""`ostinato compare classifier`: the same texts, split and budget for all; a table, and the sentence that reads it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from pydantic import Field

from ostinato.analysis import AnalyzerSettings
from ostinato.cli.classifiers import CLASSIFIERS
from ostinato.cli.fit_by_model import choose
from ostinato.cli.options import given, stop_words_of, with_settings
from ostinato.errors import SettingsError
from ostinato.tasks.classifier_settings import NETWORKS
from ostinato.tasks.comparing import Compared, compare, split_examples, verdict
from ostinato.tasks.corpus import resolve
from ostinato.tasks.examples import ExampleReader, ExampleSettings

RECURRENT = [name for name in NETWORKS if name not in ("mlp", "cnn")]
_USUAL = "linear,mlp,cnn,rnn,gru,lstm,bilstm,deep-bilstm"


class CompareSettings(AnalyzerSettings, ExampleSettings):
    """What is the same for all models."""

    test_fraction: float = Field(0.1, gt=0, lt=1, description="examples kept for the test, drawn at random")
    epochs: int = Field(20, ge=1, description="networks: passes over the training data, at most")
    patience: int | None = Field(5, ge=1, description="networks: stop after so many epochs without gain")
    max_minutes: float | None = Field(None, gt=0, description="networks: train each at most so long")
    hidden_size: int = Field(128, ge=1, description="networks: features of a word, units of a layer, filters of cnn")
    device: str = Field("cpu", description="networks: cpu, cuda, or auto")
    threads: int | None = Field(None, ge=1, description="networks: of the CPU [default: all]")
    seed: int = Field(0, ge=0, description="of everything random")


_BUDGET = ("epochs", "patience", "max_minutes", "device", "threads")
app = typer.Typer(add_completion=False)


@app.command()
@with_settings(CompareSettings, {"Reading": ExampleSettings, "Text": AnalyzerSettings}, "Budget")
def classifier(
    corpus: Annotated[
        list[str], typer.Argument(help="Files (CSV, TSV, JSONL, Parquet, fastText's), folders, patterns, or -.")
    ],
    models: Annotated[str, typer.Option(help=f"Some of {', '.join(CLASSIFIERS)}, between commas.")] = _USUAL,
    test: Annotated[list[str] | None, typer.Option(help="Test file; instead of examples drawn at random.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep models and results there; a second call goes on.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    **options: Any,
) -> None:
    """Train classifiers on the same texts, with the same budget, and say which to choose."""
    s = CompareSettings.checked(given(stop_words_of(options), CompareSettings))
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    if not names:
        raise SettingsError("models: name one or more")
    made = {name: partial(_untrained, name, s) for name in names}
    for make in made.values():
        make()  # what cannot be is refused before anything is trained

    def tell(message: str) -> None:
        if not quiet:
            print(message, file=sys.stderr, flush=True)

    with TemporaryDirectory() as scratch:
        folder, data = output or Path(scratch) / "compared", Path(scratch) / "data"
        data.mkdir()
        reading = ExampleSettings.checked({name: getattr(s, name) for name in ExampleSettings.model_fields})
        tests = ExampleReader(resolve(test, Path(scratch)), reading).examples() if test else None
        examples = ExampleReader(resolve(corpus, Path(scratch)), reading).examples()
        shares = (s.validation_fraction, s.test_fraction)
        paths = split_examples(examples, tests, shares, s.seed, data)
        plain = ExampleReader([paths["test"]], ExampleSettings.checked({})).examples
        about = s.plain() | {"threads": None}
        results = list(compare(made, paths, plain, folder, about, tell))
    said = verdict(results, RECURRENT)
    if as_json:
        rows = [{name: value for name, value in asdict(each).items() if name != "right"} for each in results]
        print(json.dumps({"results": rows, "verdict": said}, ensure_ascii=False))
    else:
        print(_table(results))
        print(f"\n{said}")


def _untrained(name: str, s: CompareSettings) -> Any:
    """A model of a name, with the settings that all share."""
    chosen = choose(CLASSIFIERS, name)
    settings: dict[str, Any] = {field: getattr(s, field) for field in AnalyzerSettings.model_fields}
    if settings["ngram_range"] == (1, 1):
        del settings["ngram_range"]
    settings["seed"] = s.seed
    if name in NETWORKS:
        settings |= {field: getattr(s, field) for field in _BUDGET}
        settings["filters" if name == "cnn" else "hidden_size"] = s.hidden_size
        settings["embedding_size"] = s.hidden_size
    return chosen.model(**chosen.stands_for(settings))


def _table(results: list[Compared]) -> str:
    """One line a model, the best figure of a column marked."""
    figure = results[0].figure.replace("_", " ")
    width = max(len(each.name) for each in results)
    lines = [f"{'':<{width}}  {figure:>14}  macro F1  parameters  training s  texts/s told"]
    best = max(each.quality for each in results)
    for each in results:
        mark = "*" if each.quality == best else " "
        lines.append(
            f"{each.name:<{width}}  {each.quality:>13.4f}{mark}  {each.f1_macro:8.4f}  {each.parameters:10,}  "
            f"{each.training_seconds:10,.1f}  {each.texts_per_second:12,.0f}"
        )
    return "\n".join(lines)
