"""The captioner: images and captions of every form, both decoders, search, pictures, and what is wrong with a file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ostinato
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.cli.demo_captioner import WORDS, scenes, write_scenes
from ostinato.errors import DataError, SettingsError
from ostinato.image_encoder import ImageEncoder
from ostinato.tasks.captioner import Captioner
from ostinato.tasks.captioning import PredictSettings
from ostinato.tasks.captions import Captioned, CaptionReader, CaptionSettings
from ostinato.tasks.looking import Look, draw

SMALL: dict[str, Any] = {
    "hidden_size": 32, "embedding_size": 16, "filters": (8, 16), "places": 4, "batch_size": 8, "learning_rate": 0.02,
    "dropout": 0.0, "warmup_steps": 5, "device": "cpu", "seed": 1, "min_count": 1, "threads": 1, "beam_size": 2,
}  # fmt: skip
PLACES = {(0, 0): "above left", (0, 1): "above right", (1, 0): "below left", (1, 1): "below right"}


def squares(folder: Path, count: int = 24) -> Path:
    """A bright square in a quarter of a dark field, a large one or a small; two captions of each, in two languages."""
    draw, rows = np.random.default_rng(0), ["image,caption"]
    for number in range(count):
        (down, right), large = list(PLACES)[number % 4], number % 3 > 0
        image = draw.integers(0, 40, (16, 16)).astype(np.uint8)
        size = 6 if large else 3
        top, left = 8 * down + 1, 8 * right + 1
        image[top : top + size, left : left + size] = 250
        Image.fromarray(image).save(folder / f"图{number}.png")
        rows.append(f"图{number}.png,a {'large' if large else 'small'} square {PLACES[down, right]}")
        rows.append(f"图{number}.png,一 个 {'large' if large else 'small'} 块")
    (folder / "images.csv").write_bytes("\r\n".join([*rows, ""]).encode())
    return folder / "images.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return squares(tmp_path_factory.mktemp("张图"))


@pytest.fixture(scope="module")
def trained(table: Path) -> Captioner:
    settings = SMALL | {"attention": "general", "cell": "gru", "batch_size": 4, "epochs": 20, "criterion": "exact"}
    return Captioner(**settings).fit(table, table, table.parent / "model", progress=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: Any) -> tuple[str, str]:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr()

    return call


def read(*files: Path, **options: Any) -> list[Captioned]:
    return list(CaptionReader(list(files), CaptionSettings.checked(options)).examples())


# tables of images


def test_all_forms_hold_the_same(tmp_path: Path) -> None:
    from pyarrow import parquet, table

    for name, shade in (("a", 10), ("b", 200)):
        Image.new("L", (5, 4), shade).save(tmp_path / f"{name}.png")
    data = {name: (tmp_path / f"{name}.png").read_bytes() for name in "ab"}
    wanted = [("a", ("a dog", "一只 狗")), ("b", ("a cat, asleep",))]

    def check(found: list[Captioned]) -> None:
        told = [(each.image if isinstance(each.image, bytes) else each.image.read_bytes()) for each in found]
        assert told == [data[name] for name, _ in wanted]
        assert [each.captions for each in found] == [captions for _, captions in wanted]

    (tmp_path / "t.csv").write_text('image,caption\na.png,a  dog \nb.png,"a cat, asleep"\na.png,一只 狗\n')
    (tmp_path / "t.tsv").write_bytes("text\tfile\na dog\ta.png\r\na cat, asleep\tb.png\r\n一只 狗\ta.png\r\n".encode())
    lines = [
        {"image": "a.png", "captions": ["a dog", "一只 狗"]},
        {"image": f"data:image/png;base64,{base64.b64encode(data['b']).decode()}", "captions": ["a cat, asleep"]},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(each) + "\n" for each in reversed(lines)))
    parquet.write_table(
        table({"image": [{"bytes": data[name]} for name in "ab"], "caption": [list(c) for _, c in wanted]}),
        tmp_path / "t.parquet",
    )
    check(read(tmp_path / "t.csv"))
    check(read(tmp_path / "t.tsv", image_column="file", caption_column="text"))
    found = read(tmp_path / "t.jsonl")  # what lies within comes at once, files when all is read
    check(found[::-1] if isinstance(found[0].image, bytes) else found)
    check(read(tmp_path / "t.parquet"))
    assert CaptionReader([tmp_path / "t.csv"], CaptionSettings.checked({})).fingerprint()["images"] == 2
    (folder := tmp_path / "beside").mkdir()
    for name, captions in wanted:
        (folder / f"{name}.png").write_bytes(data[name])
        (folder / f"{name}.txt").write_text("\n".join(captions) + "\n\n")
    check(read(*sorted(folder.iterdir())))
    named = [each.image for each in CaptionReader(sorted(folder.iterdir()), CaptionSettings.checked({})).images()]
    assert named == [folder / "a.png", folder / "b.png"]


def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, table: Path) -> None:
    whole = (table.parent / "图0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "good.png").write_bytes(whole)
    (tmp_path / "alone.jpg").write_bytes(whole)

    def fit(rows: str, name: str = "t.csv", **options: Any) -> Captioner:
        (tmp_path / name).write_text(rows)
        return Captioner(**SMALL | {"epochs": 1} | options).fit(tmp_path / name, tmp_path / name, progress=False)

    head = "image,caption\ngood.png,a square\n"
    for row, told in (
        ("cut.png,half", r"t\.csv: line 3: cut\.png: a damaged PNG"),
        ("text.png,none", r"t\.csv: line 3: text\.png: it begins 6e 6f 20 69: expected a PNG or JPEG"),
        ("god.png,none", r"t\.csv: line 3: .*god\.png: No such file or directory \(did you mean good\.png\?\)"),
        ("good.png,  ", r"t\.csv: line 3: column 'caption': an empty caption"),
        (",a square", r"t\.csv: line 3: column 'image': expected the path of an image, found \"\""),
        ("good.png,a,b", r"t\.csv: line 3: 3 columns, but there are 2"),
    ):
        with pytest.raises(DataError, match=told):
            fit(head + row + "\n")
    with pytest.raises(DataError, match=r"line 2: no column 'caption' \(columns: image, text\)"):
        fit("image,text\ngood.png,a\n")
    with pytest.raises(DataError, match=r"line 1: column 'caption': expected text, or a list of texts, found 7"):
        fit('{"image": "good.png", "caption": 7}\n', "t.jsonl")
    with pytest.raises(DataError, match="line 1: column 'image': not base64"):
        fit('{"image": "data:image/png;base64,@@", "caption": "a"}\n', "t.jsonl")
    with pytest.raises(DataError, match=r"alone\.jpg: no caption: expected alone\.txt beside it"):
        read(tmp_path / "alone.jpg")
    with pytest.raises(DataError, match=r"words\.txt: expected a table .* or images"):
        fit("a\n", "words.txt")
    with pytest.raises(DataError, match=r"large\.png|max_pixels = 10"):
        fit(head, max_pixels=10)


def test_damaged_ones_are_passed_over_and_counted_if_so_asked(tmp_path: Path, table: Path, capsys: Any) -> None:
    (tmp_path / "good.png").write_bytes((table.parent / "图0.png").read_bytes())
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    long = "very " * 70
    (tmp_path / "t.csv").write_text(
        f"image,caption\ngood.png,a square\ngood.png,{long}\ncut.png,half\ngone.png,none\ngood.png,\ngone.png,{long}\n"
    )
    model = Captioner(**SMALL | {"epochs": 1, "damaged": "skip"}).fit(tmp_path / "t.csv", tmp_path / "t.csv")
    told = capsys.readouterr().err
    assert model.data["train_examples"] == 1
    assert "train: 2 examples passed over: an image that cannot be read" in told
    assert "train: 1 examples passed over: an empty caption" in told
    assert "captions passed over: longer than max_tokens = 60" in told


# training and search


def test_it_learns_to_tell(trained: Captioner, table: Path, tmp_path: Path) -> None:
    assert trained.codec.images.shape == (1, 16, 16)
    assert trained.metrics["validation_exact"] == 1.0
    figures = trained.evaluate(table)
    assert figures["exact"] == 1.0 and figures["bleu"] > 99 and figures["examples"] == 24
    assert "nrefs:" in figures["bleu_signature"]
    again = ostinato.load(trained.save(tmp_path / "again"))
    paths = [table.parent / f"图{number}.png" for number in range(8)]
    told = list(again.predict(paths, beam=3, n_best=3))
    assert [each.text for each in told] == [each.text for each in trained.predict(paths, beam=3)]
    captions = {each.image.name: each.captions for each in read(table)}  # pyright: ignore
    for path, each in zip(paths, told, strict=True):
        assert each.text in captions[path.name]
        assert {one.text for one in each.candidates} >= set(captions[path.name])  # both are likely
        scores = [one.score for one in each.candidates]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        look = each.candidates[0].look
        assert look is not None and look.weights.shape == (len(look.tokens), 4, 4)
        assert look.weights.sum((1, 2)) == pytest.approx(np.ones(len(look.tokens)), abs=1e-5)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    assert [each.text for each in again.predict(arrays, beam=3)] == [each.text for each in told]
    with pytest.raises(SettingsError, match="n_best = 4: a beam of 3"):
        list(again.predict(paths, beam=3, n_best=4))


def test_the_command_line_tells_and_draws(trained: Captioner, table: Path, tmp_path: Path, run: Any) -> None:
    model, first = table.parent / "model", table.parent / "图0.png"
    printed, _ = run("predict", model, first, "--beam", 3, "--plot", tmp_path / "f.png")
    assert printed.strip() in {"a small square above left", "一 个 small 块"}
    with Image.open(tmp_path / "f.png") as picture:
        assert min(picture.size) > 100
    rows = [json.loads(line) for line in run("predict", model, table, "--json", "--attention")[0].splitlines()]
    assert len(rows) == 48 and rows[0]["image"].endswith("图0.png")
    weights = np.array(rows[0]["attention"]["weights"])
    assert weights.shape == (len(rows[0]["attention"]["tokens"]), 4, 4) and weights.sum() > 1
    out, _ = run("predict", model, first, "--n-best", 2)
    assert len(out.splitlines()) == 2 and out.count("\t") == 2
    _, told = run("predict", model, table.parent / "图?.png", "-o", tmp_path / "all.csv", "--plot", tmp_path / "all")
    assert "all.csv: 10 in" in told and len(list((tmp_path / "all").glob("*.png"))) == 10
    assert (tmp_path / "all.csv").read_text().startswith("image,caption,score\n")
    with pytest.raises(SettingsError, match=r"several images: name a folder"):
        run("predict", model, first, first, "--plot", tmp_path / "f.svg")
    with pytest.raises(DataError, match=r"images\.txt: it begins 61: expected a PNG or JPEG"):
        (tmp_path / "images.txt").write_text("a")
        run("predict", model, tmp_path / "images.txt")
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        run("predict", model, tmp_path / "gone.png")
    assert "exact" in run("evaluate", model, table)[0] and "captioner" in run("info", model)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "none", "condition": "state", "scheduled_sampling": 0.5},
        {"attention": "none", "condition": "both", "num_layers": 2, "dropout": 0.1, "level": "char"},
        {"attention": "additive", "feed": "context", "cell": "lstm", "colour": "rgb"},
        {"attention": "dot", "hidden_size": 16, "feed": "attentional", "scheduled_sampling": 0.5, "cell": "gru"},
        {"attention": "scaled", "hidden_size": 16, "feed": "none", "level": "bpe", "tie_weights": False},
    ],
)
def test_every_option_trains_and_comes_back(options: dict[str, Any], table: Path, tmp_path: Path) -> None:
    settings = SMALL | {"epochs": 3, "criterion": "loss", "image_size": 12, "resize": "stretch"} | options
    model = Captioner(**settings).fit(table, table, tmp_path / "m", progress=False)
    losses = [each["loss"] for each in model.history if each["kind"] == "validation"]
    assert losses[-1] < losses[0]
    paths = [table.parent / "图0.png", table.parent / "图5.png"]
    told = list(model.predict(paths, beam=2))
    assert [each.text for each in ostinato.load(tmp_path / "m").predict(paths, beam=2)] == [e.text for e in told]
    assert (told[0].candidates[0].look is None) == (options["attention"] == "none")
    if options["attention"] == "none":
        with pytest.raises(SettingsError, match="nothing to show"):
            list(model.predictions(paths, PredictSettings.checked({"plot": str(tmp_path / "f.png")})))


def test_settings_at_odds_are_told() -> None:
    with pytest.raises(SettingsError, match="nothing to feed"):
        Captioner(attention="none", feed="context")
    with pytest.raises(SettingsError, match=r"filters = \(0,\)"):
        Captioner(filters=(0,))
    with pytest.raises(SettingsError, match="image_size"):
        Captioner(image_size="large")


def test_several_captions_of_an_image_are_told_as_if_it_stood_there_twice(trained: Captioner, table: Path) -> None:
    """An image with two captions weighs as much as two rows of one each, and is encoded once."""
    trained.network.eval()
    examples = read(table)[:3]
    together = trained.batch([trained.encode(each) for each in examples])
    apart = trained.batch(
        [trained.encode(each._replace(captions=(one,))) for each in examples for one in each.captions]
    )
    assert len(together.images) == 3 and len(apart.images) == 6 and together.of.tolist() == [0, 0, 1, 1, 2, 2]
    with torch.no_grad():
        assert float(trained.loss(together)) == pytest.approx(float(trained.loss(apart)), rel=1e-5)


# scenes and pictures


def test_scenes_are_as_their_captions_say(tmp_path: Path) -> None:
    digits = np.zeros((10, 8, 8), np.uint8)
    for value in range(10):
        digits[value, 1:7, 2:6] = 25 * value + 5  # a digit is its shade
    made = list(scenes(digits, np.arange(10), 20, 60, seed=3))
    for image, (one, other) in made:
        words = one.split()
        first, second = (np.argwhere(image == 25 * WORDS.index(words[at]) + 5).astype(float) for at in (1, -1))
        apart = second.mean(0) - first.mean(0)
        if words[1] != words[-1]:
            assert len(first) == len(second) == 24 and apart[0 if words[2] == "above" else 1] >= 4
        assert other.split()[1] == words[-1] and other.split()[2] == {"above": "below", "left": "right"}[words[2]]
    assert len({caption for scene in made for caption in scene.captions}) > 60
    path = write_scenes(tmp_path, "s.csv", iter(made[:5]))
    assert [each.captions for each in read(path)] == [scene.captions for scene in made[:5]]


def test_a_picture_is_drawn_in_every_form(tmp_path: Path) -> None:
    look = Look(["一", "$dog$"], np.array([[[0.1, 0.9], [0.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]]], np.float32))
    for form in ("png", "svg", "pdf"):
        draw(path := tmp_path / f"f.{form}", np.full((3, 8, 8), 99, np.uint8), "一 $dog$", look)
        first = path.read_bytes()
        draw(path, np.full((1, 8, 8), 99, np.uint8), "一 $dog$", look)
        assert path.read_bytes() == first  # the same picture is the same bytes


def test_places_come_in_rows() -> None:
    encoder = ImageEncoder(1, 32, 16, filters=(2,), places=99).eval()
    image = torch.zeros(1, 1, 32, 16, dtype=torch.uint8)
    image[0, 0, 30, 1] = 255
    with torch.no_grad():
        changed = (encoder(image) - encoder(torch.zeros_like(image))).abs().sum(2).flatten()
    assert encoder.grid == (32, 16)
    rows = set((changed.nonzero().flatten() // 16).tolist())
    assert rows <= {29, 30, 31} and rows
