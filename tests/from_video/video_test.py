"""Videos as cameras and recorders write them, made here with PyAV: times, holes, and what the file does not say."""

import csv
import fractions
import json
import re

import av
import cv2
import numpy as np
import pytest

from jaxreid.from_video import __main__ as command
from jaxreid.from_video import cut, footage, mot_file
from jaxreid.from_video import video as video_lib

H, W = 96, 160
TIMES = [0.04 * i for i in range(30)] + [600 + 0.04 * i for i in range(30)] + [1200 + 0.2 * i for i in range(30)]


def picture(number):
    """An image that tells its number: a bar of that place, on a textured wall."""
    image = np.kron(np.random.default_rng(0).integers(60, 180, (H // 16, W // 16, 3)), np.ones((16, 16, 1)))
    image[24:88, number % W : number % W + 12] = (200, 40, 40)
    return image.astype(np.uint8)


def write(path, images, *, times=None, codec='libx264', kind=None, options=None, streams=None):
    with av.open(str(path), 'w', format=kind, options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], 'yuv420p'
        stream.options = streams or {}
        base = fractions.Fraction(1, 1000)
        stream.codec_context.time_base = base
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts, frame.time_base = round(1000 * (times[number] if times else number / 25)), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path):
    with video_lib.Video(path) as opened:
        return list(opened), opened


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'ts'])
def test_every_frame_has_the_time_that_it_was_recorded_at(tmp_path, suffix):
    """A camera that records what moves, ten minutes apart, and fewer frames at night; with B-frames."""
    images = [picture(i) for i in range(90)]
    frames, opened = read(write(tmp_path / f'a.{suffix}', images, times=TIMES))
    assert [frame.number for frame in frames] == list(range(1, 91))
    np.testing.assert_allclose([frame.seconds for frame in frames], TIMES, atol=1.1e-3)
    assert opened.damaged == 0
    for frame, image in zip(frames, images, strict=True):
        assert np.abs(frame.image[..., ::-1].astype(int) - image).mean() < 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'how'),
    [
        ('stream.ts', {}),
        ('live.mkv', {'kind': 'matroska', 'options': {'live': '1'}}),
        ('bare.h264', {'kind': 'h264'}),
        ('one_key_frame.mp4', {'streams': {'g': '1000'}}),
    ],
)
def test_samples_are_spread_over_files_that_say_no_length_or_cannot_seek(tmp_path, name, how):
    images = [picture(i) for i in range(140)]
    path = write(tmp_path / name, images, **how)
    assert len(read(path)[0]) == 140
    with video_lib.Video(path) as opened:
        samples = opened.samples(31)
    assert 16 <= len(samples) <= 31
    places = [int(np.abs(np.array(images, int) - x[None, ..., ::-1]).mean((1, 2, 3)).argmin()) for x in samples]
    assert places == sorted(places)
    assert places[0] < 6
    assert places[-1] > 128
    assert max(np.diff(places)) < 12


def test_a_file_without_times_counts_them_by_its_rate(tmp_path):
    frames, _ = read(write(tmp_path / 'bare.h264', [picture(i) for i in range(20)], kind='h264'))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(20) / 25, atol=1e-6)


@pytest.mark.parametrize('turn', [1, 2, 3])
def test_a_phone_that_was_turned_is_upright(tmp_path, turn):
    """The matrix of the track's header says so; OpenCV's reader turns by it as well."""
    path = write(tmp_path / 'a.mp4', [picture(i) for i in range(5)])
    data = bytearray(path.read_bytes())
    at = data.index(b'tkhd') + 44
    a, b = [(0, 1), (-1, 0), (0, -1)][turn - 1]
    matrix = np.array([a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30], '>i4').tobytes()
    assert data[at : at + 4] == (1 << 16).to_bytes(4, 'big')
    data[at : at + 36] = matrix
    path.write_bytes(data)
    frames, _ = read(path)
    expected = cv2.VideoCapture(str(path)).read()[1]
    assert expected.shape == ((W, H, 3) if turn % 2 else (H, W, 3))
    assert np.abs(frames[0].image.astype(int) - expected).mean() < 2


def test_a_hole_is_counted_and_what_is_behind_it_is_read(tmp_path, capsys):
    path = write(tmp_path / 'a.ts', [picture(i) for i in range(120)], streams={'g': '12', 'bf': '0'})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 188 * 40] = np.random.default_rng(0).bytes(188 * 40)
    path.write_bytes(data)
    frames, opened = read(path)
    assert opened.damaged > 0
    assert 60 < len(frames) < 120
    assert frames[-1].seconds == pytest.approx(119 / 25, abs=0.002)
    boxes = tmp_path / 'boxes.txt'
    boxes.write_text(''.join(f'{i},1,{i},24,12,64,1\n' for i in range(1, 41)))
    assert command.run([str(path), str(tmp_path / 'out'), f'--detections={boxes}']) == 0
    assert f'{opened.damaged} damaged frames, or pieces of frames, were skipped' in capsys.readouterr().out


def test_a_recording_that_breaks_off_ends_with_what_was_seen(tmp_path, capsys):
    path = write(tmp_path / 'a.mp4', [picture(i) for i in range(120)], options={'movflags': 'faststart'})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with video_lib.Video(path) as opened:
        count = len(list(footage.progress(opened, None)))
    assert 20 < count < 120
    assert re.search(rf'breaks off after frame|has 120 frames, but only {count} can be read', capsys.readouterr().out)


def test_a_codec_that_nobody_knows_is_named(tmp_path):
    path = write(tmp_path / 'a.mkv', [picture(i) for i in range(5)])
    path.write_bytes(path.read_bytes().replace(b'V_MPEG4/ISO/AVC', b'V_NOBODY/KNOWS!'))
    with pytest.raises(ValueError, match=r'a\.mkv is written in a codec that FFmpeg does not know; convert it'):
        read(path)


def walks(path, tmp_path, *arguments):
    assert command.run([str(path), str(tmp_path / 'out'), '--min-height=40', *arguments]) == 0
    with open(tmp_path / 'out' / cut.MANIFEST, newline='') as file:
        return list(csv.DictReader(file))


def test_a_pause_ends_a_walk_and_the_next_has_its_own_time(tmp_path):
    """Somebody stands where somebody stood ten minutes ago, in the frame before."""
    images = [picture(20)] * 90
    path = write(tmp_path / 'a.mkv', images, times=TIMES[:60] + [1200 + 0.04 * i for i in range(30)])
    boxes = tmp_path / 'boxes.txt'
    boxes.write_text(''.join(f'{i + 1},-1,20,24,12,64,1\n' for i in range(90)))
    rows = walks(path, tmp_path, f'--detections={boxes}', '--start=2026-11-21T14:00:00')
    assert [(row['first_frame'], row['time'][11:19]) for row in rows] == [
        ('1', '14:00:00'), ('31', '14:10:00'), ('61', '14:20:00'),
    ]  # fmt: skip


@pytest.mark.parametrize('until', ['605', '2026-11-21T14:10:05'])
def test_cutting_ends_where_it_is_told_to(tmp_path, until, capsys):
    path = write(tmp_path / 'a.mp4', [picture(i) for i in range(90)], times=TIMES)
    boxes = tmp_path / 'boxes.txt'
    boxes.write_text(''.join(f'{i},1,{i},24,12,64,1\n' for i in range(1, 91)))
    arguments = [f'--detections={boxes}', '--start=2026-11-21T14:00:00', f'--until={until}']
    (row,) = walks(path, tmp_path, *arguments)
    assert (row['first_frame'], row['last_frame']) == ('1', '60')
    for wrong, message in [('-3', 'is not behind the first frame'), ('noon', "--until 'noon' is no date and time")]:
        assert command.run([str(path), str(tmp_path / 'no'), *arguments[:2], f'--until={wrong}']) == 1
        assert message in capsys.readouterr().err
    assert command.run([str(path), str(tmp_path / 'no'), '--until=2026-11-21T14:10:05']) == 1
    assert 'say when the video begins, --start' in capsys.readouterr().err


def test_somebody_who_stands_when_a_live_recording_begins_is_no_part_of_the_wall(tmp_path):
    images = [picture(20)] * 25 + [picture(x) for x in np.linspace(20, 140, 60).astype(int)]
    paths = [
        write(tmp_path / 'live.mkv', images, kind='matroska', options={'live': '1'}),
        write(tmp_path / 'counted.mp4', images),
    ]
    cuts = [cut.cut(path, tmp_path / path.stem, min_height=40) for path in paths]
    assert [(made.tracklets, made.frames) for made in cuts] == [(1, 85)] * 2
    assert min(made.crops for made in cuts) > 70


def test_boxes_as_shares_of_the_image_are_refused(tmp_path):
    (tmp_path / 'det.txt').write_text('1,7,0.1,0.4,0.11,0.4,0.9\n2,7,0.2,0.4,0.11,0.4,0.9\n')
    with pytest.raises(ValueError, match=r'det\.txt: no number of its boxes is above 0\.4, .*shares of the image; exp'):
        mot_file.read(tmp_path / 'det.txt')


def test_boxes_as_shares_of_the_image_are_scaled_where_that_is_asked_for(tmp_path, capsys):
    """The same crops as those of the boxes in pixels, 160 x 90 of the image, of both kinds of files."""
    video = write(tmp_path / 'a.mp4', [picture(10 + 4 * i) for i in range(12)])
    height, width = next(iter(footage.open_any(video))).image.shape[:2]
    rows = [(i + 1, 10 + 4 * i, 20, 30, 60) for i in range(12)]
    for name, (w, h) in {'pixels': (1, 1), 'shares': (width, height)}.items():
        lines = [f'{i},7,{x / w:.9f},{y / h:.9f},{a / w:.9f},{b / h:.9f},0.9' for i, x, y, a, b in rows]
        (tmp_path / f'{name}.txt').write_text('\n'.join(lines))
        notes = [{'image_id': i, 'track_id': 7, 'bbox': [x / w, y / h, a / w, b / h]} for i, x, y, a, b in rows]
        images = [{'id': i, 'frame_id': i} for i, *_ in rows]
        (tmp_path / f'{name}.json').write_text(json.dumps({'images': images, 'annotations': notes}))
    for suffix in ('txt', 'json'):
        made = {}
        for name, more in (('pixels', []), ('shares', ['--normalised'])):
            out = tmp_path / f'{name}-{suffix}'
            assert command.run([str(video), str(out), '--detections', str(tmp_path / f'{name}.{suffix}'), *more]) == 0
            made[name] = {path.name: path.read_bytes() for path in (out / '0001').iterdir()}
            made[name]['boxes'] = (out / cut.TRACKS).read_bytes()
        assert len(made['pixels']) == 13
        assert made['shares'] == made['pixels']
    capsys.readouterr()
    for given, problem in (
        (
            ['--detections', str(tmp_path / 'pixels.txt'), '--normalised'],
            'a number of its boxes is 60; --normalised is',
        ),
        (['--detections', str(tmp_path / 'shares.txt')], '`jaxreid.from_video --normalised` scales them'),
        (['--normalised'], 'says what the boxes of --detections FILE are'),
    ):
        assert command.run([str(video), str(tmp_path / 'no'), *given]) == 1
        assert problem in capsys.readouterr().err


GT16 = '1,7,9,9,20,50,1,1,1.0\n1,8,9,9,20,50,0,1,1\n1,9,9,9,20,50,1,3,0.5\n2,7,9,9,20,50,1,1,0.9\n'
GT15 = '1,7,9,9,20,50,1,-1,-1,-1\n1,8,9,9,20,50,0,-1,-1,-1\n2,7,9,9,20,50,1,-1,-1,-1\n'


@pytest.mark.parametrize(('text', 'left'), [(GT16, '2 of 4'), (GT15, '1 of 3')])
def test_ground_truth_has_the_people_that_count(tmp_path, text, left):
    (tmp_path / 'gt.txt').write_text(text)
    with pytest.warns(UserWarning, match=rf'gt\.txt is ground truth: {left} boxes are left out'):
        boxes, tracked = mot_file.read(tmp_path / 'gt.txt')
    assert tracked
    assert {frame: list(one.ids) for frame, one in boxes.items()} == {1: [7], 2: [7]}


@pytest.mark.parametrize(
    'text',
    [
        '1,1,9,9,20,50,1,-1,-1,-1\n1,2,9,9,20,50,0.4,-1,-1,-1\n',  # a tracker with confidences
        '1,1,9,9,20,50,1,0,-1\n1,2,9,9,20,50,1,0,-1\n',  # a class that MOT's ground truth has not
        '1,-1,9,9,20,50,1\n1,-1,9,9,30,60,0\n',  # detections
        '1,1,9,9,20,50,0\n1,2,9,9,20,50,0\n',  # no confidence is known
        '1,1,9,9,20,50\n1,2,9,9,20,50\n',
    ],
)
def test_what_is_no_ground_truth_stays_whole(tmp_path, text):
    (tmp_path / 'a.txt').write_text(text)
    assert len(mot_file.read(tmp_path / 'a.txt')[0][1].ids) == 2


def test_what_cannot_be_made_is_said_before_the_video_is_read(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / 'a.mp4', [picture(i) for i in range(10)])
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.setattr(cut, '_see', None)
    assert command.run([str(path), '.']) == 1
    assert 'here is the folder that you are in' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.run([str(path), 'out', '--max-gap=-5'])
    assert '-5 is below 0' in capsys.readouterr().err
