"""Flow ahead of training: every frame of both splits, once, where the store of a run finds it."""

import numpy as np
import pytest

from data_pipelines import optical_flow
from jaxreid import config
from jaxreid.data import optical_flow as tv_l1
from jaxreid.data import source
from tests.data import mars_fixture

TRAIN = ((1, 1, 3), (2, 2, 1))
TEST = ((3, 1, 2), (3, 2, 2))


def settings(tmp_path, **changes):
    """Of a small data set in MARS layout."""
    root = mars_fixture.write(tmp_path / 'data', train=TRAIN, test=TEST, query=(0,))
    given = {'flow': 'tvl1', 'flow_folder': str(tmp_path / 'flow'), 'height': 16, 'width': 8} | changes
    return config.Data(dataset='mars', root=str(root), **given)


def test_a_run_after_it_computes_nothing(tmp_path, monkeypatch, capsys):
    data = settings(tmp_path)
    assert optical_flow.compute(data, workers=2) == 8
    monkeypatch.setattr(tv_l1, 'tv_l1', None)
    source._flow_cache.cache_clear()  # a new process
    dataset = source.read(data)
    for split, tracklets in (('train', dataset.train), ('test', dataset.test)):
        store = source.store(data, dataset, split=split)
        for row, tracklet in enumerate(tracklets):
            assert store.read_flow(row, np.arange(len(tracklet.frames))).shape == (len(tracklet.frames), 16, 8, 2)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [({'flow': 'zeros'}, 'nothing to compute'), ({'flow_folder': ''}, 'config.data.flow_folder')],
)
def test_settings_that_give_no_flow_are_refused(tmp_path, changes, message):
    with pytest.raises(config.ConfigError, match=message):
        optical_flow.compute(settings(tmp_path, **changes), workers=1)
