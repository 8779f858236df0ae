"""The commands as their user runs them: a video is cut, its tracklets become a gallery, questions get answers."""

import json
import os
import pathlib
import re
import shutil

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import strf_manifest
from jaxreid import config
from jaxreid.data.datasets import manifest
from jaxreid.evaluation import evaluate, feature_file
from jaxreid.evaluation import network as network_lib
from jaxreid.evaluation.report import command as report
from jaxreid.from_video import __main__ as from_video
from jaxreid.models import build
from jaxreid.search import __main__ as command
from jaxreid.search import sources, tracklets
from jaxreid.training import checkpoint, step
from tests.fixtures import browser, rendered_video


def settings(root):
    made = strf_manifest.get_config('small')
    made.data.root, made.data.height, made.data.width = str(root), 32, 16
    made.backbone.width, made.backbone.depths, made.backbone.block = 4, (1, 1, 1, 1), 'c2d'
    made.strf.stages = ()
    made.test.batch_clips, made.test.frames, made.test.clips = 16, 2, 'rrs'
    return config.validate(made)


def saved(folder, root, *, seed):
    """A checkpoint with random parameters."""
    experiment = settings(root)
    model = build.build(experiment, num_ids=4, dtype=np.dtype('float32'))
    shapes = jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0)))
    rng = np.random.default_rng(seed)
    variables = jax.tree.map(lambda x: jnp.asarray(0.1 * rng.random(x.shape), x.dtype), dict(shapes))
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    checkpoints.save(5, variables, {'config': config.to_dict(experiment), 'labels': {str(i): i for i in range(4)}})
    checkpoints.close()
    return folder


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Folder with a cut video, the checkpoint `net`, and `visitors`, copies of two of the tracklets under names."""
    folder = tmp_path_factory.mktemp('search')
    rendered_video.write(folder / 'door.avi', [(170, 0, 1), (180, 60, -1), (190, 120, 1)], frames=185)
    assert from_video.run([str(folder / 'door.avi'), str(folder / 'door'), '--start=2026-11-21T14:00:00']) == 0
    for name, number in (('ann', '0001'), ('<b>bob & co</b>', '0003')):
        shutil.copytree(folder / 'door' / number, folder / 'visitors' / name)
    saved(folder / 'net', folder / 'door' / 'tracklets.csv', seed=0)
    return folder


def answers(path):
    found = json.loads(path.read_text())
    return {one['name']: [(hit['name'], hit['similarity']) for hit in one['hits']] for one in found['results']}


def run(made, *arguments, out=None):
    files = [f'--json={made / out}.json', f'--html={made / out}.html'] if out else []
    return command.run([str(made / a) if i < 2 else a for i, a in enumerate(arguments)] + [*files])


@pytest.mark.slow
def test_a_folder_of_crops_is_searched_for_in_the_tracklets_of_a_video(made, capsys):
    net = f'--checkpoint={made / "net"}'
    assert run(made, 'door', 'visitors', net, '--top=3', out='answers') == 0
    found = answers(made / 'answers.json')
    assert list(found) == ['<b>bob & co</b>', 'ann']
    for name, wanted in (('ann', 'door/0001'), ('<b>bob & co</b>', 'door/0003')):
        assert len(found[name]) == 3
        assert found[name][0] == (wanted, pytest.approx(1, abs=1e-5))
    said = capsys.readouterr().out
    assert 'ann' in said
    assert 'camera door  2026-11-21T14:00:0' in said
    assert 'It is uncalibrated' in said
    # Asked with its own tracklets, none is answered with itself.
    assert run(made, 'door', 'door/tracklets.csv', net, '--after=2026-11-21T14:00:05', out='own') == 0
    own = answers(made / 'own.json')
    assert len(own) == 3
    for name, hits in own.items():
        assert {hit for hit, _ in hits} == {'door/0002', 'door/0003'} - {name}


@pytest.mark.slow
@pytest.mark.skipif(not browser.available(), reason=browser.MISSING)
@pytest.mark.parametrize('width', [1280, 390])
def test_the_page_opens_without_errors_and_fits_the_view(made, opened, width):
    opened.size(width)
    opened.open(made / 'answers.html')
    assert opened.messages() == []
    assert opened.run('return document.documentElement.scrollWidth - document.documentElement.clientWidth') == 0
    names = opened.run('return [...document.querySelectorAll(".answers h2 b")].map((b) => b.textContent)')
    assert names == ['<b>bob & co</b>', 'ann']
    assert opened.run('return document.querySelectorAll(".hits > li").length') == 6
    pictures = 'return [...document.images].filter((i) => i.complete && i.naturalWidth > 9).length'
    assert opened.run(pictures + ' + 0') == opened.run('return document.images.length') == 2 * 5 + 6 * 3
    assert opened.run('return document.scripts.length') == 0
    smallest = (
        'return Math.min(...[...document.querySelectorAll("p")].map((p) => parseFloat(getComputedStyle(p).fontSize)))'
    )
    assert opened.run(smallest) >= 12


@pytest.fixture(scope='module')
def opened(made):
    if not (made / 'answers.html').exists():
        pytest.skip('the search that writes the page failed')
    with browser.started(made) as page:
        yield page


@pytest.fixture(scope='module')
def extracted(made):
    """What `--mode extract` writes of a manifest that names the people."""
    rows = (made / 'door' / 'tracklets.csv').read_text().replace(',0,door,gallery,', ',zoe,door,query+gallery,')
    (made / 'door' / 'named.csv').write_text(rows.replace('zoe,door', 'kim,yard', 1))
    experiment = settings(made / 'door' / 'named.csv')
    with pytest.warns(UserWarning, match='cannot be answered'):
        evaluate.run(experiment, made / 'work', made / 'net', scored=False)
    return made / 'work' / 'features.npz'


def test_extracted_features_carry_names_of_people_and_cameras_times_and_frames(made, extracted):
    found = feature_file.load(extracted)
    first = manifest.read(made / 'door' / 'tracklets.csv').test[0]
    assert (found.name[0], found.time[0], found.frames[0]) == (first.name, first.time, len(first.frames))
    assert found.meta['pid_names'] == {'1': 'kim', '2': 'zoe'}
    assert found.meta['camera_names'] == {'1': 'door', '2': 'yard'}
    assert len(found.meta['network']) == 16


def test_a_gallery_grows_and_keeps_what_its_features_are(made, extracted, capsys):
    net = f'--checkpoint={made / "net"}'
    assert command.run(['add', str(made / 'shop'), str(extracted)]) == 0
    assert command.run(['add', str(made / 'shop'), str(made / 'visitors'), net]) == 0
    assert '2 tracklets of' in capsys.readouterr().out
    assert run(made, 'shop', 'visitors', net, '--camera=yard', out='shop') == 0
    assert [hits[0][0] for hits in answers(made / 'shop.json').values()] == ['door/0001', 'door/0001']
    page = (made / 'shop.html').read_text()
    assert 'person kim' in page
    assert page.count('<img ') == 2 * 5 + 2 * 3
    # Once more, with another network, and with features of another size.
    assert command.run(['add', str(made / 'shop'), str(extracted)]) == 0
    assert '0 tracklets of' in (said := capsys.readouterr().out)
    assert '3 were there already, 5 in all' in said
    saved(made / 'other', made / 'door' / 'tracklets.csv', seed=1)
    assert run(made, 'shop', 'visitors', f'--checkpoint={made / "other"}') == 1
    assert 'cannot be compared with those of the gallery' in (said := capsys.readouterr().err)
    assert 'fingerprint of the network' in said


def test_a_report_s_calibration_says_what_a_similarity_means(made, extracted, capsys):
    found = feature_file.load(extracted)
    rng = np.random.default_rng(0)
    many = rng.integers(0, len(found.pid), 40)
    fields = {key: getattr(found, key)[many] for key in ('embedding', 'query', 'gallery', 'frames', 'time')}
    fields['embedding'] = fields['embedding'] * rng.uniform(0.5, 1.5, fields['embedding'].shape).astype(np.float32)
    names = np.array([f'n{i}' for i in range(40)])
    more = feature_file.Features(
        **fields, embedding_before_neck=None, name=names, pid=rng.integers(1, 5, 40), camera=rng.integers(1, 3, 40),
        meta=found.meta,
    )  # fmt: skip
    more.save(made / 'more.npz')
    assert report.run([str(made / 'more.npz'), '--no-pictures', f'--out={made / "report.html"}']) == 0
    calibration = f'--calibration={made / "report.calibration.json"}'
    capsys.readouterr()
    assert run(made, 'more.npz', 'work/features.npz', calibration, '--threshold=50%', out='sure') == 0
    said = capsys.readouterr().out
    assert re.search('same person|unsure|nobody here', said.splitlines()[0])
    assert 'The verdicts are counted from' in said
    assert 'Answers below' in said
    rates = [
        hit['false_accept_rate']
        for one in json.loads((made / 'sure.json').read_text())['results']
        for hit in one['hits']
    ]
    assert rates
    assert all(0 <= rate <= 0.5 for rate in rates)
    assert rates == sorted(rates) or len(json.loads((made / 'sure.json').read_text())['results']) > 1
    assert run(made, 'more.npz', 'work/features.npz', '--rates') == 1
    assert '--rates needs --calibration FILE' in capsys.readouterr().err
    assert run(made, 'more.npz', 'work/features.npz', calibration, '--distance=euclidean') == 1
    assert 'is for the cosine distance' in capsys.readouterr().err


def test_what_is_nothing_to_search_is_said(made, extracted, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes.txt').touch()
    cv2.imwrite(str(tmp_path / 'one.png'), np.zeros((8, 4, 3), np.uint8))
    train = tmp_path / 'train.csv'
    train.write_text('tracklet,pid,camera,role,frames\na,1,1,train,one.png\n')
    good = str(extracted)
    wrong = feature_file.load(extracted)
    wrong.embedding[1, 2] = np.nan
    wrong.save(tmp_path / 'nan.npz')
    for arguments, message in [
        ([good, str(tmp_path / 'none')], 'does not exist; expected a feature file'),
        ([str(tmp_path / 'empty'), good], 'holds no images'),
        ([good, str(tmp_path / 'notes.txt')], 'is none of what a search reads'),
        ([good, str(made / 'visitors')], 'holds images; add --checkpoint DIR'),
        ([good, str(train)], 'all its tracklets have the role train'),
        ([good, str(tmp_path / 'nan.npz')], '1 of 3 rows of embedding hold NaN'),
        ([good, good, '--top=0'], '--top 0: expected at least 1'),
        ([good, good, '--calibration=nope.json'], 'there is no calibration file nope.json; .* writes one'),
        ([good, good, '--html=/proc/x/y.html'], 'cannot write /proc/x/y.html: .*or choose a place that can be written'),
        ([good, good, '--threshold=1%'], 'needs --calibration FILE'),
        ([good, good, '--camera=attic'], "has no camera 'attic'; its cameras are: door, yard"),
    ]:
        assert command.run(arguments) == 1
        said = capsys.readouterr().err
        assert re.search(message, said), said


def test_nothing_but_an_earlier_answer_is_overwritten(made, extracted, tmp_path, capsys):
    mine, shop = tmp_path / 'mine.npz', tmp_path / 'shop'
    shutil.copy(extracted, mine)
    assert command.run(['add', str(shop), str(mine)]) == 0
    (tmp_path / 'notes.json').write_text('{"results": []}')
    (tmp_path / 'report.html').write_text('<p class="kicker">jaxreid</p>')
    (tmp_path / 'report.calibration.json').write_text('{}')
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    for arguments in (
        [mine, mine, f'--html={mine}'],
        [shop, mine, f'--json={shop}/gallery.json'],
        [mine, shop, f'--html={shop}/new.html'],
        [mine, mine, f'--json={tmp_path}/notes.json'],
        [mine, mine, f'--html={tmp_path}/report.html'],
        [mine, mine, f'--html={tmp_path}'],
        [mine, mine, f'--checkpoint={made / "net"}', f'--json={made / "net"}/a.json'],
        [mine, mine, f'--calibration={tmp_path}/report.calibration.json', f'--json={tmp_path}/report.calibration.json'],
        [mine, mine, f'--html={tmp_path}/x', f'--json={tmp_path}/x'],
    ):
        assert command.run([str(a) for a in arguments]) == 1
        said = capsys.readouterr().err
        assert re.search('choose another place|nothing is overwritten|is a folder|choose two files', said), said
    assert {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()} == before
    again = [str(mine), str(mine), f'--html={tmp_path}/a.html', f'--json={tmp_path}/a.json']
    assert command.run(again) == command.run(again) == 0


@pytest.mark.slow
def test_an_add_that_was_stopped_is_repeated_and_one_that_cannot_be_done_is_not_begun(
    made, tmp_path, capsys, monkeypatch
):
    net, shop = f'--checkpoint={made / "net"}', tmp_path / 'shop'
    crops = tmp_path / 'crops'
    shutil.copytree(made / 'visitors', crops)
    table = tmp_path / 'table' / 'own.csv'  # whose paths start elsewhere
    table.parent.mkdir()
    table.write_text('tracklet,pid,camera,role,folder\na1,anna,door,gallery,ann\n')
    both = ['add', str(shop), str(made / 'door'), str(table), net, f'--frames-root={crops}']
    assert command.run([*both[:4], str(tmp_path / 'none'), *both[4:]]) == 1
    assert not shop.exists()
    with monkeypatch.context() as patched:
        extract, calls = network_lib.Network.features, []

        def stopped(network, *args, **kwargs):
            calls.append(network.experiment.data.root)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return extract(network, *args, **kwargs)

        patched.setattr(network_lib.Network, 'features', stopped)
        assert command.run(both) == 130
        assert 'run the same command again' in capsys.readouterr().err
        assert command.run(both) == 0
        assert [pathlib.Path(root).name for root in calls] == ['tracklets.csv', 'own.csv', 'own.csv']
    said = capsys.readouterr().out
    assert '0 tracklets of' in said
    assert '3 were there already, 3 in all' in said
    assert '1 tracklets of' in said
    # Another checkpoint, and other contents of a name, are known without extraction.
    saved(tmp_path / 'other', made / 'door' / 'tracklets.csv', seed=1)
    monkeypatch.setattr(network_lib.Network, 'features', None)
    assert command.run(['add', str(shop), str(crops), f'--checkpoint={tmp_path / "other"}']) == 1
    assert 'fingerprint of the network' in capsys.readouterr().err


def test_what_is_known_of_images_before_their_features_is_what_extraction_notes(made):
    network = sources.network_loader(str(made / 'net'))
    listed = sources.open_any(str(made / 'visitors'), 'query', network)
    assert not listed.features.at_hand
    dataset = sources.folder_of_tracklets(made / 'visitors')
    found = sources.applied(network(), dataset, root=str(made / 'visitors'), frames_root='').features(dataset)
    assert listed.made == tracklets.made(found.meta)
    np.testing.assert_array_equal(listed.features.read(0, 2), found.embedding)


def test_features_of_zeros_are_said(extracted, tmp_path, capsys):
    found = feature_file.load(extracted)
    found.embedding[1] = 0
    found.save(tmp_path / 'zero.npz')
    assert command.run([str(extracted), str(tmp_path / 'zero.npz')]) == 0
    assert 'zero.npz: 1 of its 3 tracklets have features of zeros only' in capsys.readouterr().err


def test_every_folder_with_images_is_a_tracklet(tmp_path):
    for path in ('b/x2.png', 'b/x10.png', 'a/deep/1.png', '.trash/1.png', 'b/notes.txt'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = sources.folder_of_tracklets(tmp_path)
    assert [(one.name, one.frames) for one in found.test] == [
        ('a/deep', ('a/deep/1.png',)),
        ('b', ('b/x2.png', 'b/x10.png')),
    ]


def test_names_that_are_not_utf_8_are_named_with_their_folder(tmp_path):
    (tmp_path / os.fsdecode(b'p\xff')).mkdir()
    with pytest.raises(ValueError, match=r'holds .p.udcff., which is no name in UTF-8; rename it'):
        sources.folder_of_tracklets(tmp_path)


def test_a_flat_folder_is_one_tracklet_and_says_so_or_one_for_each_file(made, tmp_path, capsys):
    crops = sorted((made / 'door' / '0001').glob('*.jpg'))[:3]
    for number, crop in enumerate(crops):
        shutil.copy(crop, tmp_path / f'visitor{number}.jpg')
    network = sources.network_loader(str(made / 'net'))
    one = sources.open_any(str(tmp_path), 'query', network)
    assert (list(one.name), one.frames) == ([tmp_path.name], [3])
    said = capsys.readouterr().err
    assert f'{tmp_path}: the 3 images in it are one tracklet of one person; --each file makes' in said
    each = sources.open_any(str(tmp_path), 'query', network, each='file')
    assert (list(each.name), each.frames) == ([f'visitor{i}.jpg' for i in range(3)], [1, 1, 1])
    single = sources.open_any(str(tmp_path / 'visitor1.jpg'), 'query', network)
    assert list(single.name) == ['visitor1.jpg']
    assert [pathlib.Path(path).name for path in single.film(0)] == ['visitor1.jpg']
    np.testing.assert_allclose(single.features.read(0, 1), each.features.read(1, 2), atol=1e-5)
    sources.open_any(str(tmp_path), 'query', network, each='folder')
    assert 'each file' not in capsys.readouterr().err


def test_two_tracklets_get_a_verdict(made, tmp_path, capsys):
    crops = sorted((made / 'door' / '0001').glob('*.jpg'))
    net, calibration = f'--checkpoint={made / "net"}', tmp_path / 'c.json'
    network = sources.network_loader(str(made / 'net'))
    paths = crops[0], made / 'door' / '0002'
    a, b = (sources.open_any(str(path), '', network).features.read(0, 1)[0] for path in paths)
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    pair = ['same', str(crops[0]), str(made / 'door' / '0002'), net]
    assert command.run(pair) == 0
    said = capsys.readouterr().out
    assert f'similarity {cosine:.3f} (cosine distance)' in said
    assert 'no verdict: --calibration FILE' in said
    for others, alike, verdict in ((0.01, 0.5, 'same person'), (0.5, 0.99, 'different people'), (0.5, 0.5, 'unsure')):
        curve = {'threshold': [-1.0], 'false_accept_rate': [others], 'true_accept_rate': [alike]}
        verification = {'curve': curve, 'impostor_pairs': 10_000}
        calibration.write_text(json.dumps({'distance': 'cosine', 'network': None, 'verification': verification}))
        assert command.run([*pair, f'--calibration={calibration}']) == 0
        assert f'\n{verdict}: ' in capsys.readouterr().out
    assert command.run([*pair[:2], str(made / 'visitors'), net]) == 1
    assert 'visitors holds 2 tracklets; expected one' in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_crop_of_a_gallery_does_not_stop_a_search_and_is_said(made, tmp_path, capsys):
    shutil.copytree(made / 'visitors' / 'ann', tmp_path / 'g' / 'ann')
    for path in sorted((tmp_path / 'g' / 'ann').glob('*.jpg'))[1:]:
        path.write_bytes(b'<html>404</html>')
    arguments = [str(tmp_path / 'g'), str(made / 'visitors'), f'--checkpoint={made / "net"}']
    assert command.run(arguments) == 0
    said = capsys.readouterr()
    assert re.search(r'g: \d+ frames cannot be decoded; neighbours took their places', said.err)
    assert 'ann' in said.out
