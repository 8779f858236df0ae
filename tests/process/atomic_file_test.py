"""Files appear whole or not at all."""

import os
import threading
from concurrent import futures

import pytest

from jaxreid.process import atomic_file


def write(path, text):
    """Writes through the context manager."""
    with atomic_file.writing(path) as file:
        file.write(text.encode())


def test_a_file_is_replaced_whole_and_no_temporary_stays(tmp_path):
    path = tmp_path / 'new' / 'results.json'
    write(path, 'one')
    write(path, 'two')
    assert path.read_text() == 'two'
    assert os.listdir(path.parent) == ['results.json']


def test_threads_that_write_one_file_do_not_take_it_from_each_other(tmp_path):
    path, both = tmp_path / 'flow.npy', threading.Barrier(2, timeout=5)

    def write_beside_the_other(text):
        with atomic_file.writing(path) as file:
            both.wait()
            file.write(text)

    with futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write_beside_the_other, text) for text in (b'flow', b'flow')]:
            done.result()
    assert (os.listdir(tmp_path), path.read_bytes()) == (['flow.npy'], b'flow')


def test_a_failed_write_names_the_file_and_keeps_the_old_one(tmp_path):
    (tmp_path / 'results.json').mkdir()
    with pytest.raises(OSError, match=r'cannot write .*results.json'):
        write(tmp_path / 'results.json', 'text')
    assert os.listdir(tmp_path) == ['results.json']


def test_a_path_below_a_file_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=r'cannot write .*results.json'):
        write(tmp_path / 'file' / 'results.json', 'text')
