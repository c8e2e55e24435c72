"""What a Python function computes, as one short text that changes when that could change.

Covered are the bytecode and the constants, defaults, the values that a function closes over and
the module-level names that it reads: plain values, arrays and the author's own objects by value,
the author's own functions and classes by their code, all else (modules, what is installed) by name.
Not covered is what a library does inside, or what is looked up by a computed name. Comments, the
words of a docstring and line numbers change nothing. Another minor version of Python compiles to
other bytecode, and so changes every fingerprint.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from headwater.plan.python import FunctionDefinition

_PLAIN = (bool, int, float, complex, str, bytes, date, datetime, time, timedelta, Decimal, UUID)
# What Python itself puts into a class, and changes from run to run or says nothing of its code.
_NOT_CODE = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__slots__")
_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = sysconfig.get_path("stdlib")


def code_fingerprint(target: object) -> str:
    """The sha256 of what a function, or the functions of a class, compute; in hexadecimal."""
    package = str(getattr(target, "__module__", "")).partition(".")[0]
    text = _Reader(package).text(target)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()


def function_fingerprint(definition: FunctionDefinition) -> str:
    """The fingerprint of a function's code and of the types that it is declared with."""
    types = f"{definition.name}({definition.parameters.ddl()}) -> {definition.returns}"
    code = code_fingerprint(definition.call)
    return hashlib.sha256(f"{types}\n{code}".encode()).hexdigest()


class _Reader:
    """Writes out values; each function and class once.

    Args:
        package: The top-level package whose functions are read; those of others are only named.

    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._seen: dict[int, int] = {}

    def text(self, value: Any) -> str:  # noqa: PLR0911 - one for each kind of value
        """A value in a form that is the same in every run of the program."""
        if value is None or value is Ellipsis or isinstance(value, _PLAIN):
            return f"{type(value).__name__}:{value!r}"
        if isinstance(value, tuple | list):
            return f"{type(value).__name__}({','.join(map(self.text, value))})"
        if isinstance(value, set | frozenset):
            return f"set({','.join(sorted(map(self.text, value)))})"
        if isinstance(value, Mapping):
            pairs = (f"{self.text(k)}={self.text(v)}" for k, v in value.items())
            return f"{type(value).__name__}({','.join(pairs)})"
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, Enum):
            return f"{type(value).__qualname__}.{value.name}={self.text(value.value)}"
        if isinstance(value, partial):
            return f"partial({self.text(value.func)},{self.text(value.args)})" + self.text(
                value.keywords
            )
        return self._object(value)

    def _object(self, value: Any) -> str:  # noqa: PLR0911 - one for each kind of object
        if isinstance(value, staticmethod | classmethod | MethodType):
            return f"{type(value).__name__}({self.text(value.__func__)})"
        if isinstance(value, property):
            return f"property({self.text([value.fget, value.fset, value.fdel])})"
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        data = _data(value)
        if data is not None:
            return f"{type(value).__name__}:{data}"
        name = getattr(value, "__qualname__", None)
        if not self._is_authors(value if name else type(value)):
            return f"named {getattr(value, '__module__', '')}.{name}" if name else _kind(value)
        if id(value) in self._seen:
            return f"seen {self._seen[id(value)]}"
        self._seen[id(value)] = len(self._seen)
        return self._authored(value)

    def _authored(self, value: Any) -> str:
        """A function, a class or an object of the author's own."""
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
        parts = (f"{name}={self.text(getattr(value, name, None))}" for name in names)
        return f"{self.text(type(value))}({';'.join(parts)})"

    def _is_authors(self, definition: Any) -> bool:
        """Whether the code was written for this pipeline, and not installed."""
        name = str(getattr(definition, "__module__", ""))
        package = name.partition(".")[0]
        if package == self._package:
            return True
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or package == "headwater":
            return False
        return not file.startswith(_STANDARD) and not any(part in file for part in _INSTALLED)

    def _class(self, value: type) -> str:
        parts = [
            f"{name}={self.text(member)}"
            for name, member in sorted(vars(value).items())
            if name not in _NOT_CODE
        ]
        bases = self.text(value.__bases__)
        return f"class {value.__qualname__}{bases}({';'.join(parts)})"

    def _function(self, function: FunctionType) -> str:
        code = function.__code__
        parts = [
            self._code(code, function.__doc__),
            self.text(function.__defaults__),
            self.text(function.__kwdefaults__),
            str(inspect.signature(function, eval_str=False)),
        ]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        parts += [f"{name}={self._cell(cell)}" for name, cell in cells]
        parts += [
            f"{name}={self.text(function.__globals__[name])}"
            for name in sorted(set(_names(code)))
            if name in function.__globals__
        ]
        return f"function {function.__name__}({';'.join(parts)})"

    def _code(self, code: CodeType, doc: str | None = None) -> str:
        constants = [
            "doc" if doc is not None and c == doc else self.text(c) for c in code.co_consts
        ]
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        return (
            f"code({code.co_code.hex()};{','.join(constants)};{names};{shape};"
            f"{code.co_exceptiontable.hex()})"
        )

    def _cell(self, cell: Any) -> str:
        try:
            return self.text(cell.cell_contents)
        except ValueError:
            return "empty"


def _names(code: CodeType) -> Iterator[str]:
    """All names that a function and those inside it look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _data(value: Any) -> str | None:
    """What an object of values holds; None when it is something else."""
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(repr(value.tolist()).encode()).hexdigest()
        return f"{value.dtype}{value.shape}{digest}"
    if isinstance(value, np.generic | pa.Scalar | re.Pattern):
        return repr(value)
    if isinstance(value, pa.Array | pa.ChunkedArray | pa.Table | pa.RecordBatch):
        kind = value.type if isinstance(value, pa.Array | pa.ChunkedArray) else value.schema
        return f"{kind}{hashlib.sha256(repr(value.to_pylist()).encode()).hexdigest()}"
    if isinstance(value, pa.DataType | pa.Field | pa.Schema):
        return str(value)
    return None


def _kind(value: Any) -> str:
    """An object of which no more can be told than its class."""
    return f"a {type(value).__module__}.{type(value).__qualname__}"
