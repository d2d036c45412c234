"""The API pages hold every public name, and nothing else."""

from __future__ import annotations

import inspect

import api_names
import pytest


def test_every_public_name_has_a_page():
    missing = api_names.missing()
    assert not missing, f"add a line `::: {missing[0]}` to a page of docs/api for each of {missing}"


def test_every_public_name_has_a_docstring():
    things = {name: thing for name, thing in api_names.public().items() if callable(thing)}
    bare = [name for name, thing in things.items() if not inspect.getdoc(thing)]
    assert len(things) > 100 and not bare


@pytest.mark.parametrize("name", api_names.documented())
def test_a_documented_name_exists(name):
    assert api_names.thing_at(name) is not None


def test_a_name_without_a_page_would_be_seen(monkeypatch):
    some = dict(list(api_names.documented().items())[1:])
    first = next(iter(api_names.documented()))
    monkeypatch.setattr(api_names, "documented", lambda: some)
    assert first in api_names.missing()
