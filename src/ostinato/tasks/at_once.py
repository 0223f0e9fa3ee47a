"""Fitting a model that is learned in one go: the folder stands when all is done, and there is nothing to resume."""

from __future__ import annotations

import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from ostinato import bundle
from ostinato.files import write_text
from ostinato.tasks.corpus import Sources, source_names
from ostinato.tasks.model import Model
from ostinato.training.report import make_reporter


class ModelAtOnce(Model):
    """A model that is trained without steps: by counting, or in closed form."""

    @abstractmethod
    def learn(
        self, corpus: Sequence[str], validation: Sequence[str], folder: Path, tell: Callable[[str], None]
    ) -> None:
        """Read the data and learn from them; codec, data and metrics stand afterwards.

        Args:
            corpus: what `ostinato.data.find_files` takes, or `-`.
            validation: the same, or nothing.
            folder: of the bundle to be, with `run/` for what is needed only now.
            tell: gets what the user should know.
        """

    def fit(
        self,
        corpus: Sources,
        validation: Sources | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
        progress: bool | None = None,
    ) -> Self:
        """Train.

        Args:
            corpus: a file, a folder, a pattern, several of them, or `-` for standard input.
            validation: the same for the validation data; the end of the corpus if None.
            output: folder of the model; if None, it is not written.
            overwrite: replace the model that stands in `output`.
            progress: tell what is done on standard error; None is yes.

        Raises:
            DataError: if the data cannot be read or are too short.
            BundleError: if something stands at `output` already.
        """
        names = source_names(corpus, validation)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model" if output is None else Path(output)
            with bundle.writing_bundle(folder, overwrite) as new:
                run = new / bundle.RUN
                run.mkdir()
                self.learn(names["corpus"], names["validation"], new, make_reporter(progress).message)
                shutil.rmtree(run)
                self.history = []
                self.write_weights(new / bundle.WEIGHTS, {})
                write_text(new / bundle.HISTORY, "")
                self.write_about(new)
        return self
