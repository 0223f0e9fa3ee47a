"""Trees as text and as numbers: what is read is what was written, and what is wrong is told with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.codecs.tree_codec import TreeCodec, TreeTextSettings, UnknownLabel
from ostinato.codecs.trees import Failure, Tree, balanced, binarised, read_brackets, read_json
from ostinato.codecs.vocabulary import Vocabulary
from ostinato.errors import BundleError, DataError
from ostinato.tasks.tree_examples import TreeReader, TreeReadingSettings

WORDS = st.text(st.sampled_from("ab猫é()[]{}\u00a0'-"), min_size=1, max_size=4)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree of some leaves, joined at random."""
    words: list[str | None] = list(draw(st.lists(WORDS, min_size=1, max_size=6)))
    nested = [json.dumps({"word": word, "label": draw(st.sampled_from("012"))}) for word in words]
    while len(nested) > 1:
        at = draw(st.integers(0, len(nested) - 2))
        count = draw(st.integers(2, 3))
        under = ", ".join(nested[at : at + count])
        nested[at : at + count] = ['{"label": "%s", "children": [%s]}' % (draw(st.sampled_from("012")), under)]  # noqa: UP031
    return read_json(nested[0])


@given(tree=trees(), cut=st.integers(0, 40))
def test_what_is_written_is_read(tree: Tree, cut: int) -> None:
    text = tree.brackets()
    spread = text.replace(" (", "\r\n\t (") + "\n"
    for blocks in ([text], [text[:cut], text[cut:]], list(text), [spread]):
        assert [found for found, _ in read_brackets(blocks)] == [tree]
    two = list(read_brackets([f"\n{text}\n\n{spread}"]))
    assert [found for found, _ in two] == [tree, tree]
    assert [line for _, line in two] == [2, 4]


@given(tree=trees())
def test_binarised_keeps_words_and_labels(tree: Tree) -> None:
    found = binarised(tree)
    assert max(map(len, found.children())) <= 2
    assert [word for word in found.words if word] == [word for word in tree.words if word]
    assert sorted(label for label in found.labels if label) == sorted(label for label in tree.labels if label)
    assert [found for found, _ in read_brackets([found.brackets()])] == [found]
    deep = [len(_above(found, node)) for node, word in enumerate(found.words) if word]
    assert all(parent > node for node, parent in enumerate(found.parents[:-1])) and max(deep) <= len(found.words)


def _above(tree: Tree, node: int) -> list[int]:
    found = []
    while (node := tree.parents[node]) >= 0:
        found.append(node)
    return found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("(3 (2 a) (1 b)", r"line 1, column 1: this bracket is never closed"),
        ("(3 (2 a))\n(1 b))", r"line 2, column 6: there is no open bracket"),
        ("(3 (2 a) ((1 b) (1 c)))", r"line 1, column 10: a label is missing"),
        ("(2 a)\n\n (3 (2 a)\n  ())", r"line 4, column 3: an empty bracket"),
        ("(3 (2 a) (1))", r"line 1, column 10: a label and a word are needed, but there is only '1'"),
        ("(3 a b)", r"line 1, column 6: the word 'b' beside 'a'"),
        ("(3 (2 a) b)", r"line 1, column 10: the word 'b' beside brackets"),
        ("(2 a) b", r"line 1, column 7: expected \(, found 'b'"),
        ("((2 a) (2 b))", r"line 1, column 1: a label is missing"),
    ],
)
def test_what_is_no_tree_is_told_with_line_and_column(text: str, told: str) -> None:
    with pytest.raises(DataError, match=f"t.txt: {told}"):
        list(read_brackets([text], "t.txt"))


def test_brackets_of_a_treebank() -> None:
    text = "( (S (NP (-NONE- *T*-1) (NN -LRB-x-RRB-)) (CD 1\\/2)) )\n(_ (a 1\u00a01\\/2))"
    first, second = (tree for tree, _ in read_brackets([text]))
    assert first.words == ("*T*-1", "(x)", None, "1/2", None) and first.labels[-1] == "S"
    assert second.words == ("1\u00a01/2", None) and second.labels == ("a", None)
    (inside,) = (tree for tree, _ in read_brackets(["(root runs (nsubj dog) (advmod fast))"]))
    assert inside.words == ("dog", "fast", "runs") and inside.parents == (2, 2, -1)
    assert [tree for tree, _ in read_brackets([inside.brackets()])] == [inside]
    assert list(read_brackets([" \r\n"])) == []


def test_depth_costs_no_stack() -> None:
    depth = 20_000
    text = "(1 " * depth + "(1 x)" + ")" * depth
    ((tree, _),) = read_brackets([text])
    assert len(tree.words) == depth + 1 and tree.brackets() == text and binarised(tree) is tree
    with pytest.raises(Failure, match="nested too deep"):
        read_json('{"children": [' * depth + '{"word": "x"}' + "]}" * depth)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"word": "a", }', r"not JSON"),
        ('{"label": 1}', r"\$: a leaf without a word"),
        ('{"children": [{"word": "a"}, {"word": 3}]}', r"\$.children\[1\].word: expected text, found 3"),
        ('{"children": {"word": "a"}}', r"\$.children: expected a list, found dict"),
        ('{"wrod": "a"}', r"\$: unknown 'wrod'"),
        ("[1]", r"\$: expected an object"),
        ('{"word": "a", "label": [1]}', r"\$.label: expected text or a number"),
    ],
)
def test_json_that_is_no_tree_is_told(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_text('{"word": "a", "label": true}\n\n' + line + "\n")
    reader = TreeReader([path], TreeReadingSettings()).examples()
    assert next(reader).tree.labels == ("true",)
    with pytest.raises(DataError, match=rf"trees.jsonl: line 3, column \d+: {told}"):
        list(reader)


def test_plain_text_gets_a_tree() -> None:
    codec = TreeCodec(TreeTextSettings(), Vocabulary(["<unk>", "is", "n't"]), ("0", "1"))
    tree = codec.tree_of("This isn't bad: we laughed, and then we went home. The end.")
    words = [word for word in tree.words if word]
    assert words[:4] == ["This", "is", "n't", "bad"] and words[-3:] == ["The", "end", "."]
    assert {len(children) for children in tree.children()} == {0, 2}
    under_root = [child for child, parent in enumerate(tree.parents) if parent == len(tree.parents) - 1]
    assert [word for word in tree.words[under_root[0] + 1 :] if word] == ["The", "end", "."]
    long = balanced(["a"] * 5000)
    assert max(len(_above(long, node)) for node in range(0, len(long.words), 97)) <= 14
    chinese = TreeCodec.learn(
        [balanced(["很", "好"])._replace(labels=("0", "1", "1"))], TreeTextSettings(tokens="words")
    )
    assert [word for word in chinese.tree_of("很好，喜欢。").words if word] == ["很", "好", "，", "喜", "欢", "。"]
    with pytest.raises(DataError, match="without words"):
        codec.tree_of("  ")


def test_a_codec_comes_back(tmp_path: Path) -> None:
    (tree,) = (found for found, _ in read_brackets(["(10 (2 Not) (9 bad))"]))
    codec = TreeCodec.learn([tree], TreeTextSettings())
    assert codec.labels == ("2", "9", "10") and codec.sides == ([0], [1, 2])
    assert codec.row(tree)["labels"].tolist() == [0, 1, 2] and codec.row(tree)["words"].tolist() == [2, 1, -1]
    codec.save(tmp_path)
    again = TreeCodec.load(tmp_path)
    assert (again.labels, again.settings, again.vocabulary.tokens) == (
        codec.labels,
        codec.settings,
        codec.vocabulary.tokens,
    )
    with pytest.raises(UnknownLabel, match="'x' is not among those learned"):
        codec.label_id("x")
    two = TreeCodec.learn([tree], TreeTextSettings(binary=True))
    assert [two.label_id(label) for label in ("2", "6", "7.5", None, "negative")] == [0, -1, 1, -1, 0]
    two.save(tmp_path)
    assert TreeCodec.load(tmp_path).scale == (2.0, 10.0)
    (tmp_path / "trees.json").write_text("{}")
    with pytest.raises(BundleError, match="damaged"):
        TreeCodec.load(tmp_path)


def test_labels_that_cannot_be_learned() -> None:
    with pytest.raises(DataError, match="no node has a label"):
        TreeCodec.learn([balanced(["a"])], TreeTextSettings())
    with pytest.raises(DataError, match="only the label 'x'"):
        TreeCodec.learn([tree for tree, _ in read_brackets(["(x a)"])], TreeTextSettings())
    with pytest.raises(DataError, match="must be numbers, found 'x'"):
        TreeCodec.learn([tree for tree, _ in read_brackets(["(x a) (1 a)"])], TreeTextSettings(binary=True))


def test_files_are_told_apart(tmp_path: Path) -> None:
    reader = TreeReader([], TreeReadingSettings())
    for name, text, kind in (
        ("a.txt", "\n  (1 a)", "brackets"),
        ("b.txt", '{"word": "a"}', "json"),
        ("c.jsonl", "(", "json"),
        ("d.txt", "a (b)", "text"),
        ("e.txt", "", "text"),
    ):
        (tmp_path / name).write_text(text)
        assert reader.kind(tmp_path / name) == kind
    with pytest.raises(DataError, match=r"d.txt: line 1: expected a tree, such as .* found 'a \(b\)'"):
        list(TreeReader([tmp_path / "d.txt"], TreeReadingSettings()).examples())
