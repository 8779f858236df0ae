"""The tests that docs/reliability.md names beside its claims are there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMED = re.findall(r'`(tests/[\w/]+\.py)(?:::(\w+))?`', (ROOT / 'docs' / 'reliability.md').read_text())


def test_every_test_that_is_named_is_there():
    assert len(NAMED) > 40
    for path, name in NAMED:
        text = (ROOT / path).read_text()
        assert not name or re.search(rf'^def {name}\(', text, re.MULTILINE), f'{path}::{name}'
