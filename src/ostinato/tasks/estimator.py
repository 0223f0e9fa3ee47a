"""scikit-learn's interface for a model that is trained on files: fit, predict, predict_proba, score, clone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from ostinato.errors import DataError, SettingsError
from ostinato.tasks.corpus import Sources

_PYTHON: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


class TextEstimator(ClassifierMixin, BaseEstimator):
    """What scikit-learn expects of an estimator; its parameters are the settings.

    Before `Model` in a class's bases. A pipeline, a grid search and `clone` take it as it is.
    """

    Settings: ClassVar[Any]
    settings: Any
    things: ClassVar[str] = "texts"
    """What it is asked about."""
    _in_memory: str | None = None
    """What labels were in Python, if they came as objects and not from files."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._given = settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - no parameter is an estimator
        """All settings by name, as they were given."""
        fields = self.Settings.model_fields
        return {name: field.get_default() for name, field in fields.items()} | self._given

    def set_params(self, **params: Any) -> Self:
        """Change settings.

        Raises:
            SettingsError: for one that is unknown, or wrong.
        """
        given = self._given | params
        self.settings = self.Settings.checked(given)
        self._given = given
        return self

    def fit(
        self,
        corpus: Sources | Iterable[str],
        labels: Iterable[Any] | None = None,
        *,
        validation: Sources | tuple[Iterable[str], Iterable[Any]] | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
        progress: bool | None = None,
    ) -> Self:
        """Train on texts with labels, or on files.

        Args:
            corpus: texts, with `labels`; or a file, a folder, a pattern, several of them, or `-`.
            labels: of each text its label, or a list of labels; a matrix of 0 and 1 says which it has.
            validation: the same for the validation data, (texts, labels) or files; a random share if None.
            output: folder of the model, in which the training can be resumed; a temporary one if None.
            overwrite: replace the model that stands in `output`.
            progress: show it. None: yes, unless labels are given.

        Raises:
            DataError: if the data cannot be read, are too few, or texts and labels are not as many.
            BundleError: if something stands at `output` already.
        """
        train: Any = super().fit  # pyright: ignore[reportAttributeAccessIssue] - of the model
        if labels is None:
            self._in_memory = None
            return train(corpus, validation, output, overwrite, progress)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            self._in_memory = self._spool(folder / "examples.jsonl", corpus, labels)
            held_out = None
            if validation is not None:
                if not isinstance(validation, tuple):
                    raise SettingsError(f"validation: with labels it is a pair too, ({self.things}, labels)")
                held_out = folder / "validation.jsonl"
                self._spool(held_out, *validation)
            return train(folder / "examples.jsonl", held_out, output, overwrite, bool(progress))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        tags.target_tags.multi_output = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return getattr(self, "_codec", None) is not None

    def as_json(self, text: Any, row: int) -> dict[str, Any]:
        """What a row of JSON holds of an example, for the reader.

        Raises:
            DataError: naming the example, if it is none.
        """
        if not isinstance(text, str):
            raise DataError(f"text {row}: expected a text, found {type(text).__name__}: {str(text)[:40]!r}")
        return {"text": text}

    def _spool(self, path: Path, texts: Any, labels: Any) -> str:
        """Write texts and labels as JSON lines; gives what the labels are in Python."""
        if isinstance(texts, str | Path) or isinstance(labels, str | Path):
            raise SettingsError(f"with labels, expected {self.things} and labels, many of each; files stand alone")
        matrix = np.asarray(labels).ndim == 2 if isinstance(labels, np.ndarray) else False
        kinds: set[str] = set()
        given, texts = list(labels), list(texts)
        if len(given) != len(texts):
            raise DataError(f"{len(texts):,} {self.things}, but {len(given):,} labels: expected one for each")
        with path.open("w", encoding="utf-8") as file:
            for row, (text, its) in enumerate(zip(texts, given, strict=True)):
                line = self.as_json(text, row)
                found = np.flatnonzero(its).tolist() if matrix else _listed(its)
                if not found:
                    raise DataError(f"{self.things[:-1]} {row}: there is no label")
                kinds.update(_kind(each, row) for each in found)
                line |= {"label": [each if isinstance(each, str) else str(each) for each in found]}
                file.write(json.dumps(line) + "\n")
        if len(kinds) > 1:
            raise DataError(f"labels are of several kinds: {', '.join(sorted(kinds))}; expected one")
        return "matrix" if matrix else "".join(kinds) or "str"


def _listed(label: Any) -> list[Any]:
    return list(label) if isinstance(label, list | tuple | set | frozenset | np.ndarray) else [label]


def _kind(label: Any, row: int) -> str:
    for name, kind in (
        ("str", str),
        ("bool", bool | np.bool_),
        ("int", int | np.integer),
        ("float", float | np.floating),
    ):
        if isinstance(label, kind):
            return name
    raise DataError(f"text {row}: expected a label, found {type(label).__name__}: {str(label)[:40]!r}")


def as_given(names: Sequence[str], python: str) -> np.ndarray:
    """Names of labels as what they were in Python.

    >>> as_given(["3", "5"], "int").tolist(), as_given(["a"], "str").tolist()
    ([3, 5], ['a'])
    """
    if python == "bool":
        return np.array([name == "True" for name in names])
    return np.array([_PYTHON.get(python, int)(name) for name in names])
