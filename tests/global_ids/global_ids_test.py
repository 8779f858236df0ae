"""The command as its user runs it: tracks of single cameras become people, who keep their ids."""

import csv
import dataclasses
import itertools
import json
import pathlib
import re

import cv2
import numpy as np
import pytest

from jaxreid.data.datasets import manifest
from jaxreid.data.synthetic import town
from jaxreid.evaluation import feature_file
from jaxreid.from_video import mot_file
from jaxreid.global_ids import __main__ as command
from jaxreid.global_ids import identity_scores, own_footage
from jaxreid.search import feature_rows, sources, tracklets
from tests.fixtures import browser


def write(folder, camera, rows):
    """A feature file of (name, direction in degrees, beginning in seconds) each."""
    names, angles, begins = zip(*rows, strict=True)
    at = np.deg2rad(np.array(angles, float))
    n = len(rows)
    arrays = {
        'embedding': np.stack([np.cos(at), np.sin(at)], 1).astype(np.float32),
        'pid': np.zeros(n, int),
        'camera': np.ones(n, int),
        'query': np.zeros(n, bool),
        'gallery': np.ones(n, bool),
        'name': np.array(names),
        'frames': np.full(n, 26),
        'time': np.array([str(begin) for begin in begins]),
        'meta': np.array(json.dumps({'camera_names': {'1': camera}, 'network': 'a' * 16})),
    }
    path = folder / f'{camera}.npz'
    np.savez(path, **arrays)
    return f'{camera}={path}'


@pytest.fixture
def given(tmp_path):
    door = write(tmp_path, 'door', [('1', 0, 0), ('2', 90, 0.5), ('<b>3', 4, 100)])
    return tmp_path, [door, write(tmp_path, 'yard', [('1', 92, 30), ('2', 2, 40), ('3', 200, 41)])]


def people(out):
    with (out / 'tracklets.csv').open() as file:
        return {row['tracklet']: int(row['person']) for row in csv.DictReader(file)}


FOUND = {'door/door:1': 1, 'door/door:2': 2, 'door/door:<b>3': 1, 'yard/yard:1': 2, 'yard/yard:2': 1, 'yard/yard:3': 3}


def test_everybody_gets_one_id_in_all_files_and_again_the_same_bytes(given, capsys):
    folder, inputs = given
    for name in ('ids', 'again'):
        assert command.main([*inputs, str(folder / name), '--threshold=0.9']) == 0
    assert '3 people in 6 tracklets of 2 cameras, 2 of them seen by several cameras' in capsys.readouterr().out
    out = folder / 'ids'
    assert people(out) == FOUND
    with (out / 'people.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['cameras'] for row in rows] == ['door yard', 'door yard', 'yard']
    assert (rows[0]['first_seen'], rows[0]['last_seen'], rows[0]['tracklets']) == ('0.00', '101.00', '3')
    assert float(rows[1]['weakest_join']) == pytest.approx(np.cos(np.deg2rad(2)), abs=1e-4)
    found = feature_file.load(out / 'door' / 'door.npz', roles=False)
    assert found.pid.tolist() == [1, 2, 1]
    files = sorted(path.relative_to(out) for path in out.rglob('*') if path.is_file() and path.name != '.lock')
    assert len(files) >= 9
    for path in files:
        assert (out / path).read_bytes() == (folder / 'again' / path).read_bytes(), path
    page = (out / 'people.html').read_text()
    assert 'door/door:&lt;b&gt;3' in page
    assert 'yard · 30.00 s' in page


def test_ids_stay_when_an_hour_is_added_and_corrections_are_kept(given):
    folder, inputs = given
    out = folder / 'ids'
    assert command.main([*inputs, str(out), '--threshold=0.9']) == 0
    (folder / 'later').mkdir()
    later = write(folder / 'later', 'door', [('1', 199, 3600), ('2', 300, 3601), ('3', 1, 3700)])
    later = later.replace('door.npz', 'evening.npz')
    (folder / 'later' / 'door.npz').rename(folder / 'later' / 'evening.npz')
    assert command.main(['add', str(out), later]) == 0
    new = {'door/evening:1': 3, 'door/evening:2': 4, 'door/evening:3': 1}
    assert people(out) == FOUND | new
    said = folder / 'said.csv'
    said.write_text('join,first,second\ncannot,door/door:1,yard/yard:2\nmust,door/evening:2,yard/yard:1\n')
    assert command.main(['add', str(out), f'--corrections={said}']) == 0
    corrected = people(out)
    assert corrected['door/door:1'] != corrected['yard/yard:2']
    assert corrected['door/evening:2'] == corrected['yard/yard:1'] == 2
    assert 1 in (corrected['door/door:1'], corrected['yard/yard:2'])
    fourth = write(folder / 'later', 'gate', [('1', 0, 5000)])
    assert command.main(['add', str(out), fourth]) == 0
    assert {key: value for key, value in people(out).items() if not key.startswith('gate')} == corrected
    assert people(out)['gate/gate:1'] != 4  # an id that was given once is nobody else's
    assert feature_file.load(out / 'door' / 'evening.npz', roles=False).pid.tolist() == [
        corrected[f'door/evening:{i}'] for i in (1, 2, 3)
    ]


def test_the_footage_itself_says_how_alike_strangers_are(tmp_path, capsys):
    """Everybody is alike here: features lie about one direction, and the similarities of strangers are all high."""
    rng = np.random.default_rng(0)
    centres = 5 + rng.normal(size=(12, 30))
    paths = []
    for camera in ('door', 'yard', 'roof'):
        who = rng.permutation(12)
        at = np.full(12, 100.0 * len(paths))  # all together at each
        features = centres[who] + 0.4 * rng.normal(size=(12, 30))
        paths.append(write(tmp_path, camera, [(str(one), 0, begin) for one, begin in zip(who, at, strict=True)]))
        arrays = dict(np.load(tmp_path / f'{camera}.npz'))
        arrays |= {'embedding': features.astype(np.float32), 'frames': np.full(12, 450)}
        np.savez(tmp_path / f'{camera}.npz', **arrays)
    for name in ('ids', 'again'):
        assert command.main([*paths[:2], str(tmp_path / name)]) == 0
    assert re.search(r'joined from a similarity of 0\.\d+ on; [34][.\d]*% of other people', capsys.readouterr().out)
    found = people(tmp_path / 'ids')
    assert (tmp_path / 'ids' / 'state.json').read_bytes() == (tmp_path / 'again' / 'state.json').read_bytes()
    for person in range(12):
        assert found[f'door/door:{person}'] == found[f'yard/yard:{person}']
    assert len(set(found.values())) == 12
    assert command.main(['add', str(tmp_path / 'ids'), paths[2]]) == 0
    after = people(tmp_path / 'ids')
    assert {key: after[key] for key in found} == found
    assert all(after[f'roof/roof:{person}'] == found[f'door/door:{person}'] for person in range(12))


def test_travel_times_keep_people_apart(given):
    folder, inputs = given
    ways = folder / 'ways.csv'
    ways.write_text('from,to,minimum,maximum\ndoor,yard,60,\n')
    assert command.main([*inputs, str(folder / 'ids'), '--threshold=0.9', f'--topology={ways}']) == 0
    found = people(folder / 'ids')
    assert found['door/door:2'] != found['yard/yard:1']  # 28.5 seconds
    assert command.main([*inputs, str(folder / 'more'), '--threshold=0.9', '--topology=learnt']) == 0
    assert people(folder / 'more') == FOUND  # too few walks to learn from


def test_manifests_get_people_too(tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir()
    cv2.imwrite(str(tmp_path / 'a' / '1.jpg'), np.zeros((8, 4, 3), np.uint8))
    rows = 'tracklet,pid,camera,role,folder,time,end\nann,0,door,gallery,a,5,6\n'
    (tmp_path / 'own.csv').write_text(rows)
    line = {'tracklet': 'bob', 'pid': 0, 'camera': 'yard', 'role': 'gallery', 'folder': 'a', 'time': '9'}
    (tmp_path / 'other.jsonl').write_text(json.dumps(line) + '\n')
    monkeypatch.setattr(sources, 'open_any', by_colours)
    given = [f'door={tmp_path / "own.csv"}', f'yard={tmp_path / "other.jsonl"}', str(tmp_path / 'ids')]
    assert command.main([*given, '--threshold=0.9']) == 0
    assert (tmp_path / 'ids' / 'door' / 'own.csv').read_text() == rows.replace('ann,0', 'ann,1')
    assert json.loads((tmp_path / 'ids' / 'yard' / 'other.jsonl').read_text()) == line | {'pid': 1}


def by_colours(path, role, network, *, frames_root=''):
    """In the place of a network's features: the mean colour of a tracklet's crops."""
    dataset = manifest.read(path)
    root = pathlib.Path(dataset.root)
    frames = [[str(root / frame) for frame in one.frames] for one in dataset.test]
    features = np.array([np.mean([cv2.imread(file).mean((0, 1)) + 1 for file in film], axis=0) for film in frames])
    cameras = dataset.camera_names or {}
    return tracklets.Tracklets(
        where=path,
        features=feature_rows.Rows.of(features.astype(np.float32)),
        name=[one.name for one in dataset.test],
        person=[''] * len(frames),
        camera=[cameras.get(one.camera, '') for one in dataset.test],
        time=[one.time for one in dataset.test],
        frames=[len(film) for film in frames],
        made={},
        film=lambda row: frames[row][:5],
    )


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp('town')
    small = town.Town(people=3, cameras=2, passes=(2, 2), arrive_s=12.0, way_s=(2.0, 3.0))
    names = town.write(folder / 'town', small)
    return folder, names, small


def test_a_town_has_a_track_for_every_pass_and_the_truth(drawn):
    folder, names, small = drawn
    passes = town.walks(small)
    tracks = 0
    for number, name in enumerate(names):
        boxes, truth = (mot_file.read(folder / 'town' / f'{name}{end}')[0] for end in ('.txt', '.gt.txt'))
        own = sorted((one for one in passes if one.camera == number), key=lambda one: one.start_s)
        tracks += len({track for one in boxes.values() for track in one.ids})
        for frame, one in boxes.items():
            assert truth[frame].ids == [own[track - 1].person + 1 for track in one.ids]
            np.testing.assert_array_equal(truth[frame].boxes, one.boxes)
    assert tracks == len(passes) == 6
    for one, following in itertools.pairwise(passes):
        if one.person == following.person:
            assert following.camera != one.camera
            assert following.start_s - one.start_s > 7
    assert town.walks(dataclasses.replace(small, seed=1)) != passes


@pytest.mark.slow
def test_boxes_and_their_videos_get_ids_and_scores(drawn, monkeypatch, capsys):
    pytest.importorskip('motmetrics')
    folder, names, _ = drawn
    monkeypatch.setattr(sources, 'open_any', by_colours)
    place = folder / 'town'
    inputs = [f'{name}={place / name}.txt@{place / name}.avi' for name in names]
    truths = [f'--truth={name}={place / name}.gt.txt' for name in names]
    assert command.main([*inputs, str(folder / 'ids'), '--threshold=-1', *truths]) == 0
    out = folder / 'ids'
    found = people(out)
    scores = json.loads((out / 'scores.json').read_text())
    assert set(scores) == {'global ids', 'colours alone', 'no re-identification'}
    assert set(scores['global ids']) == {'', *names}
    assert f'IDF1 {scores["global ids"][""]["idf1"]:.3f}' in capsys.readouterr().out
    truth, given = {}, {}
    for name in names:
        before, after = (mot_file.read(path)[0] for path in (place / f'{name}.txt', out / name / f'{name}.txt'))
        assert before.keys() == after.keys()
        for frame, boxes in before.items():
            np.testing.assert_array_equal(boxes.boxes, after[frame].boxes)
            assert [found[f'{name}/{name}:{track}'] for track in boxes.ids] == after[frame].ids
            assert len(set(after[frame].ids)) == len(boxes.ids)  # nobody twice at one time
        truth[name], given[name] = mot_file.read(place / f'{name}.gt.txt')[0], after
    assert identity_scores.score(truth, given)[''] == scores['global ids']['']
    monkeypatch.setattr(own_footage, 'FEWEST', 1)  # this town tells fewer strangers apart
    assert command.main([*inputs, str(folder / 'by_itself'), *truths]) == 0
    by_itself = json.loads((folder / 'by_itself' / 'scores.json').read_text())
    assert set(by_itself) == {*scores, 'colours alone, by the same rule', 'plain colours'}
    pictures = (out / 'people.html').read_text().count('<img ')
    out.rename(folder / 'moved')
    assert command.main(['add', str(folder / 'moved')]) == 0
    assert (folder / 'moved' / 'people.html').read_text().count('<img ') == pictures > 30
    assert people(folder / 'moved') == found


def test_tracks_as_coco_json_get_the_ids_that_the_same_tracks_get_as_lines(drawn, tmp_path, monkeypatch):
    pytest.importorskip('motmetrics')
    folder, names, _ = drawn
    monkeypatch.setattr(sources, 'open_any', by_colours)
    place = folder / 'town'
    held = {'videos': [], 'images': [], 'annotations': [], 'categories': [{'id': 1, 'name': 'person'}]}
    for number, name in enumerate(names):
        held['videos'].append({'id': number, 'name': name})
        for frame, (tracks, boxes) in mot_file.read(place / f'{name}.txt')[0].items():
            image = 10000 * number + frame
            held['images'].append({'id': image, 'video_id': number, 'frame_id': frame})
            held['annotations'] += [
                {'id': 0, 'image_id': image, 'category_id': 1, 'track_id': track, 'bbox': box, 'mine': 'stays'}
                for track, box in zip(tracks, boxes.tolist(), strict=True)
            ]
    (tmp_path / 'all.json').write_text(json.dumps(held))
    truths = [f'--truth={name}={place / name}.gt.txt' for name in names]
    for kind, given in (
        ('lines', [f'{name}={place / name}.txt@{place / name}.avi' for name in names]),
        ('coco', [f'{name}={tmp_path / "all.json"}@{place / name}.avi' for name in names]),
    ):
        assert command.main([*given, str(tmp_path / kind), '--threshold=-1', *truths]) == 0
    assert json.loads((tmp_path / 'coco' / 'scores.json').read_text()) == json.loads(
        (tmp_path / 'lines' / 'scores.json').read_text()
    )
    for name in names:
        lines, _ = mot_file.read(tmp_path / 'lines' / name / f'{name}.txt')
        ours = json.loads((tmp_path / 'coco' / name / 'all.json').read_text())
        assert [one['name'] for one in ours['videos']] == [name]
        assert {(one['image_id'] % 10000, one['track_id']) for one in ours['annotations']} == {
            (frame, person) for frame, boxes in lines.items() for person in boxes.ids
        }
        assert all(one['mine'] == 'stays' for one in ours['annotations'])


def test_identity_scores_are_those_of_the_best_pairing_of_people():
    pytest.importorskip('motmetrics')
    rng = np.random.default_rng(0)
    truth, given = {'a': {}, 'b': {}}, {'a': {}, 'b': {}}
    shared = np.zeros((3, 4))
    boxes = [0, 0]
    for camera in truth:
        for frame in range(1, 30):
            true, ours = rng.permutation(3)[: rng.integers(1, 4)], rng.permutation(4)
            places = np.array([[100.0 * i, 0, 10, 20] for i in range(len(true))])
            kept = rng.random(len(true)) < 0.8
            truth[camera][frame] = mot_file.Boxes((true + 1).tolist(), places)
            given[camera][frame] = mot_file.Boxes((ours[: len(true)][kept] + 1).tolist(), places[kept] + 1)
            np.add.at(shared, (true[kept], ours[: len(true)][kept]), 1)
            boxes[0] += len(true)
            boxes[1] += int(kept.sum())
    best = max(sum(shared[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(4), 3))
    found = identity_scores.score(truth, given)['']
    assert {key: value for key, value in found.items() if key.startswith('id')} == {
        'idf1': pytest.approx(2 * best / sum(boxes)), 'idp': pytest.approx(best / boxes[1]),
        'idr': pytest.approx(best / boxes[0]),
    }  # fmt: skip


def test_hota_of_people_who_change_their_ids_between_cameras():
    """Every box is found: DetA 1. Of four boxes of a person and of an id two belong together: AssA 2 / 6."""
    pytest.importorskip('motmetrics')
    pytest.importorskip('trackers')
    places = np.array([[0.0, 0, 10, 20], [100.0, 0, 10, 20]])
    ids = {'a': [1, 2], 'b': [2, 1]}
    truth = {camera: {frame: mot_file.Boxes([7, 8], places) for frame in (1, 2)} for camera in ids}
    given = {camera: {frame: mot_file.Boxes(ids[camera], places) for frame in (1, 2)} for camera in ids}
    found = identity_scores.score(truth, given)
    wanted = {'hota': pytest.approx(3**-0.5), 'deta': pytest.approx(1), 'assa': pytest.approx(1 / 3)}
    assert {key: found[''][key] for key in wanted} == wanted
    assert found['a']['hota'] == pytest.approx(1)
    assert ', HOTA 0.577, DetA 1.000, AssA 0.333' in identity_scores.lines({'global ids': found})[0]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda f, i: [*i, i[0], 'ids', '--threshold=0.9'], 'camera door is given twice'),
        (
            lambda f, i: [*i, 'ids'],
            'and a threshold needs 50 of them. Give --calibration FILE',
        ),
        (lambda f, i: [*i, 'ids', '--threshold=0.1%'], 'needs --calibration FILE'),
        (lambda f, i: [*i, 'ids', '--threshold=0.9', '--overlap=door,roof'], 'expected two of the cameras door, yard'),
        (lambda f, i: [*i, 'ids', '--threshold=0.9', '--start=roof=2026-01-01'], 'of the cameras door, yard'),
        (lambda f, i: [*i, 'ids', '--threshold=0.9', '--start=door=noon'], "'noon' is not such as 2026-11-21T14"),
        (
            lambda f, i: [*i, 'ids', '--threshold=0.9', '--start=door=2026-01-01'],
            'camera door has dates and camera yard seconds; say when the others begin: --start yard=',
        ),
        (lambda f, i: [*i, 'ids', '--threshold=0.9', '--corrections=none.csv'], 'no file of corrections none.csv'),
        (lambda f, i: ['add', 'nothing', *i], 'nothing holds no global ids; make them first'),
        (lambda f, i: [*i, 'full', '--threshold=0.9'], 'full exists and holds something else'),
        (
            lambda f, i: [write(f, 'door', [('7', 0, 0), ('7', 1, 9)]), i[1], 'ids', '--threshold=0.9'],
            'has the track 7 twice',
        ),
    ],
)
def test_bad_input_is_one_clear_line(given, monkeypatch, capsys, change, message):
    folder, inputs = given
    monkeypatch.chdir(folder)
    (folder / 'full').mkdir()
    (folder / 'full' / 'notes.txt').write_text('mine')
    assert command.main(change(folder, inputs)) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not (folder / 'ids' / 'state.json').exists()


def test_a_file_that_is_there_is_not_added_again(given, capsys):
    folder, inputs = given
    assert command.main([*inputs, str(folder / 'ids'), '--threshold=0.9']) == 0
    before = (folder / 'ids' / 'state.json').read_bytes()
    assert command.main([*inputs, str(folder / 'ids'), '--threshold=0.9']) == 1
    assert 'holds global ids already' in capsys.readouterr().err
    assert command.main(['add', str(folder / 'ids'), inputs[0]]) == 1
    assert 'holds door of camera door already' in capsys.readouterr().err
    assert (folder / 'ids' / 'state.json').read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(not browser.available(), reason=browser.MISSING)
def test_the_page_opens_without_errors_and_fits_the_view(drawn, monkeypatch):
    folder, names, _ = drawn
    monkeypatch.setattr(sources, 'open_any', by_colours)
    place = folder / 'town'
    given = [f'{name}={place / name}.txt@{place / name}.avi' for name in names]
    assert command.main([*given, str(folder / 'seen'), '--threshold=0.99']) == 0
    with browser.started(folder) as page:
        for width in (1280, 390):
            page.size(width)
            page.open(folder / 'seen' / 'people.html')
            assert page.messages() == []
            assert page.run('return document.documentElement.scrollWidth - document.documentElement.clientWidth') == 0
            assert page.run('return [...document.images].every((i) => i.naturalWidth > 9)')
            assert page.run('return document.querySelectorAll(".people .film").length') == 6
            assert page.run('return document.querySelectorAll(".bar i").length') == 6
            assert page.run('return document.scripts.length') == 0
