"""The script of talkers never heard before: its data, its controller, and what it stores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from result_tables import RESULTS

from metaphys.data._hillenbrand import VOWELS
from metaphys.physics import nrmse
from metaphys.physics.twins import random_drives
from tests.docs.scripts import result_script

script = result_script("vowels_new_talker")
controllers = result_script("_controller")
heard = result_script("_talkers")

GROUPS = {"m": 8, "w": 6, "b": 5, "g": 5}
SHIFT = {"m": -0.15, "w": 0.0, "b": 0.1, "g": 0.12}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table in the format of the original, whose groups differ by a factor on all formants."""
    generator = torch.Generator().manual_seed(0)
    centres = (
        torch.tensor([500.0, 1500.0, 2500.0])
        * (0.25 * torch.randn(12, 3, generator=generator)).exp()
    )
    lines = ["Formants that were made up", ""]
    for group, count in GROUPS.items():
        for number in range(1, count + 1):
            own = SHIFT[group] + 0.02 * torch.randn(3, generator=generator)
            for vowel, centre in zip(VOWELS, centres, strict=True):
                noise = 0.02 * torch.randn(4, 3, generator=generator)
                f = (centre * (own + noise).exp()).round().int().flatten().tolist()
                columns = [200, 150, *f[:3], 3500, *f[3:]]
                lines.append(" ".join(map(str, [f"{group}{number:02d}{vowel}", *columns])))
    folder = tmp_path_factory.mktemp("vowels")
    (folder / "vowdata.dat").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def talkers(root: Path) -> Any:
    torch.set_default_dtype(torch.float32)  # what a script has; the laboratory puts it back
    return heard.Talkers(root, 7, known="wbg", new="m", verify=False)


def test_men_are_not_learned_from(talkers: Any) -> None:
    known = talkers.learned_from()
    assert len(known) == 7 * (GROUPS["w"] + GROUPS["b"] + GROUPS["g"])
    assert abs(float(known.inputs.mean())) < 1e-5
    # The centres are those of the known groups, so that men are below them by their factor.
    men = torch.stack([talkers.residual(talkers.shots(name)) for name in talkers.givers("m")])
    step = SHIFT["m"] - sum(SHIFT[g] * GROUPS[g] for g in "wbg") / 16
    torch.testing.assert_close(
        men.mean(0) * talkers.unit, torch.full((3,), step), rtol=0, atol=0.02
    )


def test_a_shift_is_one_factor_on_a_formant(talkers: Any) -> None:
    episode = talkers.episode("m03")
    assert len(episode.inputs[0]) == 7 * (GROUPS["m"] - 1)
    moved = talkers.shifted(episode.inputs, episode.residuals)
    difference = (episode.inputs - moved)[0, 0] * talkers._deviation
    torch.testing.assert_close(
        difference, (episode.residuals[0] * talkers.unit).repeat(4), rtol=1e-4, atol=1e-5
    )


def drawn(talkers: Any, monkeypatch: pytest.MonkeyPatch, tract: float, own: float) -> Any:
    monkeypatch.setitem(type(talkers)._drawn.__globals__, "TRACT", tract)
    monkeypatch.setitem(type(talkers)._drawn.__globals__, "OF_A_FORMANT", own)
    return talkers.episodes(3, 5, torch.Generator().manual_seed(0))


def test_episodes_are_of_known_talkers(talkers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = drawn(talkers, monkeypatch, 0.0, 0.0)
    assert found.shots.shape == (3, 7, 12) and found.inputs.shape == (3, 5, 12)
    assert all(sorted(labels) == list(range(7)) for labels in found.labels.tolist())
    known = talkers.learned_from().inputs
    for shots, inputs in zip(found.shots, found.inputs):
        assert all(any(torch.equal(row, k) for k in known) for row in (*shots, *inputs))
        assert not any(torch.equal(row, shot) for row in inputs for shot in shots)


def test_a_made_up_tract_moves_a_group_as_a_whole(
    talkers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    still, moved = (drawn(talkers, monkeypatch, *scale) for scale in ((0.0, 0.0), (0.2, 0.0)))
    shift = still.residuals - moved.residuals
    for before, after in ((still.shots, moved.shots), (still.inputs, moved.inputs)):
        torch.testing.assert_close(talkers.shifted(before, shift), after, rtol=1e-4, atol=1e-4)
    factors = shift * talkers.unit  # in the logarithm, one for all formants
    torch.testing.assert_close(factors, factors[:, :1].expand(3, 3), rtol=1e-3, atol=1e-4)
    assert (factors.abs() > 0.01).all()


def test_jitter_is_on_what_is_to_be_understood(talkers: Any) -> None:
    still, moved = (
        talkers.episodes(3, 40, torch.Generator().manual_seed(0), jitter) for jitter in (0.0, 0.2)
    )
    for name in ("shots", "labels", "residuals", "targets"):
        assert torch.equal(getattr(still, name), getattr(moved, name)), name
    assert float((moved.inputs - still.inputs).std()) == pytest.approx(0.2, rel=0.1)


def test_made_up_tracts_move_each_class_by_itself(talkers: Any) -> None:
    still, moved = (
        talkers.episodes(3, 40, torch.Generator().manual_seed(0), of_class=own)
        for own in (0.0, 0.2)
    )
    for name in ("shots", "labels", "residuals", "targets"):
        assert torch.equal(getattr(still, name), getattr(moved, name)), name
    own = (moved.inputs - still.inputs).unflatten(-1, (4, 3))
    torch.testing.assert_close(own, own[:, :, :1].expand_as(own))  # alike at all four times
    first = {}
    for episode, targets in enumerate(moved.targets.tolist()):  # … and in all of a class
        for vowel, target in enumerate(targets):
            known = first.setdefault((episode, target), own[episode, vowel, 0])
            torch.testing.assert_close(own[episode, vowel, 0], known)
    found = torch.stack(list(first.values()))
    assert len(first) >= 15 and float(found.std()) == pytest.approx(0.2, rel=0.35)


@pytest.mark.parametrize("steps", [1, 6])
def test_the_mean_of_the_numbers_is_what_is_left(talkers: Any, steps: int) -> None:
    """Beside Adam by hand, the same episodes, from the middle on a mean by its definition."""

    def controller() -> Any:
        torch.manual_seed(0)
        return controllers.Controller(torch.nn.Linear(12, 7), talkers, 0, 0.0, 1.0)

    def draw(generator: torch.Generator) -> Any:
        return talkers.episodes(2, 9, generator)

    found, by_hand = controller(), controller()
    controllers.fit(found, draw, steps=steps, lr=0.05, seed=3, averaged=True)
    generator, mean = torch.Generator().manual_seed(3), None
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.05, betas=(0.9, 0.99))
    for step in range(steps):
        episodes = draw(generator)
        logits = by_hand.logits(episodes.inputs, by_hand.shift(episodes)).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(
            logits, episodes.targets.flatten(), label_smoothing=controllers.SMOOTHING
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values = torch.nn.utils.parameters_to_vector(by_hand.parameters()).detach().clone()
        if step >= steps / 2 or steps == 1:
            mean = values if mean is None else 0.99 * mean + 0.01 * values
    assert mean is not None
    left = torch.nn.utils.parameters_to_vector(found.parameters()).detach()
    torch.testing.assert_close(left, mean)
    assert steps == 1 or (left - values).abs().max() > 1e-3  # not the last ones


def small(**changes: Any) -> Any:
    return dataclasses.replace(
        script.MACHINES["circuit"], steps=2, steps_on_unit={7: 2}, layers=2, **changes
    )


def test_steps_of_the_controller_are_gradient_steps(talkers: Any) -> None:
    machine = small(inner={7: 2})
    controller = script.Experiment(machine, talkers, 0).controller(2).double()
    both = talkers.episodes(2, 5, torch.Generator().manual_seed(0))
    episodes = heard.Episodes(*(v.double() if v.is_floating_point() else v for v in both))
    found = controller.shift(episodes)
    for index in range(2):  # each for itself, by plain autograd
        one = heard.Episodes(*(value[index : index + 1] for value in episodes))
        shift = controller.trust * one.residuals
        for rate in controller.rates:
            logits = controller.logits(one.shots, shift).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, one.labels.flatten())
            (grad,) = torch.autograd.grad(loss, shift, create_graph=True)
            shift = shift - rate * grad
        torch.testing.assert_close(found[index], shift[0], rtol=1e-7, atol=1e-9)
    # The outer gradient of a rate and of the trust, through both steps, by central differences.
    weights = torch.randn(2, 3, generator=torch.Generator().manual_seed(1)).double()
    for name in ("rates", "trust"):
        parameter = getattr(controller, name)
        (exact,) = torch.autograd.grad((controller.shift(episodes) * weights).sum(), parameter)
        flat, step, ends = parameter.data.view(-1), 1e-4, []
        for sign in (1, -1):
            flat[0] += sign * step
            ends.append(float((controller.shift(episodes) * weights).sum().detach()))
            flat[0] -= sign * step
        assert float(exact.view(-1)[0]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


@pytest.mark.parametrize("system", ["circuit", "shg"])
def test_twins_are_fitted_to_the_unit(talkers: Any, system: str) -> None:
    machine = dataclasses.replace(script.MACHINES[system], drives={7: 8}, layers=1)
    experiment = script.Experiment(machine, talkers, 0)
    (pat,), nominal = experiment.layers(0), machine.twin(7)
    ports = pat.device.ports
    drives = random_drives(ports, 20, low=machine.low, high=machine.high, seed=7)
    answers = pat.device.measure(drives, {})
    errors = [nrmse(twin(drives, {}), answers) for twin in (pat.twin, nominal)]
    assert pat.twin is not nominal and errors[0] < 0.3 * errors[1]


def test_units_that_choose_are_not_those_that_judge(root: Path, talkers: Any) -> None:
    women = heard.Talkers(root, 7, known="bg", new="w", verify=False)
    machine = script.MACHINES["circuit"]
    drives = torch.linspace(-1.0, 1.0, machine.twin(7).ports.drive)
    judging, choosing = (
        script.Experiment(machine, each, 0).layers(0)[0].device.measure(drives, {})
        for each in (talkers, women)
    )
    assert (judging - choosing).abs().max() > 0.1 * judging.std()


def test_an_ensemble_is_the_mean_of_what_its_members_say(talkers: Any) -> None:
    machine = small(members={7: 2}, inner={7: 0}, steps_on_twin={7: 0})
    experiment = script.Experiment(machine, talkers, 0)
    alone = script.Experiment(dataclasses.replace(machine, members={7: 1}), talkers, 0)
    both, episode = experiment.learned("shift"), talkers.episode("m03")
    (one,) = alone.learned("shift").members
    values = zip(both.members[0].parameters(), one.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in values)
    shift = both.shift(episode)
    apart = [m.logits(episode.inputs, s) for m, s in zip(both.members, shift, strict=True)]
    assert (apart[0] - apart[1]).abs().max() > 1e-3
    mean = (apart[0] + apart[1]) / 2
    torch.testing.assert_close(both.logits(episode.inputs, shift), mean)
    said = (mean.argmax(-1) == episode.targets).double().mean()
    assert controllers.accuracy(both, episode) == pytest.approx(float(said), abs=1e-6)


def test_an_ensemble_calls_every_layer_of_its_unit_for_each_member(talkers: Any) -> None:
    machine = small(members={7: 3}, steps_on_twin={7: 0})
    experiment = script.Experiment(machine, talkers, 0)
    ensemble, episode = experiment.learned("in silico"), talkers.episode("m03")
    layers = experiment.layers(1)
    with script.run_on(ensemble, *layers * 3):
        controllers.accuracy(ensemble, episode)
    heard_once = len(episode.inputs[0])
    assert [layer.device.calls for layer in layers] == [3 * heard_once] * 2


@pytest.mark.parametrize("system", ["circuit", "shg"])
def test_it_runs(talkers: Any, system: str) -> None:
    machine = dataclasses.replace(
        script.MACHINES[system],
        steps=3,
        steps_on_twin={7: 1},
        steps_on_unit={7: 1},
        steps_without={7: 3},
        layers=2,
        inner={7: 1},
    )
    experiment = script.Experiment(machine, talkers, 1)
    found = experiment.judge(0)
    others = {"not adapted", "not adapted, then fine-tuned", "physics removed"}
    assert set(script.SHIFTED) | others < set(found)
    assert all(0 <= value <= 1 for value in found.values())
    shifted = "linear classifier, mean shift of log formants"
    assert found[shifted] > 0.95 > found["linear classifier"]  # as the table was made


def test_calls_are_as_stated(talkers: Any) -> None:
    machine = script.MACHINES["circuit"]
    controller = script.Experiment(machine, talkers, 0).controller(machine.inner[7])
    pats = script.Experiment(machine, talkers, 0).layers(0)
    with script.run_on(controller, *pats):
        controller.shift(talkers.episode("m01"))
    head = script.head("circuit", talkers, (0,))
    assert sum(pat.device.calls for pat in pats) == head["device_calls"]["with gradient steps"]
    assert max(head["device_calls"].values()) <= script.CALLS


def test_names_of_the_files() -> None:
    names = [script.name(system, n) for system in ("shg", "circuit") for n in (7, 12)]
    assert names[0] == "vowels-new-talker" and len(set(names)) == 4
    assert (RESULTS / "vowels-new-talker.md").exists()


def test_the_table_says_what_is_stored(tmp_path: Path) -> None:
    page = result_script("_talker_page")
    (tmp_path / f"{page.NAME}.md").write_text("before\n<!-- table -->\nold\n<!-- end -->\nafter\n")
    runs = [{"accuracy": {page.MAIN: a, page.PEER: 0.9}} for a in (0.95, 0.85, 0.97, 0.96)]
    stored = {
        "mean": 0.9325,
        "interval": 0.02,
        "baselines": {page.PEER: 0.9},
        "device_calls": {"to adapt": 0, "with gradient steps": 42},
        "seeds": [0, 1],
        "runs": runs,
    }
    for name in (page.NAME, f"{page.NAME}-12-circuit"):
        (tmp_path / f"{name}.json").write_text(json.dumps(stored))
    page.tell(tmp_path)
    text = (tmp_path / f"{page.NAME}.md").read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n")
    assert (
        "old" not in text and "| **meta-learned shift** | **93.2 ± 2.0** | **93.2 ± 2.0** |" in text
    )
    assert f"| {page.PEER} | 90.0 | 90.0 |" in text and "| 3 of 4 | 3 of 4 |" in text
    assert "| 96: NOT reached | 92: reached |" in text and "| 2 × 2 | 2 × 2 |" in text
