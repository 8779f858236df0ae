import dataclasses

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import tracklet
from jaxreid.evaluation import evaluate, from_checkpoint


def people(data, pids, *, tested, names=None, trained=None):
    """How many of the tested were trained on."""
    meta = {'labels': {str(pid): label for label, pid in enumerate(pids)}, 'pid_names': names or {}}
    test = tuple([tracklet.Tracklet(str(row), pid, 1, ('x',)) for row, pid in enumerate(tested)])
    marks = np.ones(len(test), bool)
    dataset = tracklet.Dataset('', (), test, marks, marks, pid_names={1: 'ann', 2: 'bob'} if names else {})
    before = from_checkpoint.trained_people(meta, trained or data)
    return len(before & from_checkpoint.test_people(dataset, data))


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
    evaluate.append_results(path, [row])
    evaluate.append_results(path, [row | {changed: 'prid split 0'}, row])
    assert len(evaluate.read_results(path)) == 2
