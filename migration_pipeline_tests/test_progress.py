"""Whoever waits hears something, also where one thing alone takes long."""

from __future__ import annotations

import threading

import pytest

from migration_pipeline import progress


def test_it_speaks_again_and_again_until_the_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.001)
    said: list[str] = []
    enough = threading.Event()

    def say(sentence: str) -> None:
        said.append(sentence)
        if len(said) == 3:
            enough.set()

    with progress.still(say, "reading"):
        assert enough.wait(60)
    count = len(said)
    assert all(sentence.startswith("reading: ") for sentence in said)
    assert not any(thread.name == "speaking" for thread in threading.enumerate())
    assert len(said) == count


def test_the_sentence_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.001)
    heard, wanted, now = threading.Event(), "first", "first"

    def say(sentence: str) -> None:
        if sentence == wanted:
            heard.set()

    with progress.speaking(say, lambda: now):
        assert heard.wait(60)
        heard.clear()
        wanted = now = "second"
        assert heard.wait(60)


def test_a_failure_ends_it_too() -> None:
    with pytest.raises(RuntimeError), progress.still(print, "reading"):
        raise RuntimeError
    assert not any(thread.name == "speaking" for thread in threading.enumerate())


def test_sentences_come_before_ten_seconds_have_passed() -> None:
    assert progress.INTERVAL * 2 <= 10
