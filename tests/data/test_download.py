"""Downloads: from a server on this machine, and what is said where there is none."""

from __future__ import annotations

import hashlib
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from metaphys.data import _mnist, _vowels, mnist, vowels
from metaphys.data._download import fetch

# Nobody listens at the discard port of this machine.
NOWHERE = "http://127.0.0.1:9/"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, *_):  # noqa: D102
        pass


@pytest.fixture
def server(tmp_path):
    """The address of a folder, and the folder."""
    served = tmp_path / "served"
    served.mkdir()
    handler = partial(Quiet, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", served
        running.shutdown()
        thread.join()


def test_the_first_host_that_has_the_file_gives_it(server, tmp_path):
    pytest.importorskip("pooch")
    host, served = server
    (served / "a.dat").write_bytes(b"content")
    known = "md5:" + hashlib.md5(b"content").hexdigest()
    fetch(tmp_path / "new" / "root", "a.dat", (NOWHERE, host + "no/", host), known)
    assert (tmp_path / "new" / "root" / "a.dat").read_bytes() == b"content"


def test_another_file_is_not_kept(server, tmp_path):
    pytest.importorskip("pooch")
    host, served = server
    (served / "a.dat").write_bytes(b"other")
    known = "md5:" + hashlib.md5(b"content").hexdigest()
    with pytest.raises(ConnectionError, match=r"`download` could not get a.dat \(.*hash"):
        fetch(tmp_path / "root", "a.dat", (host,), known)
    assert not list((tmp_path / "root").glob("*"))


@pytest.mark.parametrize(("loader", "module"), [(vowels, _vowels), (mnist, _mnist)])
def test_without_a_network_the_message_says_what_to_do(loader, module, tmp_path, monkeypatch):
    pytest.importorskip("pooch")
    monkeypatch.setattr(module, "_HOSTS", (NOWHERE,))
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9.*Put the file into .* yourself"):
        loader(tmp_path, download=True)
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize("loader", [vowels, mnist])
def test_without_pooch_the_message_says_what_to_do(loader, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"needs pooch.*metaphys\[data\].*yourself"):
        loader(tmp_path, download=True)


def test_what_is_there_is_not_downloaded_again(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("downloaded")

    monkeypatch.setattr(_vowels, "fetch", refuse)
    (tmp_path / "vowdata.dat").write_text("m01ae" + " 300" * 15)
    options = {"talkers": "m", "verify": False, "test": 0.5}
    assert len(vowels(tmp_path, download=True, **options).train) == 1
