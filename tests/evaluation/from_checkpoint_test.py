import dataclasses
import json

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.stores import frame_cache
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import evaluate, feature_file, features, network, results


def people(data, pids, *, tested, names=None, trained=None):
    """How many of the tested were trained on."""
    meta = {
        'labels': {str(pid): label for label, pid in enumerate(pids)},
        'pid_names': names or {},
        'config': config.to_dict(config.Experiment(data=trained or data)),
    }
    test = tuple([tracklet.Tracklet(str(row), pid, 1, ('x',)) for row, pid in enumerate(tested)])
    marks = np.ones(len(test), bool)
    dataset = tracklet.Dataset('', (), test, marks, marks, pid_names={1: 'ann', 2: 'bob'} if names else {})
    before = evaluate.trained_people(meta)
    return len(before & evaluate.test_people(dataset, data))


def test_tested_people_who_were_trained_on_are_counted_over_splits_and_parts_of_a_data_set():
    ilids = config.Data(dataset='ilids', split='3')
    trained = dataclasses.replace(ilids, split='0')
    assert people(ilids, [1, 2, 3, 4], tested=[3, 4, 4, 5], trained=trained) == 2
    assert people(ilids, [1, 2], tested=[3, 4]) == 0
    assert people(config.Data(dataset='mars', part='validation'), [1, 2], tested=[2], trained=config.Data()) == 1
    assert people(config.Data(dataset='mars'), [1, 2], tested=[-1, 0, 3]) == 0


def test_equal_numbers_of_different_data_sets_are_different_people():
    mars = config.Data(dataset='mars')
    assert people(mars, [1, 2], tested=[1, 2], trained=config.Data(dataset='dukev')) == 0
    one, other = (config.Data(dataset='synthetic', preset=preset) for preset in ('tiny', 'demo'))
    assert people(one, [1, 2], tested=[1, 2], trained=other) == 0
    mixed = config.Data(dataset='mars', also=('dukev=/x',))
    assert people(mars, [1, 2, 9], tested=[2, 9], names={'9': 'dukev 1'}, trained=mixed) == 0


def test_names_count_and_not_the_numbers_that_they_were_given():
    data = config.Data(dataset='manifest', root='/a/shop/own.csv')
    moved = dataclasses.replace(data, root='/b/shop/own.csv')
    assert people(data, [1, 2], tested=[1], names={'1': 'zoe', '2': 'ann'}, trained=moved) == 1
    assert people(data, [1, 2], tested=[2], names={'1': 'zoe', '2': 'ann'}) == 0
    market = dataclasses.replace(data, root='/a/market/own.csv')
    assert people(data, [1, 2], tested=[1, 2], trained=market) == 0


@pytest.mark.parametrize('changed', ['trained_on', 'tested_on'])
def test_results_of_other_training_or_test_data_stand_beside_each_other(tmp_path, changed):
    row = {'step': 1, 'selected': 'last step', 'protocol': {'name': 'x'}, 'trained_on': 'mars', 'tested_on': 'dukev'}
    path = tmp_path / 'results.json'
    results.append(path, [row])
    other = row | {changed: 'prid split 0'}
    results.append(path, [other])
    assert results.read(path) == [row, other]
    results.append(path, [row])
    assert results.read(path) == [other, row]


def test_several_kinds_of_clips_are_extracted_and_scored_with_one_restored_network(tmp_path, monkeypatch):
    experiment = config.Experiment(test=config.Test(clips='rrs', also_clips=('begin_crop', 'rrs')))
    marks = np.ones(2, bool)
    test = tuple([tracklet.Tracklet(str(camera), 1, camera, ('x',) * 9) for camera in (1, 2)])
    dataset = tracklet.Dataset('', (), test, marks, marks, pid_names={})
    meta = {'labels': {'7': 0}, 'config': config.to_dict(experiment)}
    restored, stores = [], []

    def load(path, *, experiment, mesh):
        restored.append(path)
        return network.Network(experiment, None, {}, meta, 5, mesh, path)

    def extract(self, dataset, *, clips, label, store):
        stores.append(store)
        made = {**self.making(clips=clips), 'compute_dtype': 'float32', 'frames_seen': 4, 'corrupt_frames_replaced': 0}
        return features.describe(dataset, np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), made)

    monkeypatch.setattr(network.Network, 'load', load)
    monkeypatch.setattr(network.Network, 'features', extract)
    monkeypatch.setattr(source, 'read', lambda _: dataset)
    rows = evaluate.run(experiment, tmp_path, tmp_path, scored=True)
    assert [row['protocol']['clips'] for row in rows] == ['rrs', 'begin_crop']
    assert restored == [tmp_path]
    assert stores[0] is stores[1]  # frames are decoded once
    assert isinstance(stores[0], frame_cache.FrameCache)
    assert results.read(tmp_path / 'results.json') == json.loads(json.dumps(rows))
    names = ('features.npz', 'features-mars-step5-begin_crop.npz')
    assert [feature_file.load(tmp_path / name).meta['clips'] for name in names] == ['rrs', 'begin_crop']
