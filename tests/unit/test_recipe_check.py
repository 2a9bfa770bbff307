"""The answer of the process that checks a recipe, and none."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from runner import recipe
from runner.signals import Stopped


def checker(program: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", program)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("echo nonsense", "gave an unreadable answer (not JSON"),
        ("true", "gave an unreadable answer (not JSON"),
        ("echo '{}'", "gave an unreadable answer (recipefacts: no group)"),
        ("echo mistake >&2; exit 64", "mistake"),
        ("kill -SEGV $$", "the recipe /r.toml cannot be checked: signal SIGSEGV"),
        ("exec sleep 100", "the check of the recipe /r.toml did not finish within 1 s"),
    ],
)
def test_a_recipe_whose_check_does_not_answer_cannot_be_used(program, message, monkeypatch):
    monkeypatch.setattr(recipe, "CHECK_SECONDS", 1)
    with pytest.raises(recipe.BadRecipe) as refused:
        recipe.check(Path("/r.toml"), "auto", command=checker(program))
    assert message in str(refused.value)


def test_a_stop_ends_the_check_of_a_recipe(tmp_path):
    def stop() -> None:
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        recipe.check(Path("/r.toml"), "auto", stop, command=checker(f"echo $$ > {tmp_path}/pid; exec sleep 100"))
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
