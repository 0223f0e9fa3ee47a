"""How good translations are: BLEU and chrF as sacrebleu counts them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from ostinato.codecs.splitters import is_chinese
from ostinato.errors import MissingExtra, SettingsError, nearest


@cache
def has_sacrebleu() -> bool:
    """Whether sacrebleu is installed."""
    return find_spec("sacrebleu") is not None


class Quality(NamedTuple):
    """How good the translations of a corpus are."""

    bleu: float
    """Papineni et al. 2002, from 0 to 100."""
    chrf: float
    """Popović 2015, from 0 to 100."""
    signatures: dict[str, str]
    """How both are counted, as sacrebleu says it."""


def translation_quality(
    found: Sequence[str], references: Sequence[str | Sequence[str]], tokenizer: str = "auto"
) -> Quality:
    """BLEU and chrF of a corpus.

    Args:
        found: translations.
        references: one for each, or several.
        tokenizer: sacrebleu's; auto: `zh`, which takes Chinese by the character, where the references are Chinese, else
            `13a`.

    Raises:
        MissingExtra: if sacrebleu is not installed.
        SettingsError: if it has no such tokenizer.

    >>> translation_quality(["the cat sat on the mat"], ["the cat sat on the mat"])[:2]
    (100.0, 100.0)
    >>> translation_quality(["a cat on the mat"] * 2, [["a cat on the mat", "the cat"], ["a cat on the mat"]]).bleu
    100.0
    """
    each = [[one] if isinstance(one, str) else list(one) for one in references]
    most = max(map(len, each), default=1)
    streams: Any = [[given[at] if at < len(given) else None for given in each] for at in range(most)]
    metrics = _metrics(_tokenizer([text for given in each for text in given], tokenizer))
    bleu, chrf = (round(metric.corpus_score(list(found), streams).score, 4) for metric in metrics)
    names = ("bleu_signature", "chrf_signature")
    return Quality(bleu, chrf, {name: str(each.get_signature()) for name, each in zip(names, metrics, strict=True)})


def _tokenizer(references: Sequence[str], tokenizer: str) -> str:
    if tokenizer != "auto":
        return tokenizer
    return "zh" if is_chinese("\n".join(references[:1000])) else "13a"


def _metrics(tokenizer: str) -> tuple[Any, Any]:
    if not has_sacrebleu():
        raise MissingExtra("sacrebleu", "eval", "BLEU and chrF")
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if tokenizer not in BLEU.TOKENIZERS:
        known = sorted(BLEU.TOKENIZERS)
        raise SettingsError(f"bleu_tokenizer = {tokenizer!r}: one of {', '.join(known)}{nearest(tokenizer, known)}")
    return BLEU(tokenize=tokenizer), CHRF()
