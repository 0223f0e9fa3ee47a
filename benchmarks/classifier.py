r"""How good is the classifier by a network, beside the mark, what is published, and our own linear baseline?

| data | trained on | chosen by | scored on | figure |
|---|---|---|---|---|
| TREC-6 | 9 of 10 training questions | the tenth | the 500 test questions | accuracy |
| ChnSentiCorp | rows with number mod 10 < 8 | = 8 | = 9 | accuracy |
| cooking.stackexchange | 9 of 10 of the first 12,404 lines | the tenth | the last 3,000 | precision@1 |
| CoLA | 9 of 10 training sentences | the tenth, threshold too | in- and out-of-domain dev | Matthews' correlation |

The best epoch, and every setting below, was chosen on the second column's part; the third is only scored. All but CoLA,
whose epochs and weights of a linear model are settled so, then learn from the second column's part too, as *linear*
does. No vectors are pre-trained. On cooking and CoLA a linear model stands beside the network (`--linear`). *linear* is
`ostinato fit classifier --model linear` with its defaults, trained on all but the scored part. Seconds are those of the
CPU that one thread used, training and scoring together.

    OMP_NUM_THREADS=1 python benchmarks/classifier.py [--seeds 0,1,2] [--data trec,chinese,cooking,cola]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from classification import chinese, cooking
from data import need
from word_vectors import brown

Split = dict[str, Path]
_EWT_TEXT = "# text = "


def trec(folder: Path) -> Split:
    """The coarse label of each question; the files are in Latin-1."""
    found = {part: folder / f"trec.{part}.jsonl" for part in ("train", "validation", "test")}
    with zipfile.ZipFile(need("classification/qc.zip")) as archive:
        train = list(_questions(archive.read("qc/train.txt").decode("latin-1")))
        test = list(_questions(archive.read("qc/test.txt").decode("latin-1")))
    _write(found["train"], (line for at, line in enumerate(train) if at % 10 != 9))
    _write(found["validation"], train[9::10])
    _write(found["test"], test)
    return found


def _questions(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        label, _, question = line.partition(" ")
        yield {"text": question, "label": label.partition(":")[0]}


def cooking_with_validation(folder: Path) -> Split:
    """The lines of the tutorial, of which every tenth for training validates."""
    found = cooking(folder)
    lines = found["train"].read_text("utf-8").splitlines(keepends=True)
    found["validation"] = folder / "cooking.validation.txt"
    found["validation"].write_text("".join(lines[9::10]), "utf-8")
    found["train"].write_text("".join(line for at, line in enumerate(lines) if at % 10 != 9), "utf-8")
    return found


def cola(folder: Path) -> Split:
    """CoLA's files, the two dev files together scored; and English of four other corpora, without labels."""
    lines = need("acceptability/cola/in_domain_train.tsv").read_text("utf-8").splitlines(keepends=True)
    dev = [need(f"acceptability/cola/{name}_dev.tsv").read_text("utf-8") for name in ("in_domain", "out_of_domain")]
    found = {part: folder / f"cola.{part}.tsv" for part in ("train", "validation", "test")}
    found["train"].write_text("".join(line for at, line in enumerate(lines) if at % 10 != 9), "utf-8")
    found["validation"].write_text("".join(lines[9::10]), "utf-8")
    found["test"].write_text("".join(dev), "utf-8")
    found["real"] = folder / "real.txt"
    found["real"].write_text("".join(f"{sentence}\n" for sentence in sorted(set(english()))), "utf-8")
    return found


def english() -> Iterator[str]:
    """Sentences of Brown, of EWT's training part, of Multi30k's, and Tatoeba's that have a Chinese translation."""
    yield from (" ".join(words) for words in brown())
    with gzip.open(need("tagging/ud_english_ewt/en_ewt-ud-train.conllu.gz"), "rt", encoding="utf-8") as file:
        yield from (line.removeprefix(_EWT_TEXT).strip() for line in file if line.startswith(_EWT_TEXT))
    with gzip.open(need("mt/multi30k/train.en.gz"), "rt", encoding="utf-8") as file:
        yield from (line.strip() for line in file)
    with need("mt/cmn-eng.txt").open(encoding="utf-8") as file:
        yield from (line.split("\t")[0] for line in file)


def _write(path: Path, rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


class Job:
    """A data set with its settings, its figure and its mark."""

    def __init__(
        self,
        split: Callable[[Path], Split],
        figure: str,
        mark: float,
        published: str,
        model: str,
        again: bool = False,
        **settings: Any,
    ) -> None:
        self.split, self.figure, self.mark, self.published = split, figure, mark, published
        self.model, self.again, self.settings = model, again, settings


JOBS = {
    "trec": Job(
        trec, "accuracy", 0.91, "", "Classifier", again=True, subwords=20_000, beside=True, embedding_size=256,
        label_smoothing=0.1, learning_rate=0.001, epochs=10, average_weights=0.995, members=3,
    ),
    "chinese": Job(
        chinese, "accuracy", 0.90, "", "Classifier", again=True, subwords=20_000, beside=True, embedding_size=128,
        hidden_size=100, label_smoothing=0.1, learning_rate=0.001, epochs=5, members=3,
    ),
    "cooking": Job(
        cooking_with_validation, "precision_at_1", 0.60, "0.599, fastText", "Classifier", again=True, pooling="labels",
        label_names=True, subwords=10_000, embedding_size=128, hidden_size=32, input_dropout=0.3, batch_size=64,
        shared=True, criterion="precision_at_1", learning_rate=0.004, epochs=4, members=2, linear=True,
    ),
    "cola": Job(
        cola, "mcc", 0.16, "0.157, private test", "Acceptability", linear=True, members=5,
        criterion="loss", real_epochs=0, real_ngrams=5,
    ),
}  # fmt: skip


def score(job: Job, parts: Split, seed: int) -> tuple[float, float, float]:
    """The figure on the validation part, NaN where nothing was trained without it; that on the test part; CPU s."""
    import ostinato

    def trained(corpus: Any, **changes: Any) -> Any:
        real = {"real": str(parts["real"])} if "real" in parts else {}
        model = getattr(ostinato, job.model)(**job.settings | real | changes, seed=seed, threads=1, device="cpu")
        return model.fit(corpus, validation=parts["validation"], progress=False)

    begun, model, validation = time.process_time(), None, math.nan
    fused = job.settings.get("linear", False)
    if fused or not job.again:
        model = trained(parts["train"])
        validation = model.metrics[f"validation_{job.figure}"]
    if job.again:  # the epochs are settled: none is chosen, and what was kept for choosing is learned from too
        first, model = model, trained([parts["train"], parts["validation"]], patience=None)
        if first is not None:  # so is the weight of the linear model, by texts that neither had seen
            for name in ("linear_weight", "temperature"):
                getattr(model.network.head, name).copy_(getattr(first.network.head, name))
    assert model is not None
    return validation, model.evaluate(parts["test"])[job.figure], time.process_time() - begun


def linear(job: Job, parts: Split) -> float:
    """The same of the linear baseline, which has no epochs to choose and so learns from the validation part too."""
    from ostinato import LinearClassifier

    names: dict[str, Any] = {"header": False, "text": "4", "label": "2"} if parts["test"].suffix == ".tsv" else {}
    model = LinearClassifier(**names).fit(
        [parts["train"], parts["validation"]], validation=parts["validation"], progress=False
    )
    return model.evaluate(parts["test"])[job.figure]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--data", default=",".join(JOBS))
    options = parser.parse_args()
    print(f"{'':<8}  {'figure':<14}  validation    test  (each seed)              linear   mark  CPU s  published")
    for name in options.data.split(","):
        job = JOBS[name]
        with tempfile.TemporaryDirectory() as folder:
            parts = job.split(Path(folder))
            found = []
            for seed in options.seeds.split(","):
                found.append(score(job, parts, int(seed)))
                print(f"{name}, seed {seed}: validation, test, CPU s: {found[-1]}", file=sys.stderr, flush=True)
            base = linear(job, parts)
        validation, test, seconds = (statistics.mean(column) for column in zip(*found, strict=True))
        each = " ".join(f"{one[1]:.4f}" for one in found)
        print(
            f"{name:<8}  {job.figure:<14}  {validation:10.4f}  {test:.4f}  ({each:<21})  {base:6.4f}  {job.mark:.2f}  "
            f"{seconds:5.0f}  {job.published}",
            flush=True,
        )


if __name__ == "__main__":
    main()
