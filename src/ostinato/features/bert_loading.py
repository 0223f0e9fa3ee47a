"""Encoders of BERT's kind with their tokenizers: from a bundle, a folder of transformers, or the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer

from ostinato import bundle
from ostinato.devices import pick_device
from ostinato.errors import BundleError, MissingExtra, SettingsError

TASK = "bert"
TOKENIZER = "tokenizer.json"


class Encoder(NamedTuple):
    """A network that gives each token of a text a vector, and what cuts text into its tokens."""

    tokenizer: Tokenizer
    network: Any
    max_length: int
    """Tokens of the longest text that the network reads, [CLS] and [SEP] included."""
    padding_id: int


def library(purpose: str) -> Any:
    """The package transformers.

    Raises:
        MissingExtra: if it is not installed.
    """
    if find_spec("transformers") is None:
        raise MissingExtra("transformers", "bert", purpose)
    import transformers

    return transformers


def bert_config(settings: Mapping[str, Any], vocabulary: int, padding_id: int) -> Any:
    """The configuration of a BERT, as transformers has it, that settings of the task `bert` describe."""
    return library("a BERT").BertConfig(
        vocab_size=vocabulary,
        hidden_size=settings["hidden_size"],
        num_hidden_layers=settings["num_layers"],
        num_attention_heads=settings["num_heads"],
        intermediate_size=4 * settings["hidden_size"],
        max_position_embeddings=settings["max_length"],
        hidden_dropout_prob=settings["dropout"],
        attention_probs_dropout_prob=settings["dropout"],
        pad_token_id=padding_id,
    )


def load_encoder(model: str | Path, revision: str | None, device: str, dtype: str) -> Encoder:
    """An encoder ready to run: weights from safetensors only, and no code of the model's.

    Args:
        model: a folder that `ostinato fit bert` or transformers wrote, or the name of a repository of the hub.
        revision: branch, tag or commit of the repository.
        device: where it runs.
        dtype: of weights and products, by torch's name.

    Raises:
        BundleError: if it cannot be had, is damaged, has no safetensors, or lacks weights.
        SettingsError: if there is no such device, or a folder is given a revision.
        MissingExtra: if transformers is not installed.
    """
    found = library("BertVectors")
    place, folder = pick_device(device), Path(model)
    if folder.exists() and revision is not None:
        raise SettingsError(f"revision = {revision!r}: {folder} is a folder, and only a repository has revisions")
    with _quiet(found):
        load = _from_bundle if (folder / bundle.MANIFEST).is_file() else _from_library
        tokenizer, network, max_length, padding_id = load(found, model, revision)
    network = network.to(device=place, dtype=getattr(torch, dtype)).eval()
    tokenizer.no_padding()
    return Encoder(tokenizer, network, max_length, padding_id)


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a JSON file.

    Raises:
        BundleError: if it is missing or damaged.
    """
    try:
        return Tokenizer.from_str(path.read_text("utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    except Exception as error:  # the library raises a bare Exception
        raise BundleError(f"{path}: damaged: {error}") from None


def _from_bundle(found: Any, model: str | Path, revision: str | None) -> Encoder:  # noqa: ARG001
    folder = Path(model)
    manifest = bundle.read_manifest(folder)
    if manifest["task"] != TASK:
        raise BundleError(f"{folder}: holds a {manifest['task']}, not a {TASK}")
    tokenizer = read_tokenizer(folder / bundle.CODEC / TOKENIZER)
    padding_id = tokenizer.token_to_id("[PAD]")
    if padding_id is None:
        raise BundleError(f"{folder / bundle.CODEC / TOKENIZER}: damaged: it has no [PAD]")
    tensors, _ = bundle.read_tensors(folder / bundle.WEIGHTS)
    prefix = "bert."  # before the encoder's own weights; the heads of pre-training have others
    own = {name.removeprefix(prefix): torch.from_numpy(t) for name, t in tensors.items() if name.startswith(prefix)}
    try:
        config = bert_config(manifest["settings"], tokenizer.get_vocab_size(), padding_id)
        network = found.BertModel(config, add_pooling_layer=False)
        odd = network.load_state_dict(own, strict=False)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BundleError(f"{folder}: damaged: {str(error).splitlines()[0]}") from None
    if odd.missing_keys:
        raise BundleError(f"{folder / bundle.WEIGHTS}: weights are missing: {', '.join(odd.missing_keys[:3])}")
    return Encoder(tokenizer, network, config.max_position_embeddings, padding_id)


def _from_library(found: Any, model: str | Path, revision: str | None) -> Encoder:
    name, folder = str(model), Path(model)
    if folder.exists() and not (folder / "config.json").is_file():
        held = ", ".join(sorted(e.name for e in folder.iterdir())[:5]) if folder.is_dir() else "a file"
        raise BundleError(f"{folder}: no BERT: no config.json (found: {held or 'nothing'})")
    if not folder.exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise BundleError(f"{folder}: no such folder")
    options = {"revision": revision or "main", "trust_remote_code": False}
    try:
        tokenizer = found.AutoTokenizer.from_pretrained(name, use_fast=True, **options)
        network, info = found.AutoModel.from_pretrained(name, use_safetensors=True, output_loading_info=True, **options)
    except Exception as error:  # what it raises of a damaged file depends on the file, down to safetensors' own errors
        where = f"{name}: cannot be loaded" if folder.exists() else f"{name}: no such folder here, nor had from the hub"
        raise BundleError(f"{where}: {' '.join(str(error).split())[:300]}") from None
    # the library fills what is missing at random; only the pooler, which nothing here reads, may be
    if missing := sorted(each for each in info["missing_keys"] if not each.startswith("pooler.")):
        raise BundleError(f"{name}: weights are missing: {', '.join(missing[:3])}; is it a model of another kind?")
    if not tokenizer.is_fast:
        raise BundleError(f"{name}: its tokenizer does not tell where a token stands: a tokenizer.json is needed")
    config = network.config
    if config.is_encoder_decoder:
        raise BundleError(f"{name}: a {config.model_type} has a decoder: an encoder of BERT's kind is needed")
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", 512))
    return Encoder(tokenizer.backend_tokenizer, network, longest, tokenizer.pad_token_id or 0)


@contextmanager
def _quiet(found: Any) -> Iterator[None]:
    """Without the library's bars and reports: what matters of them becomes an error here."""
    logging = found.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
