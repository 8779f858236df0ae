"""A video that is watched: everybody who leaves is sought in the gallery, and added to it."""

import pathlib

import cv2
import numpy as np
import pytest

from jaxreid.search import __main__ as command
from jaxreid.search import feature_rows, gallery, sources, tracklets
from tests.fixtures import rendered_video


def by_colours(path, role, network, *, frames_root='', each=''):
    """In the place of a network's features: the mean colour of the upper half of a tracklet's crops."""
    files = sorted(pathlib.Path(path).glob('*.jpg'))
    row = np.mean([cv2.imread(str(file))[:40].mean((0, 1)) - 110 for file in files], axis=0)
    return tracklets.Tracklets(
        where=path,
        features=feature_rows.Rows.of(row[None].astype(np.float32)),
        name=[pathlib.Path(path).name],
        person=[''],
        camera=[''],
        time=[''],
        frames=[len(files)],
        made={},
        film=lambda row: [str(file) for file in files[:5]],
    )


@pytest.mark.slow
def test_who_leaves_is_sought_then_added(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, 'open_any', by_colours)
    monkeypatch.setattr(sources, 'network_loader', lambda checkpoint: (lambda: None) if checkpoint else None)
    video = tmp_path / 'door.avi'
    rendered_video.write(video, [(170, 0, 1), (170, 80, -1)], frames=160)
    given = ['watch', str(tmp_path / 'shop'), str(video), str(tmp_path / 'out'), '--start=2026-11-21T14:00:00']
    assert command.run(given) == 1
    assert 'add --checkpoint DIR' in capsys.readouterr().err
    given += ['--checkpoint=net', '--camera=door']
    assert command.run(given) == 1
    assert 'is no gallery; make one with python -m jaxreid.search add, or say --add' in capsys.readouterr().err
    assert command.run([*given, '--add']) == 0
    said = capsys.readouterr().out.split('\n\n')
    assert said[0].startswith('out/0001  the first in')
    assert said[1].startswith('out/0002  camera door · 2026-11-21T14:00:')
    assert '#1' in said[1]
    assert 'out/0001  camera door  2026-11-21T14:00:0' in said[1]
    held = gallery.open_folder(tmp_path / 'shop')
    assert held.name == [f'out/{row:04d}' for row in range(1, len(held) + 1)]
    assert len(held) >= 2
    assert set(held.camera) == {'door'}
