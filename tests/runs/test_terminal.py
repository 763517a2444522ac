import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import elusive
from elusive.cli.main import main
from elusive.runs import terminal

ROOM = Path(elusive.__file__).parent


def test_what_is_printed_shows_every_character(capsys):
    terminal.say("name \x1b]0;gotcha\x07 \u202eend \ud800")
    terminal.note("note \x1b[2J")
    shown = capsys.readouterr()
    assert shown.out == "name \\x1b]0;gotcha\\x07 \\u202eend \\ud800\n"
    assert shown.err == "note \\x1b[2J\n"


def test_a_character_that_the_terminal_cannot_show_is_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.say("Zoë")
    stream.seek(0)
    assert stream.read() == "Zo\\xeb\n"


def test_nothing_is_printed_past_the_one_door():
    calls = [
        f"{path.relative_to(ROOM)}:{node.lineno}"
        for path in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert {call.split(":")[0] for call in calls} == {"runs/terminal.py"}


def test_closed_standard_streams_are_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    terminal.say("unheard")
    terminal.note("unheard")
    assert not terminal.is_terminal(None)
    assert not terminal.output_is_closed()


@pytest.mark.parametrize("verb", [["settings"], ["score", "--help"], ["nonsense"]])
def test_a_closed_pipe_ends_the_command_without_a_word(verb):
    reader, writer = os.pipe()
    os.close(reader)
    error = subprocess.PIPE if verb != ["nonsense"] else writer
    ended = subprocess.run([sys.executable, "-m", "elusive", *verb], stdout=writer, stderr=error, timeout=60)
    os.close(writer)
    assert ended.returncode == (141 if verb != ["nonsense"] else 2)
    assert not ended.stderr


def test_help_ends_in_a_terminal_of_five_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "5")
    with pytest.raises(SystemExit) as ended:
        main(["report", "--help"])
    assert ended.value.code == 0
    assert "usage: elusive report" in capsys.readouterr().out
