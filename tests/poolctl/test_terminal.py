"""Colours, progress and questions, as far as nobody looks."""

import click
import pytest

from poolctl import terminal


@pytest.fixture
def at_terminal(monkeypatch):
    """Streams count as terminals."""
    monkeypatch.setattr(terminal, "_is_terminal", lambda _stream: True)


@pytest.fixture(autouse=True)
def _no_wish(monkeypatch):
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(name, raising=False)


def test_a_pipe_gets_no_colours():
    assert terminal.styled("a", fg="red") == "a"


def test_a_terminal_gets_colours(at_terminal):
    assert terminal.styled("a", fg="red") == "\x1b[31ma\x1b[0m"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colours_gets_none(at_terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    assert terminal.styled("a", fg="red") == "a"


def test_colours_can_be_forced_through_a_pipe(monkeypatch, capsys):
    monkeypatch.setenv("CLICOLOR_FORCE", "1")

    terminal.show(terminal.styled("a", bold=True))

    assert capsys.readouterr().out == "\x1b[1ma\x1b[0m\n"


def test_the_width_is_that_of_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    assert terminal.width() == 160


@pytest.mark.parametrize(("columns", "widest"), [(40, 40), (80, 80), (200, 100)])
def test_prose_is_as_wide_as_stdout_but_words_stay_whole(monkeypatch, columns, widest):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = terminal.wrapped("word " * 50 + "x" * 150, 4)

    assert widest - 6 < max(map(len, lines[:-1])) <= widest
    assert ["    word", "    " + "x" * 150] == [lines[1][:8], lines[-1]]


def test_who_said_yes_is_not_asked():
    assert terminal.confirmed("Release it", yes=True)


def test_a_script_is_told_to_say_yes():
    with pytest.raises(click.UsageError, match="--yes"):
        terminal.confirmed("Release it", yes=False)


def test_work_of_less_than_a_second_shows_no_progress(at_terminal, capsys):
    with terminal.progress("reading", 2) as advance:
        advance(1)

    assert capsys.readouterr().err == ""


def test_longer_work_shows_how_far_it_is(at_terminal, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_PATIENCE_S", 0)

    with terminal.progress("reading", 4) as advance:
        advance(2)

    line = f"reading  [{'#' * 15}{'-' * 15}]  50%"
    assert capsys.readouterr().err == f"\r{line}\r{' ' * len(line)}\r"


def test_work_without_an_end_is_counted_and_wiped_away(at_terminal, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_PATIENCE_S", 0)

    with terminal.progress("blocks") as advance:
        advance(1_234)

    line = "blocks  1,234"
    assert capsys.readouterr().err == f"\r{line}\r{' ' * len(line)}\r"


def test_only_a_terminal_is_cleared(monkeypatch, capsys):
    piped = terminal.clear()
    monkeypatch.setattr(terminal, "_is_terminal", lambda _stream: True)
    monkeypatch.setattr(click, "clear", lambda: print("cleared"))

    assert (False, True) == (piped, terminal.clear())
    assert "cleared\n" == capsys.readouterr().out
