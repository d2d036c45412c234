"""Rules one after the other, and the rule that does nothing."""

from __future__ import annotations

from metaphys.optim._chain import chained
from metaphys.optim._empty import IDENTITY
from metaphys.optim.rule import GradientTransformation, Rule, bound


def chain(*rules: GradientTransformation) -> Rule:
    """One rule after the other: the updates of each are the gradients of the next.

    A chain is a rule, in every form. Its state is the tuple of the states of its parts; chains
    among ``rules`` are taken apart, and identities left out. Its ``hyper`` holds the
    hyper-parameters of all parts: one whose name occurs once keeps it, others have the position of
    their part in front, as in ``0.lr``.

    Whatever the rules need to know of the parameters is that of before the step. In an optimizer
    with several groups or modules, each has a chain of its own.

    Args:
        rules: rules, transforms (:mod:`metaphys.transform`), and pairs of functions.

    Raises:
        TypeError: if one of them is no rule.

    Example:
        >>> import torch, metaphys
        >>> rule = metaphys.chain(metaphys.clip_grad_norm(1.0), metaphys.sgd(lr=0.5))
        >>> sorted(rule.hyper)[:4]
        ['dampening', 'error_if_nonfinite', 'lr', 'max_norm']
        >>> params = [torch.zeros(2)]
        >>> updates, _ = rule.update([torch.tensor([3.0, 4.0])], rule.init(params))
        >>> updates[0]
        tensor([-0.3000, -0.4000])
    """
    return Rule(*chained([bound(rule, "rules") for rule in rules]))


def chain_flat(*rules: GradientTransformation) -> Rule:
    """:func:`chain`, under TorchOpt's name: trees are flattened once in any case.

    Example:
        >>> import metaphys
        >>> metaphys.optim.chain_flat(metaphys.identity()) == metaphys.identity()
        True
    """
    return chain(*rules)


chain.flat = chain_flat  # type: ignore[attr-defined]


def identity() -> Rule:
    """The rule that gives its gradients back; a chain without it is the same.

    Example:
        >>> import metaphys
        >>> metaphys.chain(metaphys.identity(), metaphys.sgd(0.1)) == metaphys.sgd(0.1)
        True
    """
    return Rule(IDENTITY, {})
