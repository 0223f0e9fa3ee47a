"""Settings: what is unknown or wrong is named, wherever it came from."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from ostinato.codecs.text import TextSettings
from ostinato.errors import OstinatoError, SettingsError
from ostinato.settings import Settings, read_yaml


class Example(Settings):
    """Every kind of setting."""

    hidden_size: int = Field(256, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    top_k: int | None = Field(None, ge=1)
    cell: Literal["gru", "lstm"] = "lstm"
    stop: list[str] = Field(default_factory=list)
    tie: bool = False

    @model_validator(mode="after")
    def _agree(self):
        if self.tie and self.hidden_size == 1:
            raise ValueError("tie: needs a larger hidden_size")
        return self


def explanation(values) -> str:
    with pytest.raises(SettingsError) as caught:
        Example.checked(values)
    assert caught.value.exit_code == 2 and isinstance(caught.value, OstinatoError | ValueError)
    return str(caught.value)


def test_an_unknown_name_is_told_with_the_nearest():
    assert explanation({"hiden_size": 3}) == "unknown setting 'hiden_size' (did you mean hidden_size?)"
    assert explanation({"zzz": 3}) == "unknown setting 'zzz'"
    with pytest.raises(SettingsError, match=r"'levl' \(did you mean level\?\)"):
        TextSettings.checked({"levl": "char"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 0}, "hidden_size = 0: Input should be greater than or equal to 1"),
        ({"hidden_size": "many"}, "hidden_size = 'many': Input should be a valid integer"),
        ({"hidden_size": 1.5}, "hidden_size = 1.5: Input should be a valid integer"),
        ({"hidden_size": None}, "hidden_size = None: Input should be a valid integer"),
        ({"dropout": 1}, "dropout = 1: Input should be less than 1"),
        ({"dropout": float("nan")}, "dropout = nan: Input should be"),
        ({"top_k": -2}, "top_k = -2: Input should be greater than or equal to 1"),
        ({"cell": "lstmm"}, "cell = 'lstmm': Input should be 'gru' or 'lstm'"),
        ({"stop": "."}, "stop = '.': Input should be a valid list"),
        ({"stop": [1]}, "stop.0 = 1: Input should be a valid string"),
        ({"tie": "perhaps"}, "tie = 'perhaps': Input should be a valid boolean"),
        ({"tie": True, "hidden_size": 1}, "tie: needs a larger hidden_size"),
    ],
)
def test_a_wrong_value_is_told_with_its_name(values, message):
    assert explanation(values).startswith(message)


def test_every_wrong_value_is_told():
    found = explanation({"hidden_size": 0, "cel": "gru", "dropout": -1}).split("; ")
    assert [re.split("[ =]+", part)[0] for part in found] == ["hidden_size", "dropout", "unknown"]


def test_settings_are_values():
    made = Example.checked({"hidden_size": "3", "dropout": "1e-1"})
    assert made == Example(hidden_size=3, dropout=0.1) and made.model_fields_set == {"hidden_size", "dropout"}
    assert Example.checked(made.plain()) == made
    with pytest.raises(ValidationError):
        made.hidden_size = 4


@pytest.fixture
def yaml_file(tmp_path):
    def write(content: bytes):
        (tmp_path / "settings.yaml").write_bytes(content)
        return tmp_path / "settings.yaml"

    return write


def test_yaml_is_read_as_settings(yaml_file):
    values = read_yaml(yaml_file("hidden_size: 64\ndropout: 1e-1  # small\nstop: [。]\ntop_k:\n".encode()))
    made = Example.checked(values)
    assert (made.hidden_size, made.dropout, made.stop, made.top_k) == (64, 0.1, ["。"], None)
    assert read_yaml(yaml_file(b"1: a\n")) == {"1": "a"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hidden_size: 64\ncell: [gru\n", "not YAML: .*line 3, column 1"),
        (b"hidden_size: 64\n\tcell: gru\n", "not YAML: .*line 2, column 1"),
        (b"cell: \xff\n", "not YAML: 'utf-8' codec can't decode byte 0xff in position 6"),
        (b"cell: !!python/name:os.system\n", "not YAML: could not determine a constructor"),
        (b"day: 2024-13-01\n", "not YAML: month must be in 1..12"),
        (b"", "expected lines such as 'hidden_size: 256', found NoneType"),
        (b"- 1\n- 2\n", "expected lines .* found list"),
        (b"hidden_size=3\n", "expected lines .* found str"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_told_with_its_place(content, message, yaml_file):
    with pytest.raises(SettingsError, match=rf"settings\.yaml: {message}") as caught:
        read_yaml(yaml_file(content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml: No such file or directory"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="Is a directory"):
        read_yaml(tmp_path)
