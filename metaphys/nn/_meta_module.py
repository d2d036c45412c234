"""Modules with meta-parameters: tensors of an outer problem, used but not owned by an inner one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optree
from torch import Tensor, nn

from metaphys._errors import check


class MetaGradientModule(nn.Module):
    """A module that tells its own parameters from those of the problem around it.

    A meta-parameter is used like any attribute, but is none of ``parameters()``: an inner optimizer
    does not step it, ``state_dict()`` does not hold it, ``to()`` does not move it. It belongs to
    whoever made it.

    Tensors that require a gradient, and modules with such tensors, are meta if they are arguments
    of the constructor: where they are assigned to an attribute they become meta-parameters and
    meta-modules. Any other leaf that requires a gradient, a plain tensor too, becomes a parameter
    where it is assigned.

    Example:
        >>> import torch, metaphys
        >>> class Ridge(metaphys.nn.MetaGradientModule):
        ...     def __init__(self, strength):
        ...         super().__init__()
        ...         self.strength = strength
        ...         self.weight = torch.nn.Parameter(torch.ones(2))
        ...     def forward(self, x, y):
        ...         return (x @ self.weight - y).pow(2).mean() + self.strength * self.weight.norm()
        >>> model = Ridge(torch.tensor(0.1, requires_grad=True))
        >>> [name for name, _ in model.named_parameters()]
        ['weight']
        >>> [name for name, _ in model.named_meta_parameters()]
        ['strength']
    """

    _meta_parameters: dict[str, Tensor | None]
    _meta_modules: dict[str, nn.Module | None]

    def __new__(cls, *arguments: Any, **options: Any) -> MetaGradientModule:
        """Remember which arguments are meta; a subclass's ``__init__`` need not pass them on."""
        self = super().__new__(cls)
        leaves = optree.tree_leaves((arguments, options))  # type: ignore[arg-type]
        # The tensors are kept, so that no other gets the id of one that is gone.
        inputs = {id(leaf): leaf for leaf in leaves if _learned(leaf)}
        self.__dict__.update(_meta_inputs=inputs, _meta_parameters={}, _meta_modules={})
        return self

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()

    def __getattr__(self, name: str) -> Any:
        for held in ("_meta_parameters", "_meta_modules"):
            if name in self.__dict__.get(held, ()):
                return self.__dict__[held][name]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        held = self._holder_of(name, value)
        if held is None:
            self._forget_meta(name)
            super().__setattr__(name, value)
            return
        check(
            "_modules" in self.__dict__,
            name,
            expected="assigned after super().__init__()",
            got="an assignment before it",
            error=AttributeError,
        )
        self._forget(name)
        self.__dict__[held][name] = value

    def __delattr__(self, name: str) -> None:
        if name in self._meta_parameters or name in self._meta_modules:
            self._forget_meta(name)
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._meta_parameters, *self._meta_modules]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__["_meta_inputs"] = {
            id(value): value
            for value in (*self._meta_parameters.values(), *self._meta_modules.values())
            if value is not None
        }

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """As ``nn.Module`` does, for a plain tensor that requires a gradient too.

        Raises:
            ValueError: if it is a meta-parameter.
        """
        check(
            id(param) not in self._meta_inputs,
            "param",
            expected="a tensor of this module's own",
            got=f"a meta-parameter for {name}",
            remedy="Use register_meta_parameter.",
        )
        if _plain_learned(param):
            super().register_parameter(name, None)
            self._parameters[name] = param  # type: ignore[assignment]
        else:
            super().register_parameter(name, param)  # type: ignore[arg-type]

    def register_meta_parameter(self, name: str, param: Tensor | None) -> None:
        """Make ``param`` a meta-parameter called ``name``.

        Args:
            name: a name without dots that is not taken.
            param: a tensor that requires a gradient; ``None`` keeps the place.

        Raises:
            TypeError: if ``name`` is no string, or ``param`` no tensor.
            KeyError: if ``name`` is empty, has a dot or is taken.
            ValueError: if ``param`` requires no gradient.
        """
        self._check_name(name)
        check(
            param is None or isinstance(param, Tensor),
            "param",
            expected="a tensor or None",
            got=type(param).__name__,
            error=TypeError,
        )
        check(
            param is None or param.requires_grad,
            "param",
            expected="a tensor that requires a gradient",
            got="one that does not",
        )
        self._meta_parameters[name] = param

    def register_meta_module(self, name: str, meta_module: nn.Module | None) -> None:
        """Make ``meta_module`` a meta-module called ``name``; ``add_meta_module`` is the same.

        Raises:
            TypeError: if ``name`` is no string, or ``module`` no module.
            KeyError: if ``name`` is empty, has a dot or is taken.
        """
        self._check_name(name)
        check(
            meta_module is None or isinstance(meta_module, nn.Module),
            "meta_module",
            expected="an nn.Module or None",
            got=type(meta_module).__name__,
            error=TypeError,
        )
        self._meta_modules[name] = meta_module

    add_meta_module = register_meta_module

    def meta_parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """The meta-parameters; see :meth:`named_meta_parameters`."""
        return (param for _, param in self.named_meta_parameters(recurse=recurse))

    def named_meta_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every meta-parameter once, with its name.

        Args:
            prefix: put before each name, with a dot.
            recurse: also the parameters of meta-modules, and the meta-parameters of submodules.
        """
        found = _of_itself(self, prefix)
        if recurse:
            found = [*found, *_of_meta_modules(self, prefix), *_of_submodules(self, prefix)]
        yield from _once(found)

    def meta_children(self) -> Iterator[nn.Module]:
        """The meta-modules of this module itself."""
        return (module for _, module in self.named_meta_children())

    def named_meta_children(self) -> Iterator[tuple[str, nn.Module]]:
        """The meta-modules of this module itself, each once, with its name."""
        yield from _once((name, m) for name, m in self._meta_modules.items() if m is not None)

    def meta_modules(self) -> Iterator[nn.Module]:
        """The meta-modules; see :meth:`named_meta_modules`."""
        return (module for _, module in self.named_meta_modules())

    def named_meta_modules(
        self,
        memo: set[nn.Module] | None = None,
        prefix: str = "",
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, nn.Module]]:
        """Meta-modules, their submodules and the meta-modules of submodules, each once.

        Args:
            memo: modules that are left out; those that are given out are added.
            prefix: put before each name, with a dot.
            remove_duplicate: give each module once, not under each of its names.
        """
        seen: set[nn.Module] = set() if memo is None else memo
        for path, owner in self.named_modules(prefix=prefix):
            if isinstance(owner, MetaGradientModule):
                for name, module in owner.named_meta_children():
                    yield from module.named_modules(seen, _joined(path, name), remove_duplicate)

    def _holder_of(self, name: str, value: Any) -> str | None:
        """The dict that an attribute goes to, where ``nn.Module`` would put it elsewhere."""
        given = id(value) in self._meta_inputs
        if isinstance(value, Tensor) and (given or name in self._meta_parameters):
            return "_meta_parameters"
        if isinstance(value, nn.Module) and (given or name in self._meta_modules):
            return "_meta_modules"
        if not _plain_learned(value) or name in self.__dict__.get("_buffers", ()):
            return None
        # A result with a history is no parameter, unless it replaces one, as a step does.
        replaces = name in self.__dict__.get("_parameters", ())
        return "_parameters" if value.is_leaf or replaces else None

    def _forget_meta(self, name: str) -> None:
        self._meta_parameters.pop(name, None)
        self._meta_modules.pop(name, None)

    def _forget(self, name: str) -> None:
        """Whatever is called ``name`` now, as if it had never been."""
        self._forget_meta(name)
        for held in (self.__dict__, self._parameters, self._buffers, self._modules):
            held.pop(name, None)

    def _check_name(self, name: str) -> None:
        check(
            isinstance(name, str),
            "name",
            expected="a string",
            got=f"{name!r} of type {type(name).__name__}",
            error=TypeError,
        )
        check(
            name != "" and "." not in name,
            "name",
            expected="neither empty nor with a dot",
            got=repr(name),
            error=KeyError,
        )
        check(
            not hasattr(self, name),
            "name",
            expected="one that is not taken",
            got=repr(name),
            error=KeyError,
        )


def _learned(value: Any) -> bool:
    if isinstance(value, nn.Module):
        return any(param.requires_grad for param in value.parameters())
    return isinstance(value, Tensor) and value.requires_grad


def _plain_learned(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter)


def _of_itself(module: MetaGradientModule, prefix: str) -> list[tuple[str, Tensor]]:
    held = module._meta_parameters.items()
    return [(_joined(prefix, name), value) for name, value in held if value is not None]


def _of_meta_modules(module: MetaGradientModule, prefix: str) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    for name, each in module.named_meta_children():
        path = _joined(prefix, name)
        found += each.named_parameters(prefix=path)
        found += _of_submodules(each, path, itself=True)
    return found


def _of_submodules(
    module: nn.Module, prefix: str, *, itself: bool = False
) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    for path, each in module.named_modules(prefix=prefix):
        if isinstance(each, MetaGradientModule) and (itself or each is not module):
            found += [*_of_itself(each, path), *_of_meta_modules(each, path)]
    return found


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _once(found: Any) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, value in found:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value
