"""Paths that data name: only files with an end are read, and nothing is written outside of a folder."""

import os

import pytest

from jaxreid.process import paths


def test_a_file_is_read_and_what_never_ends_is_not(tmp_path):
    (tmp_path / 'a').write_bytes(b'x')
    assert paths.content(tmp_path / 'a') == b'x'
    os.mkfifo(tmp_path / 'pipe')
    for path, kind in ((tmp_path / 'pipe', 'a device'), ('/dev/zero', 'a device')):
        with pytest.raises(OSError, match=f'{path} is {kind}, a pipe or a socket; expected a file'):
            paths.content(path)
    with pytest.raises(OSError, match=r'folder|directory'):
        paths.content(tmp_path)


@pytest.mark.parametrize('name', ['../x', 'a/../../x', '/x', '~/x', 'C:x', '\\x', 'a\0b', 'a\nb', '\ud800', 3, None])
def test_a_path_that_leaves_its_folder_or_is_none_is_refused(name):
    with pytest.raises(ValueError, match=r'^here: .*(leaves the folder|holds the character|is no path)'):
        paths.relative(name, where='here')


def test_paths_have_one_spelling(tmp_path):
    assert paths.relative('./a//b.jpg', where='here') == 'a/b.jpg'
    assert paths.relative('a..b/c') == 'a..b/c'
    assert paths.relative('.') == ''
