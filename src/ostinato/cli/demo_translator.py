"""`ostinato demo translator`: dates in words to ISO dates, told as people tell them."""

from __future__ import annotations

import random
import tempfile
from datetime import date, timedelta
from pathlib import Path

from ostinato.cli.demo import is_demo
from ostinato.tasks.translator import Translator

NAME = "dates.tsv"
_ONES = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
             "twelve": "twelfth"}  # fmt: skip


def number(value: int) -> str:
    """A number below a hundred in words.

    >>> number(21), number(13)
    ('twenty-one', 'thirteen')
    """
    if value < 20:
        return _ONES[value]
    return _TENS[value // 10] + (f"-{_ONES[value % 10]}" if value % 10 else "")


def ordinal(value: int) -> str:
    """The same as a place in an order.

    >>> ordinal(3), ordinal(22), ordinal(30)
    ('third', 'twenty-second', 'thirtieth')
    """
    words = number(value)
    head, dash, last = words.rpartition("-")
    last = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return head + dash + last


def year_in_words(year: int) -> str:
    """A year as it is said.

    >>> year_in_words(1987), year_in_words(2004), year_in_words(1900), year_in_words(1806)
    ('nineteen eighty-seven', 'two thousand and four', 'nineteen hundred', 'eighteen oh six')
    """
    century, rest = divmod(year, 100)
    if 2000 <= year < 2010:
        return "two thousand" + (f" and {number(rest)}" if rest else "")
    if not rest:
        return f"{number(century)} hundred"
    return f"{number(century)} {number(rest) if rest >= 10 else 'oh ' + number(rest)}"


def told(day: date, draw: random.Random) -> str:
    """A date as somebody might say it.

    >>> told(date(2021, 5, 3), random.Random(0))
    'Monday, 3 May twenty twenty-one'
    """
    month, place = f"{day:%B}", ordinal(day.day)
    year = draw.choice([str(day.year), year_in_words(day.year), year_in_words(day.year)])
    form = draw.choice(["the {d} of {m} {y}", "{m} the {d}, {y}", "{m} {n}, {y}", "{n} {m} {y}", "{m} {d} {y}"])
    text = form.format(d=place, n=day.day, m=month, y=year)
    return f"{day:%A}, {text}" if draw.random() < 0.3 else text


def demo(folder: Path, minutes: float | None, quiet: bool) -> None:
    """Train on some thousand dates, and read others aloud to it."""
    draw = random.Random(0)  # noqa: S311 - no secret
    days = [date(1800, 1, 1) + timedelta(days=each) for each in draw.sample(range(300 * 365), 8500)]
    pairs = [(told(day, draw), day.isoformat()) for day in days]
    with tempfile.TemporaryDirectory() as scratch:
        train, held_out = Path(scratch) / NAME, Path(scratch) / "held-out.tsv"
        for path, part in ((train, pairs[:8000]), (held_out, pairs[8000:])):
            path.write_text("".join(f"{words}\t{iso}\n" for words, iso in part), encoding="utf-8")
        model = Translator(
            level="word", target_level="char", hidden_size=128, embedding_size=64, dropout=0.1, label_smoothing=0.0,
            epochs=8, batch_size=32, learning_rate=0.005, criterion="loss", max_minutes=minutes, seed=1, threads=1,
        )  # fmt: skip
        model.fit(train, held_out, folder, overwrite=is_demo(folder, NAME), progress=False if quiet else None)
    texts, wanted = zip(*pairs[8000:], strict=True)
    found = [each.text for each in model.predict(texts)]
    right = sum(text == iso for text, iso in zip(found, wanted, strict=True))
    print(f"\n{len(wanted)} dates that it has not seen: {right} right in every character ({right / len(wanted):.1%})\n")
    for text, iso, made in list(zip(texts, wanted, found, strict=True))[:6]:
        print(f"  {text:<52}  {made}{'' if made == iso else f'   (it is {iso})'}")
    sentence = "the third of May twenty twenty-one"
    best = next(iter(model.predict([sentence])))
    print(f"\n{sentence} → {best.text}; where it looked for each character:\n")
    if (aligned := best.candidates[0].alignment) is not None:
        print(aligned.drawn())
    print(
        f"\nThe model is in {folder}. What next:\n"
        f"  echo '{sentence}' | ostinato predict {folder} - --beam 5 --n-best 3\n"
        f"  echo '{sentence}' | ostinato predict {folder} - --pictures pictures\n"
        "  ostinato fit translator train.tsv --dev dev.tsv -o models/mine"
    )
