from unittest import mock

import numpy as np
import pytest

from jaxreid import command_line, config, sharding
from jaxreid.data import source
from jaxreid.data.datasets import catalogue
from tests.fixtures import mars_folder as mars_fixture


@pytest.mark.parametrize(
    ('dataset', 'needs'),
    [
        ('mars', ('bbox_train/<id>/*.jpg', 'query_IDX.mat')),
        ('dukev', ('gallery/<id>/<tracklet>/*.jpg',)),
        ('ilids', ('i-LIDS-VID/sequences/cam1', 'train_test_splits_ilidsvid.mat')),
        ('prid', ('prid_2011/multi_shot/cam_a',)),
        ('lsvid', ('list_seq_train.txt', 'info_test.mat')),
    ],
)
def test_without_a_root_the_message_says_what_the_data_set_s_folder_holds(dataset, needs):
    experiment = config.Experiment(data=config.Data(dataset=dataset))
    with pytest.raises(config.ConfigError) as error:
        command_line.check_root(experiment)
    for text in (*needs, f'the {dataset} data set', '--config.data.root='):
        assert text in str(error.value)
    if dataset != 'mars':
        assert 'bbox_train' not in str(error.value)


def test_every_data_set_of_the_config_can_be_opened_and_says_its_layout(tmp_path):
    for dataset in config.DATASETS:
        assert catalogue.find(dataset).layout
        if dataset != 'synthetic':
            with pytest.raises(FileNotFoundError, match='nowhere'):
                source.read(config.Data(dataset=dataset, root=str(tmp_path / 'nowhere')))
    for refused in (catalogue.find, lambda name: source.read(config.Data(dataset=name))):
        with pytest.raises(ValueError, match="unknown data set 'market'"):
            refused('market')


def test_training_begins_with_a_count_of_the_frames_that_are_resized(tmp_path, capsys):
    root = mars_fixture.write(tmp_path / 'mars')
    frames = sorted((root / 'bbox_train').rglob('*.jpg'))
    for number, frame in enumerate(frames):
        if number < 30:
            frame.write_bytes(mars_fixture.jpeg(number, height=20, width=10))
    frames[40].write_bytes(b'')
    mesh = sharding.make_mesh()
    for height, expected in ((16, 30), (20, len(frames) - 1)):
        data = config.Data(dataset='mars', root=str(root), height=height, width=8)
        with mock.patch.object(source, '_LOOKED_AT', len(frames)):
            source.training_store(data, source.read(data), mesh)
        assert f'{expected} of {len(frames)} looked at are not {height}x8' in capsys.readouterr().out
    source.training_store(data, source.read(data), mesh)
    assert 'of 64 looked at are not 20x8 and are resized, such as bbox_train/' in capsys.readouterr().out
    for frame in frames[:30]:
        frame.write_bytes(mars_fixture.jpeg(0))
    data = config.Data(dataset='mars', root=str(root), height=16, width=8)
    source.training_store(data, source.read(data), mesh)
    assert capsys.readouterr().out == ''


def test_a_split_of_a_data_set_that_has_one_only_is_refused():
    with pytest.raises(config.ConfigError, match=r'data.split = 3 belongs to ilids and prid; dukev has one split'):
        config.validate(config.Experiment(data=config.Data(dataset='dukev', split='3')))
    config.validate(config.Experiment(data=config.Data(dataset='prid', split='3')))


def test_each_split_has_its_own_rule_for_frames_that_cannot_be_read(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    for split in ('train', 'test'):
        for path in sorted((root / f'bbox_{split}').rglob('*.jpg')):
            path.write_bytes(b'' if 'F001' in path.name else path.read_bytes())
    data = config.Data(dataset='mars', root=str(root), height=16, width=8)
    for lenient in ('train', 'test'):
        data.on_corrupt_train, data.on_corrupt_eval = (
            'skip_frame' if lenient == split else 'error' for split in ('train', 'test')
        )
        dataset = source.read(data)
        for split in ('train', 'test'):
            store = source.store(data, dataset, split=split)
            if split == lenient:
                assert store.read(0, np.array([0])).shape == (1, 16, 8, 3)
                assert store.skipped == 1
            else:
                with pytest.raises(ValueError, match='Unreadable frame'):
                    store.read(0, np.array([0]))
