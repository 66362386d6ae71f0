"""Commands print names in any language, and show only errors that are meant without a traceback."""

import io
import json
import os
import sys

import numpy as np
import pytest

import train as train_module
from configs import CONFIGS
from console import encodable, errors_in_a_line, say
from helpers import BUILT_IN, QUIET, made_songs, shrink
from midi_utils import midi_files
from train import train

NAME = "mélodie ♫ 日本"  # no terminal of one byte per character can show all of it
ENCODINGS = ("ascii", "cp1252", "cp932", "utf-8")


@pytest.fixture
def terminal(monkeypatch):
    """Replaces standard output by one of an encoding; returns what was printed."""

    def of(encoding):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        return lambda: stream.buffer.getvalue().decode(encoding)

    return of


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", r"m\xe9lodie \u266b \u65e5\u672c"),
        ("cp1252", r"mélodie \u266b \u65e5\u672c"),
        ("utf-8", NAME),
    ],
)
def test_what_a_terminal_cannot_show_is_printed_as_escapes(terminal, encoding, printed):
    output = terminal(encoding)
    say(NAME, 3, sep=": ")
    assert output().rstrip() == f"{printed}: 3"


def test_a_name_that_is_no_text_is_printed(terminal):
    """A file name of bytes that are not UTF-8."""
    output = terminal("utf-8")
    say(os.fsdecode(b"caf\xe9.mid"))
    assert output().rstrip() == r"caf\udce9.mid"


def test_a_stream_without_an_encoding_gets_the_text():
    assert encodable(NAME, io.StringIO()) == encodable(NAME, None) == NAME


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_training_on_songs_with_any_name_prints_them(tmp_path, terminal, monkeypatch, encoding):
    """The report, the forecast of the duration, and the last line."""
    monkeypatch.setitem(CONFIGS, "cat-mel_2bar_tiny", shrink("cat-mel_2bar_tiny"))
    songs, out = tmp_path / "songs", str(tmp_path / NAME)
    songs.mkdir()
    for k, song in enumerate(sorted(midi_files(BUILT_IN))[:4]):
        (songs / f"{NAME} {k}.mid").write_bytes(song.read_bytes())
    (songs / f"{NAME} broken.mid").write_bytes(b"no music")
    output = terminal(encoding)
    command = ["--config", "cat-mel_2bar_tiny", "--data", str(songs), "--out", out, "--device", "cpu", "--valid", "0.3"]
    train_module.main([*command, "--steps", "1"])
    shown = NAME.encode(encoding, "backslashreplace").decode(encoding)
    assert f"{shown} broken.mid" in output()
    assert "after 1 steps" in output()
    train_module.main([*command, "--steps", "1"])
    assert "is finished: 1 steps of 1" in output()


def test_a_run_of_a_preset_with_any_name_prints_it(tmp_path, terminal):
    config = shrink("cat-mel_2bar_tiny")
    config = type(config)(NAME, config.model, config.converter, config.training)
    output = terminal("ascii")
    train(config, made_songs(config.converter), out_dir=tmp_path, steps=11, **QUIET | {"progress": True})
    assert r"m\xe9lodie \u266b \u65e5\u672c: about" in output()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_an_error_with_any_name_is_printed(monkeypatch, encoding):
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(SystemExit) as ended, errors_in_a_line():
        raise ValueError(f"{NAME}: no such folder")
    assert str(ended.value).encode(encoding).decode("unicode_escape" if encoding == "ascii" else encoding) == (
        f"error: {NAME}: no such folder"
    )


def raise_over_lines():
    raise ValueError(
        "an error that is meant, "  # whose statement has several lines
        f"by {__name__}"
    ) from None


@pytest.mark.parametrize(
    ("call", "line"), [(raise_over_lines, "error: an error that is meant"), (lambda: CONFIGS["x"], "error: no preset")]
)
def test_an_error_that_the_project_raises_ends_in_a_line(call, line):
    with pytest.raises(SystemExit, match=line), errors_in_a_line(ValueError, KeyError):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: "♫".encode("ascii"),
        lambda: int("three"),
        lambda: {}["key"],
        lambda: json.loads("{"),
        lambda: np.zeros(2).reshape(3),
        lambda: [].remove(1),
    ],
)
def test_an_error_that_nobody_meant_keeps_its_traceback(call):
    with pytest.raises((ValueError, KeyError)), errors_in_a_line(ValueError, KeyError):
        call()


def test_an_error_of_another_type_keeps_its_traceback():
    def fail():
        raise KeyError("key")

    with pytest.raises(KeyError), errors_in_a_line():
        fail()


def test_the_command_shows_where_an_error_comes_from_that_nobody_meant(tmp_path, monkeypatch, corpus_arguments):
    monkeypatch.setattr(train_module, "read_sets", lambda *arguments: "♫".encode("ascii"))
    with pytest.raises(UnicodeEncodeError):
        train_module.main(["--config", "cat-mel_2bar_tiny", *corpus_arguments, "--out", str(tmp_path / "out")])
