"""A gallery that grows: whole shards or nothing, one kind of features, no name twice."""

import dataclasses
import json
import os
import random
import shutil
import threading

import numpy as np
import pytest

from jaxreid.search import feature_rows, gallery, tracklets

MADE = {'network': 'ab12', 'clips': 'rrs', 'distance': 'cosine'}


def some(count=3, *, first=0, dim=4, made=MADE, **changes):
    names = [f't{first + i}' for i in range(count)]
    made = tracklets.Tracklets(
        where='new.npz',
        features=feature_rows.Rows.of(np.random.default_rng(first).standard_normal((count, dim)).astype(np.float32)),
        name=names,
        person=[''] * count,
        camera=['döör'] * count,
        time=[f'{first + i}.5' for i in range(count)],
        frames=[7] * count,
        made=dict(made),
        film=lambda row: [f'{names[row]}/1.jpg', f'{names[row]}/2.jpg'],
    )
    return dataclasses.replace(made, **changes)


def test_what_is_added_is_found_behind_what_was_there(tmp_path):
    folder = tmp_path / 'shop'
    first, second = some(3), some(2, first=3)
    assert gallery.append(folder, first).total == 3
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file() and path.name != '.lock'}
    assert gallery.append(folder, second).total == 5
    assert all(path.read_bytes() == data for path, data in before.items())
    held = gallery.open_folder(folder)
    assert held.name == ['t0', 't1', 't2', 't3', 't4']
    assert (held.camera[4], held.time[4], held.frames[4], held.made) == ('döör', '4.5', 7, MADE)
    assert held.film(3) == ['t3/1.jpg', 't3/2.jpg']
    both = np.concatenate([first.features.read(0, 3), second.features.read(0, 2)])
    np.testing.assert_array_equal(held.features.read(0, 9), both)


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize('at', range(6))
def test_an_append_that_is_killed_anywhere_counts_for_nothing(tmp_path, monkeypatch, at):
    folder = tmp_path / 'shop'
    gallery.append(folder, some(3))
    with monkeypatch.context() as patched:
        steps = iter(range(100))

        def dying(act):
            def step(*args, **kwargs):
                if next(steps) == at:
                    raise Killed
                return act(*args, **kwargs)

            return step

        patched.setattr(shutil, 'rmtree', lambda *_, **__: None)  # a killed process cleans nothing up
        patched.setattr(os, 'fsync', dying(os.fsync))
        patched.setattr(np.lib.format, 'open_memmap', dying(np.lib.format.open_memmap))
        patched.setattr(gallery.pathlib.Path, 'rename', dying(gallery.pathlib.Path.rename))
        patched.setattr(gallery.pathlib.Path, 'open', dying(gallery.pathlib.Path.open))
        with pytest.raises(Killed):
            gallery.append(folder, some(2, first=3))
    assert gallery.open_folder(folder).name == ['t0', 't1', 't2']
    assert gallery.append(folder, some(2, first=3)).total == 5
    assert not list(folder.glob('.shard-*'))


def test_a_gallery_whose_first_append_was_killed_takes_features_of_any_kind(tmp_path):
    gallery.append(tmp_path, some(3))
    shutil.rmtree(tmp_path / 'shard-00000000')
    with pytest.raises(ValueError, match='is empty; add tracklets'):
        gallery.open_folder(tmp_path)
    assert gallery.append(tmp_path, some(2, dim=5, made={})).total == 2
    assert gallery.open_folder(tmp_path).features.dim == 5


def test_processes_that_add_at_once_lose_nothing(tmp_path):
    jobs = [threading.Thread(target=gallery.append, args=(tmp_path, some(2, first=2 * i))) for i in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sorted(gallery.open_folder(tmp_path).name) == [f't{i}' for i in range(8)]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'dim': 5}, 'dimensions: 4 there, 5 here'),
        ({'made': MADE | {'network': 'cd34'}}, 'fingerprint of the network: ab12 there, cd34 here'),
        ({'made': MADE | {'clips': 'begin_crop'}}, 'clip protocol: rrs there, begin_crop here'),
        ({'made': {'clips': 'rrs'}}, r'does not say how its features were made \(fingerprint of the network, distance'),
        (
            {'first': 2},
            "'t2' of new.npz is in the gallery .* already, with other contents .features.; nothing of it is added",
        ),
        ({'first': 2, 'frames': [8] * 3}, r'with other contents .frames 7 there, 8 here.'),
        (
            {'features': feature_rows.Rows.of(np.array([[1, 2, 3, 4], [0.0, 0, 0, 0], [1, 2, 3, 4]]))},
            'x1 holds zeros only',
        ),
        ({'name': ['x', 'y', 'x']}, "two tracklets with the name 'x'"),
        ({'count': 0}, 'has no tracklets to add'),
        (
            {'features': feature_rows.Rows.of(np.array([[1, 2, 3, 4], [1, np.nan, 3, 4], [1, 2, 3, 4.0]]))},
            'x1 holds NaN',
        ),
    ],
)
def test_what_does_not_belong_is_refused_and_changes_nothing(tmp_path, changes, message):
    gallery.append(tmp_path, some(3))
    changes = {'first': 3} | changes
    if 'features' in changes:
        changes |= {'name': ['x0', 'x1', 'x2']}
    with pytest.raises(ValueError, match=message):
        gallery.append(tmp_path, some(**changes))
    assert gallery.open_folder(tmp_path).name == ['t0', 't1', 't2']


def joined(*parts):
    columns = {k: [x for one in parts for x in getattr(one, k)] for k in ('name', 'person', 'camera', 'time', 'frames')}
    features = feature_rows.Rows.of(np.concatenate([one.features.read(0, len(one)) for one in parts]))
    film = {name: one.film(row) for one in parts for row, name in enumerate(one.name)}
    return dataclasses.replace(parts[0], features=features, film=lambda row: film[columns['name'][row]], **columns)


def test_what_is_there_with_the_same_contents_is_left_and_the_rest_is_added(tmp_path):
    assert gallery.append(tmp_path, some(3)) == (3, 0, 3)
    assert gallery.append(tmp_path, some(3)) == (0, 3, 3)
    whole = joined(some(2, first=3), some(3))
    assert gallery.append(tmp_path, whole) == (2, 3, 5)
    held = gallery.open_folder(tmp_path)
    assert held.name == ['t0', 't1', 't2', 't3', 't4']
    np.testing.assert_array_equal(held.features.read(3, 5), some(2, first=3).features.read(0, 2))
    assert held.film(4) == ['t4/1.jpg', 't4/2.jpg']
    assert len(list(tmp_path.glob('shard-*'))) == 2


def test_images_that_have_not_changed_are_not_extracted_again(tmp_path):
    images = [tmp_path / f'{row}.jpg' for row in range(3)]
    for path in images:
        path.touch()
    extracted = []

    def listed(first=0):
        def extract():
            extracted.append(first)
            return some(3, first=first).features.read(0, 3)

        return some(3, features=feature_rows.Rows.later(extract, 3), film=lambda row: [str(images[row])])

    assert gallery.append(tmp_path / 'shop', listed()) == (3, 0, 3)
    written = next(tmp_path.glob('shop/shard-*/tracklets.jsonl'))
    later = images[0].stat().st_ctime + 10
    os.utime(written, (later, later))
    assert gallery.append(tmp_path / 'shop', listed()) == (0, 3, 3)
    assert extracted == [0]
    os.utime(written, (later - 20, later - 20))  # the images are newer now
    assert gallery.append(tmp_path / 'shop', listed()) == (0, 3, 3)
    with pytest.raises(ValueError, match=r"'t0' of new\.npz .* other contents \(features\)"):
        gallery.append(tmp_path / 'shop', listed(first=7))
    assert extracted == [0, 0, 7]


@pytest.mark.parametrize(
    ('second', 'message'),
    [
        (some(3, first=2), "new.npz and new.npz both have a tracklet 't2'"),
        (some(3, first=3, made=MADE | {'network': 'cd34'}), 'fingerprint of the network: ab12 there, cd34 here'),
        (some(3, first=3, dim=5), 'dimensions: 4 there, 5 here'),
        (some(3, first=10), "'t10' of new.npz is in the gallery .*frames 7 there"),
    ],
)
def test_all_that_is_to_be_added_is_checked_before_anything_is_extracted(tmp_path, second, message):
    def never():
        raise AssertionError('extracted')

    if 'frames' in message:
        gallery.append(tmp_path, some(1, first=10))
        second = dataclasses.replace(second, frames=[8] * 3, features=feature_rows.Rows.later(never, 3))
    elif 'dimensions' not in message:
        second = dataclasses.replace(second, features=feature_rows.Rows.later(never, 3))
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(ValueError, match=message):
        gallery.check(tmp_path, [some(3), second])
    assert sorted(tmp_path.rglob('*')) == before


def test_whose_numbers_persons_have_is_kept(tmp_path):
    gallery.append(tmp_path, some(2, person=['7', 'ann'], people=['mars', 'mars']))
    gallery.append(tmp_path, some(1, first=2, person=['7']))
    held = gallery.open_folder(tmp_path)
    assert [tracklets.who(held, row) for row in range(3)] == [('mars', '7'), ('', 'ann'), None]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / 'photo.jpg').touch()
    with pytest.raises(ValueError, match='exists and is no gallery'):
        gallery.append(tmp_path, some())
    with pytest.raises(ValueError, match='exists and is no gallery'):
        gallery.append(tmp_path / 'photo.jpg', some())
    assert [path.name for path in tmp_path.iterdir()] == ['photo.jpg']


@pytest.mark.slow
def test_no_flipped_bit_gives_another_gallery(tmp_path):
    gallery.append(tmp_path, some(40, dim=8))
    held, draw, named = gallery.open_folder(tmp_path), random.Random(0), []
    before = held.name, held.camera, held.made, held.film(39), held.features.read(0, 40).tolist()

    def read():
        now = gallery.open_folder(tmp_path)
        assert (now.name, now.camera, now.made, now.film(39), now.features.read(0, 40).tolist()) == before

    def take():
        np.testing.assert_array_equal(gallery.open_folder(tmp_path).features.take(np.arange(40)), before[-1])

    def add():
        assert gallery.append(tmp_path, some(40, dim=8)).there == 40

    for file in [one for one in tmp_path.rglob('*') if one.is_file() and one.stat().st_size]:
        data = file.read_bytes()
        for _ in range(40):
            changed = bytearray(data)
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            file.write_bytes(changed)
            for act in (read, take, add):  # each by itself: what one does not see another might
                try:
                    act()
                except ValueError as error:
                    named.append((str(file.parent), str(error)))
        file.write_bytes(data)
    assert all(folder in said and len(said.splitlines()) == 1 for folder, said in named)
    assert len(named) > 300  # headers have room that means nothing


def test_what_is_added_to_a_large_gallery_costs_what_is_added(tmp_path, monkeypatch):
    gallery.append(tmp_path, some(3000))
    parsed = []
    monkeypatch.setattr(gallery.json, 'loads', lambda text, loads=json.loads: parsed.append(text) or loads(text))
    assert gallery.append(tmp_path, joined(some(2, first=3000), some(3))) == (2, 3, 3002)
    assert len(parsed) < 10


def test_a_shard_from_before_there_were_digests_is_read_and_added_to(tmp_path):
    gallery.append(tmp_path, some(3))
    index = tmp_path / 'shard-00000000' / 'rows.npy'
    written = index.read_bytes()
    index.unlink()
    assert gallery.open_folder(tmp_path).film(2) == ['t2/1.jpg', 't2/2.jpg']
    assert gallery.append(tmp_path, joined(some(2, first=3), some(3))) == (2, 3, 5)
    assert index.read_bytes() == written
    with pytest.raises(ValueError, match='with other contents'):
        gallery.append(tmp_path, some(3, first=2))


def test_damage_is_named(tmp_path):
    gallery.append(tmp_path, some())
    shard = tmp_path / 'shard-00000000'
    (shard / 'rows.npy').unlink()  # which would name all of it
    lines = (shard / 'tracklets.jsonl').read_text().splitlines(keepends=True)
    (shard / 'tracklets.jsonl').write_text(''.join(lines[:2]))
    with pytest.raises(ValueError, match=r'shard-00000000 is damaged \(features \[3, 4\], expected \[2, 4\]\)'):
        gallery.open_folder(tmp_path)
    whole = (shard / 'embedding.npy').read_bytes()
    (shard / 'embedding.npy').write_bytes(whole[:-4])
    with pytest.raises(ValueError, match=r'is damaged \(embedding\.npy is cut short or no \.npy file\); remove'):
        gallery.open_folder(tmp_path)
    (shard / 'tracklets.jsonl').write_text(lines[0][:20])
    with pytest.raises(ValueError, match='shard-00000000 is damaged'):
        gallery.open_folder(tmp_path)
    (tmp_path / 'gallery.json').write_text(json.dumps({'format': 9}))
    with pytest.raises(ValueError, match=r'gallery\.json cannot be used \(its format is 9'):
        gallery.open_folder(tmp_path)
