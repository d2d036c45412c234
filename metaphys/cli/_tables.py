"""What the commands print at their end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from metaphys.training._findings import META, QUICK, headline, percent
from metaphys.training._statistics import Method, methods
from metaphys.training.drifting import DriftConfig
from metaphys.training.drifting._courses import courses
from metaphys.training.recalibration import RecalibrationConfig
from metaphys.training.recalibration._findings import headline as recalibrated
from metaphys.training.recalibration._names import OURS, under


def print_comparison(rows: Sequence[Mapping[str, Any]], *, quick: bool) -> None:
    """Every method: accuracy, and what one new unit cost; then the findings."""
    found = _print_methods(rows)
    console = Console(highlight=False)
    console.print()
    for sentence in headline(found, quick=quick):
        console.print(sentence, markup=False)


def print_recalibration(rows: Sequence[Mapping[str, Any]], config: RecalibrationConfig) -> None:
    """Every method: accuracy, and what one new unit cost; then the findings."""
    found = _print_methods(rows, under(OURS, config.budgets)[-1])
    console = Console(highlight=False)
    console.print()
    for sentence in recalibrated(found, config.budgets, quick=config.short):
        console.print(sentence, markup=False)


def _print_methods(rows: Sequence[Mapping[str, Any]], own: str = META) -> dict[str, Method]:
    table = Table("method", box=None, pad_edge=False, header_style="bold")
    for name in ("accuracy", "labels", "device calls"):
        table.add_column(name, justify="right")
    found = methods(rows)
    for method in found.values():
        costs = f"{method.labels:,.0f}", f"{method.device_calls:,.0f}"
        style = "bold" if method.name == own else None
        table.add_row(method.name, percent(method.accuracy), *costs, style=style)
    Console(highlight=False).print(table)
    return found


def print_training(rows: Sequence[Mapping[str, Any]], *, quick: bool) -> None:
    """Every method of training one unit: accuracy, and what training called."""
    table = Table("method", box=None, pad_edge=False, header_style="bold")
    for name in ("accuracy", "device calls"):
        table.add_column(name, justify="right")
    for index, row in enumerate(rows):
        reached, calls = f"{100 * row['accuracy']:.1f} %", f"{row['device_calls']:,}"
        table.add_row(row["method"], reached, calls, style=None if index else "bold")
    console = Console(highlight=False)
    console.print(table)
    if quick:
        console.print(f"\n{QUICK}", markup=False)


def print_courses(rows: Sequence[Mapping[str, Any]], config: DriftConfig) -> None:
    """Every method over time: what was kept, and what an interval cost."""
    names = ("kept", "worst interval", "worst unit", "fresh")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    for name in (*names, "labels", "calls"):
        table.add_column(name, justify="right")
    costs = {row["method"]: (row["labels"], row["device_calls"]) for row in rows}  # the last day's
    for index, course in enumerate(courses(rows)):
        of, spent = course.summary(), costs[course.method]
        shown = [f"{100 * of[name]:.1f} %" for name in names] + [f"{each:,}" for each in spent]
        table.add_row(course.method, *shown, style=None if index else "bold")
    console = Console(highlight=False)
    console.print(table)
    if config.short:
        console.print(f"\n{QUICK}", markup=False)


def print_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows of words below their columns' names."""
    table = Table(*names, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns, each pair in a line."""
    found = list(pairs)
    width = max(len(name) for name, _ in found)
    for name, value in found:
        print(f"{name:<{width}}  {value}")


def print_returns(summary: Mapping[str, Any], *, quick: bool) -> None:
    """The lines to compare with, and every method after adapting."""
    found = {**summary["lines"], **{n: m["after"] for n, m in summary["methods"].items()}}
    print_pairs((name, _return(value)) for name, value in found.items())
    if quick:
        print(f"\n{QUICK}")


def _return(estimate: Mapping[str, Any]) -> str:
    half = estimate.get("half")
    interval = "" if half is None else f" ± {half:.2f}"
    return f"{estimate['mean']:.2f}{interval}"
