"""The facts kept in tests/fixtures/data are those of the files in which they were counted, where these are at hand."""

import csv
import json

import numpy as np
import pytest
import scipy.io

from tests.fixtures import public_tables


@pytest.mark.parametrize('split', ['train', 'test'])
def test_the_tables_of_mars_are_the_official_ones(shared, split):
    folder = shared / 'protocols' / 'mars'
    official = scipy.io.loadmat(folder / f'tracks_{split}_info.mat')[f'track_{split}_info']
    np.testing.assert_array_equal(public_tables.mars(split), official)
    names = public_tables.mars_names(split)
    assert [len(frames) for frames in names] == (official[:, 1] - official[:, 0] + 1).tolist()
    listed = [line.split()[0].split('/')[1] for line in (folder / f'list_{split}_seq.txt').read_text().splitlines()]
    assert [frames[0].removesuffix('F001.jpg') for frames in names] == listed
    query = scipy.io.loadmat(folder / 'query_IDX.mat')['query_IDX']
    assert public_tables.mars_query().tolist() == query.ravel().tolist()


def test_names_of_frames_are_the_real_ones_as_far_as_they_are_public(shared):
    real = (shared / 'protocols' / 'mars' / 'frame_names_sample.txt').read_text().split()
    ids = {name[:4] for name in real}
    assert [n for frames in public_tables.mars_names('train') for n in frames if n[:4] in ids] == real


def test_the_tables_of_duke_are_the_public_ones(shared):
    folder = shared / 'protocols' / 'dukemtmc_videoreid'
    info = np.loadtxt(folder / 'info_test.txt', dtype=int)
    lines = [line.split()[0] for line in (folder / 'list_duke_query_gallery.txt').read_text().splitlines()]
    rows = [(split, *row) for split in ('query', 'gallery') for row in public_tables.dukev(split).tolist()]
    assert [f'{split}/{pid:04d}/{number:04d}' for split, pid, _, number, _ in rows] == lines
    assert [row[1:3] + row[4:] for row in rows] == [(p, c, last - first + 1) for first, last, p, c in info.tolist()]
    with open(folder / 'tracklets.csv', newline='') as file:
        train = [row for row in csv.DictReader(file) if row['split'] == 'train']
    found = [[int(row[key]) for key in ('person_id', 'camera_id', 'tracklet_id')] for row in train]
    assert public_tables.dukev('train').tolist() == found


def test_splits_counts_and_scores_are_the_public_ones(shared):
    folder = shared / 'protocols'
    splits = json.loads((folder / 'prid2011' / 'splits_prid2011.json').read_text())
    for ours, theirs in zip(public_tables.prid_splits(), splits, strict=True):
        assert {k: [f'person_{number:04d}' for number in v] for k, v in ours.items()} == {
            k: sorted(theirs[k]) for k in ('train', 'test')
        }
    names = {'mars': 'mars', 'dukev': 'dukemtmc_videoreid', 'prid': 'prid2011', 'ilids': 'ilids_vid', 'lsvid': 'ls_vid'}
    facts = json.loads((folder / 'expected_counts.json').read_text())
    goldens = json.loads((folder / 'goldens' / 'retrieval_goldens.json').read_text())
    for ours, theirs in names.items():
        for kind, found in facts[theirs].items():
            kept = public_tables.counts(ours, kind)
            assert {k: v for k, v in kept.items() if k in found} == {k: v for k, v in found.items() if k in kept}
            assert len(found) == len(kept)
    for ours in ('mars', 'dukev'):
        kept, found = public_tables.goldens(ours), goldens[names[ours]]
        assert kept['div'] == found['div']
        assert kept['rules'].keys() == found['rules'].keys()
        assert all(kept['rules'][name].items() <= found['rules'][name].items() for name in found['rules'])
