"""JSON from files, read with every doubt: where it is not what its type says, one line names the file and the place."""

import functools
import json
import os
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, NotRequired, Required, TypeVar

from jaxreid.process import digest, paths

T = TypeVar('T')
_WORDS = {str: 'a text', int: 'a whole number', float: 'a number', bool: 'true or false', dict: 'an object',
          list: 'a list', type(None): 'null'}  # fmt: skip


def read(path: str | os.PathLike, kind: type[T], *, what: str = 'what was expected', advice: str = '') -> T:
    """The value in a file.

    Args:
      path: of the file.
      kind: what it holds: a TypedDict, list[...], dict[str, ...], a plain type, or unions of them.
      what, advice: of the error's message, '... does not hold {what}: ...; {advice}'.

    Raises:
      ValueError: it holds something else, or is not what its own digest says; names the file, the place in it, what
        was found and what was expected.
      OSError: it cannot be read.
    """
    return parse(paths.content(path), kind, where=os.fspath(path), what=what, advice=advice)


def parse(text: str | bytes, kind: type[T], *, where: str, what: str = 'what was expected', advice: str = '') -> T:
    """As `read`, of a text that `where` names."""
    try:
        value = json.loads(text)
        # Halves of characters can be neither printed nor written.
        if (b'\\ud' if isinstance(text, bytes) else '\\ud') in text.lower():  # type: ignore[operator]
            value = json.loads(json.dumps(value, ensure_ascii=False).encode('utf-8', 'replace'))
    except RecursionError:
        wrong = 'it is nested too deeply'
    except ValueError as e:
        wrong = f'it is no JSON text ({str(e).splitlines()[0]})'
    else:
        if not (wrong := digest.problem(value) or _checker(typing.cast(Any, kind))(value)):
            return value
    raise ValueError(f'{where} does not hold {what}: {wrong.strip()}' + f'; {advice}' * bool(advice))


def fitting(value: dict[str, Any], kind: type[T]) -> T:
    """The entries of an object that are what a TypedDict says, and those that it does not name."""
    hints = typing.get_type_hints(kind)
    return typing.cast(T, {k: v for k, v in value.items() if k not in hints or not _checker(hints[k])(v)})


@functools.cache
def _checker(kind: Any) -> Callable[[Any], str]:
    """What is wrong with a value, beginning with the place in it; '' where nothing is."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Required, NotRequired):
        return _checker(arguments[0])
    if typing.is_typeddict(kind):
        return functools.partial(_object, {k: _checker(v) for k, v in typing.get_type_hints(kind).items()},
                                 sorted(kind.__required_keys__))  # fmt: skip
    if origin is Literal:
        return lambda value: '' if value in arguments else _wrong(value, ' or '.join(map(repr, arguments)))
    if origin in (typing.Union, types.UnionType):
        checks = [_checker(one) for one in arguments]

        def any_of(value):
            found = [check(value) for check in checks]
            return '' if '' in found else found[0] if len(found) == 1 or not found[1] else ', or '.join(found)

        return any_of
    if origin in (list, dict):
        check = _checker(arguments[-1])
        return functools.partial(_entries, origin, check)
    if kind in (Any, object):
        return lambda value: ''
    plain: Any = (int, float) if kind is float else kind

    def plainly(value):
        fits = isinstance(value, plain) and (kind is bool or not isinstance(value, bool))
        return '' if fits else _wrong(value, _WORDS[kind])

    return plainly


def _object(checks, required, value):
    if not isinstance(value, dict):
        return _wrong(value, _WORDS[dict])
    if lacking := [key for key in required if key not in value]:
        return f' lacks {", ".join(lacking)}'
    known = [(key, check) for key, check in checks.items() if key in value]
    return next((f'.{key}{wrong}' for key, check in known if (wrong := check(value[key]))), '')


def _entries(kind, check, value):
    if not isinstance(value, kind):
        return _wrong(value, _WORDS[kind])
    named = value.items() if kind is dict else enumerate(value)
    return next((f'[{key!r:.40}]{wrong}' for key, one in named if (wrong := check(one))), '')


def _wrong(value, expected):
    return f' is {_WORDS.get(type(value))}, {value!r:.60}, expected {expected}'
