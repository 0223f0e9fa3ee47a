"""The codec of a classifier on terms: how a text becomes a vector, and what its labels are called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ostinato.bundle import read_json
from ostinato.errors import BundleError
from ostinato.features.folder import read_features, write_features
from ostinato.features.tf_idf import TfIdf
from ostinato.files import write_text

_LABELS = "labels.json"


@dataclass(frozen=True)
class LabelledTerms:
    """TF-IDF features with the names of labels.

    Args:
        features: fitted.
        labels: in the order of a classifier's scores.
        several: whether a text may have more than one.
        python: what labels are in Python: str, int, float, bool, or matrix, a column each.
    """

    features: TfIdf
    labels: tuple[str, ...]
    several: bool
    python: str = "str"

    def save(self, folder: Path) -> None:
        """Write it into a folder, without the counts of terms that have no column."""
        folder.mkdir(exist_ok=True)
        write_features(self.features, folder, statistics=False)
        about = {"several": self.several, "python": self.python, "labels": self.labels}
        write_text(folder / _LABELS, json.dumps(about, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about = read_json(folder / _LABELS)
        labels, several = about.get("labels"), about.get("several")
        if not isinstance(labels, list) or not all(isinstance(each, str) for each in labels) or several is None:
            raise BundleError(f"{folder / _LABELS}: damaged: expected the keys labels, a list of strings, and several")
        return cls(read_features(TfIdf, folder), tuple(labels), bool(several), str(about.get("python", "str")))
