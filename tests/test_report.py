"""The page of a model: what it holds, that it asks nobody for anything, and that it can be used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from ostinato import Classifier, LanguageModel, LinearClassifier, NGramLanguageModel, Translator
from ostinato.cli.after_fit import report_of
from ostinato.cli.inspect import inspect
from ostinato.diagnostics.held_out import held_out
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.report.activations import read
from ostinato.report.figures import Form, draw_figures
from ostinato.report.of_model import SECTIONS
from ostinato.report.page import document, embedded
from ostinato.report.subject import Subject
from ostinato.report.writing import charts_of, write_report
from tests import chromium
from tests.conftest import SMALL, make_text
from tests.test_cli import OPTIONS, ostinato

browser = pytest.mark.skipif(chromium.find() is None, reason="no Chromium here")
EVIL = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>"
SAID = '"the cat sat" said a bird.\n"a dog ran" said the tree.\n'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model whose corpus has quotes, and something that is no text to a careless page."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "corpus.txt").write_text((EVIL + "\n") * 4 + make_text(150) + SAID * 40 + EVIL + "\n")
    options = SMALL | {"epochs": 4, "evaluate_every": 20, "log_every": 5}
    LanguageModel(**options).fit(folder / "corpus.txt", output=folder / "mine", progress=False)
    return folder / "mine"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = [("a fine fish", EVIL), ("a stale fish", "bad"), (EVIL, "bad")] * 20
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in rows))
    options: dict[str, Any] = {"hidden_size": 8, "epochs": 2, "batch_size": 16, "device": "cpu", "seed": 1}
    Classifier(**options).fit(folder / "train.jsonl", output=folder / "mine", progress=False)
    return folder / "mine"


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "pairs.tsv").write_text("eins zwei\tone two\nzwei drei\ttwo three\nein <b>\ta <b>\n" * 30)
    options: dict[str, Any] = {"level": "word", "hidden_size": 16, "embedding_size": 8, "epochs": 6, "batch_size": 8}
    options |= {"dropout": 0.0, "label_smoothing": 0.0, "learning_rate": 0.02, "warmup_steps": 5, "criterion": "loss"}
    Translator(**options).fit(folder / "pairs.tsv", output=folder / "mine", progress=False)
    return folder / "mine"


@pytest.fixture(scope="module")
def pages(model: Path, classifier: Path, translator: Path) -> dict[str, Path]:
    """The reports of all three, in their folders."""
    return {name: write_report(path) for name, path in
            (("model", model), ("classifier", classifier), ("translator", translator))}  # fmt: skip


def sections(content: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in content["sections"]}


def written(page: Path) -> dict[str, Any]:
    """The document that stands in a page."""
    found = re.search(r'id="document">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


MEASURED = {"gradient", "spectrum", "gates", "training", "reach", "activations", "neighbours", "tables"}


def test_a_task_has_its_sections(pages: dict[str, Path], classifier: Path) -> None:
    found = {name: sections(written(path)) for name, path in pages.items()}
    assert found["model"].keys() == MEASURED | {"forgetting", "samples"}
    assert found["classifier"].keys() == MEASURED | {"confusion"}
    assert found["translator"].keys() == MEASURED | {"attention"}
    assert all(written(path)["findings"] for path in pages.values())
    told = found["classifier"]["confusion"]["charts"][0]["grid"]
    assert told["columns"] == sorted([EVIL, "bad"])
    assert sum(map(sum, told["values"])) == json.loads((classifier / "run" / "validation.json").read_text())["rows"]
    aligned = found["translator"]["attention"]["data"]["charts"][0]["grid"]
    assert np.array(aligned["values"]).shape == (len(aligned["rows"]), len(aligned["columns"]))


def test_without_run_and_history_what_they_gave_is_left_out(model: Path, tmp_path: Path) -> None:
    LanguageModel.from_bundle(model).save(tmp_path / "moved")
    (tmp_path / "moved" / "history.jsonl").unlink()
    found = sections(document(Subject(tmp_path / "moved"), SECTIONS, "en"))
    assert not {"training", "activations"} & found.keys()
    with_text = sections(document(Subject(tmp_path / "moved", (str(model.parent / "corpus.txt"),)), SECTIONS, "en"))
    assert "activations" in with_text


def test_models_without_layers_have_a_report_too(tmp_path: Path) -> None:
    corpus, texts = tmp_path / "corpus.txt", tmp_path / "texts.csv"
    corpus.write_text(make_text(50))
    NGramLanguageModel(order=3).fit(corpus, output=tmp_path / "ngram", progress=False)
    assert sections(document(Subject(tmp_path / "ngram"), SECTIONS, "en")).keys() == {"samples", "tables"}
    with pytest.raises(SettingsError, match="makes nothing of held-out files"):
        Subject(tmp_path / "ngram", (str(corpus),))
    texts.write_text("text,label\n" + "a good fish,1\na bad fish,0\n" * 20)
    LinearClassifier().fit(texts, output=tmp_path / "linear", progress=False)
    assert sections(document(Subject(tmp_path / "linear"), SECTIONS, "en")).keys() == {"tables"}
    found = sections(document(Subject(tmp_path / "linear", (str(texts),)), SECTIONS, "en"))
    assert np.array(found["confusion"]["charts"][0]["grid"]["values"]).tolist() == [[20, 0], [0, 20]]


def test_activations_are_the_outputs_of_the_layers(model: Path) -> None:
    trained = LanguageModel.from_bundle(model)
    text = "the cat sat on a mat.\n" + SAID
    (model.parent / "held-out.txt").write_text(text)
    data = held_out(trained, model, [str(model.parent / "held-out.txt")])
    assert data is not None
    found = read(trained, data)
    assert found is not None
    assert "".join(found.pieces) == text
    assert found.surprise is not None
    log_p = [each.log_probability for each in trained.score(text)][1:]
    # `score` begins after a new line, the report with nothing before
    ids = torch.from_numpy(data.ids).unsqueeze(1)
    with torch.no_grad():
        hidden, _ = trained.network(ids)
        own = trained.network.head.log_probabilities(hidden[:-1]).gather(2, ids[1:].unsqueeze(2)).flatten()
    np.testing.assert_allclose(-found.surprise[1:], own.numpy(), atol=1e-4)
    assert len(log_p) == len(own)
    levels, largest = found.layers["layer 1"]
    wanted = hidden[:, 0].t().numpy()
    assert levels.shape == wanted.shape
    np.testing.assert_allclose(levels / 127 * largest[:, None], wanted, atol=float(largest.max()) / 200)


def test_what_users_write_is_text_in_the_file(model: Path, pages: dict[str, Path]) -> None:
    path = pages["model"]
    assert path == model / "report.html"
    page = path.read_text("utf-8")
    assert EVIL not in page
    assert "<script>window.hacked" not in page
    assert len(re.findall(r"<script", page.split('id="plotly"')[0])) == 2
    assert page.count("plotly.js v") == 1
    assert embedded({"a": "<!--<script>"}).count("<") == 0
    assert path.stat().st_size < 8_000_000


def test_the_same_charts_for_print(translator: Path, tmp_path: Path, capsys: Any) -> None:
    charts = {chart.name: chart for chart in charts_of(Subject(translator))}
    drawn = ("loss", "gradient-norm", "gradient-over-training-0", "spectrum-0", "gates-0", "alignment-0")
    assert "gradient-by-lag" in charts
    inspect(translator, figures=tmp_path / "svg", form="svg")
    assert capsys.readouterr().out.split() == [str(tmp_path / "svg" / f"{name}.svg") for name in charts]
    for form, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        names = drawn if form == "png" else drawn[:1]
        paths = draw_figures([charts[name] for name in names], tmp_path / form / "zh", cast("Form", form), "zh")
        assert [path.name for path in paths] == [f"{name}.{form}" for name in names]
        assert all(path.read_bytes().startswith(begins) for path in paths)
    again = draw_figures([charts["loss"]], tmp_path / "again", "svg", "zh")
    assert again[0].read_bytes() == (tmp_path / "svg" / "zh" / "loss.svg").read_bytes()


def test_a_report_that_cannot_be_written_costs_nothing(model: Path, tmp_path: Path, capsys: Any) -> None:
    assert report_of(tmp_path / "none") is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no such folder" in said
    assert f"ostinato inspect {tmp_path / 'none'}" in said
    with pytest.raises(BundleError):
        write_report(tmp_path / "none")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError):
        write_report(model, [tmp_path / "empty.txt"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_on_the_command_line(model: Path, tmp_path: Path, capsys: Any) -> None:
    corpus = model.parent / "corpus.txt"
    run = ostinato("fit", "language-model", corpus, "-o", tmp_path / "mine", "--json", *OPTIONS)
    assert json.loads(run.stdout)["report"] == str(tmp_path / "mine" / "report.html")
    assert (tmp_path / "mine" / "report.html").exists()
    inspect(tmp_path / "mine", [str(corpus)], tmp_path / "page.html", lang="zh", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"report": str(tmp_path / "page.html")}
    assert '<html lang="zh-CN">' in (tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(SettingsError, match="one of en, zh"):
        inspect(model, lang="fr")
    with pytest.raises(SettingsError, match="one of png, svg, pdf"):
        inspect(model, figures=tmp_path, form="gif")
    with pytest.raises(SettingsError, match="leave out"):
        inspect(model, figures=tmp_path, open_it=True)
    assert "no such folder" in ostinato("inspect", tmp_path / "none", status=1).stderr


@browser
def test_a_reader_uses_the_page(model: Path, pages: dict[str, Path], tmp_path: Path) -> None:
    path = pages["model"]
    with chromium.Page() as page:
        page.open(path.as_uri())
        assert page.run("document.querySelectorAll('.drawing .scatterlayer path.js-line').length") >= 3
        assert page.run("[...document.querySelectorAll('.drawing')].every(each => each.querySelector('svg'))")
        tokens = "[...document.querySelectorAll('[data-part=text] span')]"
        colours = f"JSON.stringify({tokens}.map(each => each.style.backgroundColor))"
        chosen = int(page.run("document.querySelector('[data-part=unit]').value"))
        before = page.run(colours)
        page.run("document.querySelector('[data-part=next]').click()")
        assert page.run("document.querySelector('[data-part=unit]').value") == str((chosen + 1) % 24)
        after = page.run(colours)
        assert before != after
        page.run(f"(unit => {{ unit.value = {chosen}; unit.dispatchEvent(new Event('change')); }})"
                 "(document.querySelector('[data-part=unit]'))")  # fmt: skip
        assert page.run(colours) == before

        assert_search_finds(page, model, "quotes", inside)
        assert_search_finds(page, model, "position", columns)
        search(page, "given", "said")
        assert page.run("document.querySelectorAll('[data-part=found] button').length") > 0
        search(page, "given", "[", regex=True)
        assert "Not a regular expression" in page.run("document.querySelector('[data-part=found]').textContent")
        search(page, "given", "[", regex=False)
        assert "no such place" in page.run("document.querySelector('[data-part=found]').textContent")

        assert page.run("document.querySelectorAll('[data-part=neighbours] li').length") == 8
        page.run("document.querySelector('[data-part=language]').click()")
        page.wait("document.documentElement.lang === 'zh-CN'")
        assert "训练过程" in page.run("document.querySelector('nav').textContent")
        page.pdf(tmp_path / "page.pdf")
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
        assert_quiet(page, path)


@browser
def test_nothing_of_a_user_is_run(pages: dict[str, Path]) -> None:
    with chromium.Page(dark=True) as page:
        for path in pages.values():
            page.open(path.as_uri())
            assert page.run("window.hacked === undefined && !document.querySelector('img')")
            assert page.run("document.documentElement.dataset.theme") == "dark"
            assert_quiet(page, path)
            if path == pages["model"]:
                assert "window.hacked=1" in page.run("document.querySelector('[data-part=text]').textContent")
            if path == pages["classifier"]:
                assert "</script>" in page.run("document.querySelector('[data-chart=confusion]').textContent")
                counts = page.run("[...document.querySelectorAll('.heatmap-label')].map(each => each.textContent)")
                told = sections(written(path))["confusion"]["charts"][0]["grid"]["values"]
                assert sorted(map(int, counts)) == sorted(count for row in told for count in row)


@browser
def test_on_a_phone_nothing_is_cut_off(pages: dict[str, Path]) -> None:
    with chromium.Page(width=360, height=740, phone=True) as page:
        for path in pages.values():
            page.open(path.as_uri())
            assert page.run("document.documentElement.scrollWidth") <= 360
            seen = "[...document.querySelectorAll('main *')].filter(each => !each.closest('nav, svg'))"
            beyond = f"{seen}.filter(each => each.getBoundingClientRect().right > 361).map(each => each.outerHTML)"
            assert page.run(beyond) == []


def assert_quiet(page: chromium.Page, path: Path) -> None:
    assert page.errors == []
    assert [each for each in page.requests if not each.startswith(("data:", "blob:"))] == [path.as_uri()]


def search(page: chromium.Page, feature: str, pattern: str = "", regex: bool = False) -> None:
    page.run(
        "(([feature, pattern, regex]) => { const part = (name) => document.querySelector(`[data-part=${name}]`);"
        "part('feature').value = feature; part('feature').dispatchEvent(new Event('change'));"
        "part('pattern').value = pattern; part('regex').checked = regex; part('find').click(); })"
        f"({json.dumps([feature, pattern, regex])})"
    )


def assert_search_finds(page: chromium.Page, model: Path, feature: str, of: Any) -> None:
    """The best unit, and its correlation, are those that NumPy finds."""
    search(page, feature)
    subject = Subject(model)
    assert subject.read is not None
    values = np.array(of("".join(subject.read.pieces)), float)
    found = []
    for index, (levels, _) in enumerate(subject.read.layers.values()):
        with np.errstate(invalid="ignore"):
            found += [(abs(r), f"{index}/{unit}", r) for unit, r in enumerate(np.corrcoef(values, levels)[0, 1:])]
    _, unit, r = max(found)
    best = "document.querySelector('[data-part=found] button')"
    assert page.run(f"{best}.dataset.unit") == unit
    assert page.run(f"{best}.getAttribute('aria-pressed')") == "true"
    assert page.run(f"{best}.textContent").endswith(f"{'−' if r < 0 else '+'}{abs(r):.2f}")


def inside(text: str) -> list[int]:
    """1 for each character from a quote that opens to the one before that which closes."""
    found, is_open = [], False
    for letter in text:
        is_open ^= letter == '"'
        found.append(int(is_open))
    return found


def columns(text: str) -> list[int]:
    return [at - (text.rfind("\n", 0, at) + 1) for at in range(len(text))]
