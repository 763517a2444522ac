"""Progress: what is shown, on a terminal and in a log, within 80 columns."""

import io

import pytest
from rich.console import Console

from elusive.runs import progress
from elusive.runs.progress import shown
from elusive.runs.terminal import printing

LONG = "train contrast-cues+insert-contrast+reorder, seed 12"


def test_a_line_has_the_remark_beside_the_times(capsys):
    with shown("train plain") as show:
        show(1, 2)
        show.remark("loss 2.346")
        show(2, 2)
    assert capsys.readouterr().err == "  train plain: 1 of 2 (0:00)\n  train plain: 2 of 2 (0:00, loss 2.346)\n"


def test_a_long_name_loses_its_middle(capsys):
    with shown(LONG) as show:
        show.remark("loss 12.346")
        show(1_234, 10_000)
    line = "  train contrast-cue...ast+reorder, seed 12: 1,234 of 10,000 (0:00, loss 12.346)"
    assert capsys.readouterr().err == line + "\n"
    assert len(line) == 80


@pytest.mark.parametrize("name", ["train plain", LONG])
@pytest.mark.parametrize("width", [80, 60])
def test_bars_fit_the_terminal(name, width):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    display = progress.Display()
    display._bars = progress._bars(console)
    display(name, 1_234, 10_000, "loss 2.346")
    console.print(display._bars.get_renderable())
    (line,) = stream.getvalue().splitlines()
    assert len(line) <= width
    for words in ("1234/10000", "loss 2.346", "left", "-:--:--"):
        assert words in line
    assert line.startswith("tra")
    assert name[-5:] in line


def test_nothing_is_shown_when_quiet(capsys):
    with printing(quiet=True), shown("train plain") as show:
        show.remark("loss 2.346")
        show(2, 2)
    assert capsys.readouterr() == ("", "")
