"""ngspice as child processes that leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from metaphys._errors import refuse


def find_ngspice(executable: str) -> str:
    """The program's path.

    Raises:
        FileNotFoundError: it is not installed; the message names the package.
    """
    found = shutil.which(executable)
    if found is None:
        refuse(
            "executable",
            expected="an installed ngspice",
            got=repr(executable),
            remedy="Install the package ngspice (Debian, Ubuntu: apt-get install ngspice; "
            "macOS: brew install ngspice), or give the program's path.",
            error=FileNotFoundError,
        )
    return found


def usable_cores() -> int:
    """CPU cores that this process may use: fewer than there are under ``taskset`` or in a job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Runs:
    """Some runs in parallel. One that fails or is interrupted takes the others down with it.

    Netlists go in through a pipe and results come out through a file that has no name: whatever
    kills a process, or this one, nothing stays on the disk.
    """

    def __init__(self, executable: str, processes: int, timeout: float) -> None:
        self._executable, self._processes, self._timeout = executable, processes, timeout
        self._alive: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def __call__(self, decks: Sequence[Callable[[str], str]]) -> list[np.ndarray]:
        """Tables (points, variables), one for each ``deck(output)``, a text that writes there."""
        with ThreadPoolExecutor(self._processes) as pool:
            futures = [pool.submit(self._run, deck) for deck in decks]
            try:
                return [future.result() for future in futures]
            finally:
                for future in futures:
                    future.cancel()
                self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for child in self._alive:
                _kill(child)

    def _run(self, deck: Callable[[str], str]) -> np.ndarray:
        with tempfile.TemporaryFile() as results:
            number = results.fileno()
            child = self._start(number)
            try:
                said, complaints = child.communicate(deck(f"/dev/fd/{number}"), self._timeout)
            except subprocess.TimeoutExpired:
                raise TimeoutError(
                    f"ngspice did not finish within `timeout` = {self._timeout} s. Allow more, or "
                    "give it fewer samples, copies or substeps."
                ) from None
            finally:
                with self._lock:
                    self._alive.discard(child)
                _kill(child)
                for pipe in (child.stdin, child.stdout, child.stderr):
                    if pipe is not None:
                        with contextlib.suppress(OSError):
                            pipe.close()
            results.seek(0)
            return _parse(results.read(), child.returncode, f"{complaints}\n{said}")

    def _start(self, number: int) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                raise RuntimeError("ngspice was not started: another run had failed.")
            child = subprocess.Popen(
                [self._executable, "-b", "-n", "/dev/stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                pass_fds=(number,),
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            self._alive.add(child)
            return child


def _kill(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _parse(raw: bytes, code: int, said: str) -> np.ndarray:
    """The table of a binary raw file, or an error with what ngspice said instead."""
    head, found, body = raw.partition(b"Binary:\n")
    sizes = dict(
        line.split(": ", 1) for line in head.decode().splitlines() if line.startswith("No. ")
    )
    columns, rows = (int(sizes.get(key, "0")) for key in ("No. Variables", "No. Points"))
    if code != 0 or not found or len(body) < 8 * rows * columns:
        lines = "\n".join(f"  {line}" for line in said.splitlines() if line.strip())
        raise RuntimeError(f"ngspice failed (exit status {code}). It said:\n{lines}")
    return np.frombuffer(body, np.float64, rows * columns).reshape(rows, columns)
