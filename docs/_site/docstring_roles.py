"""The extension of griffe that hands docstrings to the site as Markdown."""

from __future__ import annotations

import inspect
from typing import Any

import griffe  # pyright: ignore[reportMissingImports] (with the extra `docs` only)
from docstring_markdown import load, to_markdown


class Roles(griffe.Extension):
    """Rewrites every docstring of the package before it is parsed."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Let ``metaphys.sgd`` be the function, not the module of the same name that it is in."""
        for name, thing in vars(load(pkg.path)).items():
            if inspect.isfunction(thing) and name in pkg.members:
                path = f"{thing.__module__}.{thing.__qualname__}".removeprefix(f"{pkg.path}.")
                pkg.set_member(name, griffe.Alias(name, pkg[path], parent=pkg))

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring, and add the signature of a class that is made by a function."""
        if obj.is_class and "__new__" in obj.members and "__init__" not in obj.members:
            obj.members["__init__"] = obj.members["__new__"]  # where readers look for arguments
        if obj.docstring is None:
            return
        text = to_markdown(obj.docstring.value, obj.path)
        if obj.is_class and "__init__" not in obj.members:
            text = with_signature(text, obj.path)
        obj.docstring.value = text


def with_signature(text: str, path: str) -> str:
    """``text`` below the signature of the class at ``path``, which no static reader can see."""
    made = load(path)
    if not inspect.isclass(made) or hasattr(made, "_fields") or issubclass(made, Exception):
        return text
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):
        return text
    if hasattr(made, "__dataclass_fields__") or not signature.parameters:
        return text
    arguments = [str(p).split(":")[0] + _default(p) for p in signature.parameters.values()]
    if set(arguments) & {"*args", "**kwargs"}:
        return text
    call = f"{made.__name__}({', '.join(_starred(signature, arguments))})"
    return f"```python\n{call}\n```\n\n{text}"


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty or parameter.annotation is parameter.empty:
        return ""
    return f"={parameter.default!r}"


def _starred(signature: inspect.Signature, arguments: list[str]) -> list[str]:
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    keyword = inspect.Parameter.KEYWORD_ONLY
    if keyword in kinds:
        arguments.insert(kinds.index(keyword), "*")
    return arguments
