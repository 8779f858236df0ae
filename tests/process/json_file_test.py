"""JSON of files: what is what its type says is given as it is; anything else is one line that names file and place."""

from typing import Any, Literal, NotRequired, TypedDict

import pytest

from jaxreid.process import json_file


class Part(TypedDict):
    name: str
    size: NotRequired[float | None]


class Kept(TypedDict):
    parts: list[Part]
    by_name: dict[str, int]
    mode: Literal['a', 'b']
    free: Any


GOOD = (
    '{"parts": [{"name": "x", "size": 1}, {"name": "y", "size": null}], "by_name": {"q": 2}, "mode": "a", "free": [1]}'
)


def test_what_fits_is_given_as_it_is_with_what_nobody_named(tmp_path):
    (tmp_path / 'a.json').write_text(GOOD[:-1] + ', "more": 5}')
    found = json_file.read(tmp_path / 'a.json', Kept)
    assert found['parts'] == [{'name': 'x', 'size': 1}, {'name': 'y', 'size': None}]
    assert (found['by_name'], found['mode'], found['free'], found['more']) == ({'q': 2}, 'a', [1], 5)


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('"mode": "a"', '"mode": "c"', r"\.mode is a text, 'c', expected 'a' or 'b'"),
        ('{"name": "y"', '{"name": 3', r'\.parts\[1\]\.name is a whole number, 3, expected a text'),
        ('{"name": "y", ', '{', r'\.parts\[1\] lacks name'),
        ('"size": 1', '"size": "1"', r"\.parts\[0\]\.size is a text, '1', expected a number"),
        ('"size": 1', '"size": true', r'\.parts\[0\]\.size is true or false, True, expected a number'),
        ('{"q": 2}', '{"q": 2.5}', r"\.by_name\['q'\] is a number, 2\.5, expected a whole number"),
        ('{"q": 2}', '[2]', r'\.by_name is a list, \[2\], expected an object'),
        ('"mode": "a", ', '', r'lacks mode'),
        ('"parts"', 'parts', r'it is no JSON text'),
        ('[1]', '1' * 5000, r'it is no JSON text'),
        ('[1]', '[' * 100000, r'it is nested too deeply'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_with_file_place_and_expectation(tmp_path, old, new, said):
    assert old in GOOD
    (tmp_path / 'a.json').write_text(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=rf'a\.json does not hold parts: {said}.*; make it again$') as raised:
        json_file.read(tmp_path / 'a.json', Kept, what='parts', advice='make it again')
    assert '\n' not in str(raised.value)


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    (tmp_path / 'a.json').write_bytes(b'{"name": "\xff\xfe"}')
    with pytest.raises(ValueError, match=r'a\.json does not hold what was expected: it is no JSON text'):
        json_file.read(tmp_path / 'a.json', Part)


def test_halves_of_characters_can_be_printed(tmp_path):
    (tmp_path / 'a.json').write_text(r'{"name": "a\ud800b"}')
    assert json_file.read(tmp_path / 'a.json', Part)['name'].encode() == b'a?b'


def test_of_an_object_of_anybody_the_entries_that_fit_are_kept():
    assert json_file.fitting({'name': 3, 'size': 2.0, 'other': [1]}, Part) == {'size': 2.0, 'other': [1]}
