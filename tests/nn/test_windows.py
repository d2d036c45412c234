"""Windows at the end of a waveform."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from metaphys.nn import windows
from metaphys.physics import Plate


@pytest.mark.parametrize("power", [True, False])
def test_windows_are_the_loop(power, generator):
    y = torch.randn(2, 3, 17, generator=generator)
    found = windows(y, 4, last=12, power=power)
    for index in range(4):
        part = y[..., 5 + 3 * index : 8 + 3 * index]
        torch.testing.assert_close(found[..., index], (part**2 if power else part).mean(-1))
    assert windows(y, 4, power=power).equal(windows(y, 4, last=16, power=power))
    y.requires_grad_()
    assert gradcheck(lambda y: windows(y, 4, last=12, power=power), y)
    assert gradgradcheck(lambda y: windows(y, 4, last=12, power=power), y)


def test_a_window_knows_the_drive_before_its_end_only(generator):
    # Why windows belong at the end: those over the whole record do not see the last pixels.
    plate, drive = Plate(samples=40, guard=20), torch.randn(40, generator=generator)

    def seen(last):
        rows = torch.func.jacrev(lambda d: windows(plate(d, {}), 4, last=last))(drive)
        return (rows.abs() > 1e-12 * rows.abs().max()).sum(-1).tolist()

    assert seen(60) == [15, 30, 40, 40]
    assert seen(20) == [40, 40, 40, 40]


@pytest.mark.parametrize("last", [0, 3, 10, 20])
def test_windows_that_do_not_fit_are_refused(last):
    with pytest.raises(ValueError, match=r"`last` must be a multiple of 4 within 1 … 17"):
        windows(torch.zeros(17), 4, last=last)


def test_more_windows_than_samples_are_refused():
    with pytest.raises(ValueError, match="`last` must be a multiple of 4"):
        windows(torch.zeros(3), 4)
    with pytest.raises(ValueError, match="`count` must be >= 1"):
        windows(torch.zeros(3), 0)
