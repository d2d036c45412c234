"""Hyper-parameters as functions of the number of steps taken, differentiable in their parameters.

A schedule is data: an immutable tree, whose tensors get their gradient through every adjoint of
:func:`metaphys.unroll`, and which can be copied, compared and pickled.
"""

from metaphys.schedule._cosine import cosine_decay, cosine_restarts, one_cycle, warmup_cosine
from metaphys.schedule._exponential import exponential_decay
from metaphys.schedule._join import join_schedules, piecewise_constant
from metaphys.schedule._polynomial import constant, linear_schedule, polynomial_schedule
from metaphys.schedule._tabulated import tabulated

__all__ = [
    "constant",
    "cosine_decay",
    "cosine_restarts",
    "exponential_decay",
    "join_schedules",
    "linear_schedule",
    "one_cycle",
    "piecewise_constant",
    "polynomial_schedule",
    "tabulated",
    "warmup_cosine",
]
