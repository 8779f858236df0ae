"""Damaged training frames: each is named once, in the run's file and first in the terminal; too many stop the run."""

import functools
import pickle

import numpy as np
import pytest

from jaxreid.data.datasets import mars
from jaxreid.data.stores import damaged_frames, folder_store
from tests.fixtures import mars_folder as mars_fixture


@pytest.fixture
def dataset(tmp_path):
    return mars.read(mars_fixture.write(tmp_path / 'mars'))


def store(dataset, file):
    how = folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt='skip_frame', damaged=str(file))
    return folder_store.FolderStore(dataset.root, dataset.train, how)


def empty(dataset, frames):
    """Empties frames of the first tracklet; returns their paths."""
    paths = [f'{dataset.root}/{dataset.train[0].frames[frame]}' for frame in frames]
    for path in paths:
        open(path, 'wb').close()
    return paths


def test_every_damaged_frame_is_named_once_in_the_file_by_all_processes(dataset, tmp_path, capsys):
    paths = empty(dataset, [1, 4])
    found = damaged_frames.DamagedFrames(tmp_path, of=1000)
    assert found.summary() == ''
    first = store(dataset, found.file)
    copy = pickle.loads(pickle.dumps(first))  # as another process has it
    for one in (first, copy):
        for _ in range(3):
            one.read(0, np.arange(9))
    found.tell()
    said = capsys.readouterr().out
    for path in paths:
        assert said.count(f'damaged frame, a neighbour takes its place: {path}: the file is empty') == 1
        assert found.file.read_text().count(path) == 2  # once by each
    assert found.summary() == f'2 damaged training frames were replaced by neighbours: {found.file}'
    found.tell()
    assert capsys.readouterr().out == ''


def test_a_jpeg_with_a_hole_is_replaced_and_named(dataset, tmp_path):
    path = tmp_path / 'mars' / dataset.train[0].frames[2]
    data = path.read_bytes()
    middle = (data.index(b'\xff\xda') + len(data)) // 2
    path.write_bytes(data[: middle - 20] + data[middle + 20 :])
    reader = store(dataset, tmp_path / damaged_frames.FILE)
    clip = reader.read(0, np.array([1, 2]))
    np.testing.assert_array_equal(clip[0], clip[1])
    assert str(path) in (tmp_path / damaged_frames.FILE).read_text()


def test_the_terminal_names_the_first_and_where_the_others_are(tmp_path, capsys):
    found = damaged_frames.DamagedFrames(tmp_path, of=1000)
    for frame in range(8):
        damaged_frames.note(str(found.file), f'f{frame}.jpg', 'a\nb')
    found.tell()
    said = capsys.readouterr().out.splitlines()
    assert said[:5] == [f'damaged frame, a neighbour takes its place: f{i}.jpg: a\ufffdb' for i in range(5)]
    assert said[5:] == [f'more damaged frames are named in {found.file}']
    damaged_frames.note(str(found.file), 'f9.jpg', 'gone')
    found.tell()
    assert capsys.readouterr().out == ''
    assert found.summary().startswith('9 damaged')
    assert damaged_frames.DamagedFrames(tmp_path, of=1000).summary().startswith('9 damaged')  # of a run that goes on


def test_more_than_a_tenth_stops_the_run(tmp_path):
    found = damaged_frames.DamagedFrames(tmp_path, of=100)
    write = functools.partial(damaged_frames.note, str(found.file))
    for frame in range(10):
        write(f'f{frame}.jpg', 'gone')
    found.tell()
    write('f10.jpg', 'gone')
    with pytest.raises(
        ValueError, match=r'11 of 100 training frames are damaged, more than 10%; .*damaged_frames\.txt'
    ):
        found.tell()
