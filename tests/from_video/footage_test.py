"""Footage that is no video file: folders of images, and streams that are cut while they come."""

import csv
import datetime
import pathlib
import re
import socket
import threading

import av
import cv2
import numpy as np
import pytest

from jaxreid.from_video import __main__ as command
from jaxreid.from_video import cut, footage, mot_file
from jaxreid.from_video import video as video_lib
from tests.fixtures import rendered_video

FRAMES = 150


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """A video of two people, one after the other; where they are."""
    path = tmp_path_factory.mktemp('drawn') / 'door.avi'
    return path, rendered_video.write(path, [(170, 0, 1), (180, 70, -1)], frames=FRAMES)


@pytest.fixture
def boxes(drawn, tmp_path):
    lines = [
        f'{frame},-1,{",".join(map(str, box))},1\n'
        for walk in drawn[1] for frame, box in walk.items()
    ]  # fmt: skip
    (tmp_path / 'boxes.txt').write_text(''.join(lines))
    return tmp_path / 'boxes.txt'


def rows(out):
    with (out / cut.MANIFEST).open(newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pictures(drawn, tmp_path):
    """The frames as images, whose names are in order as numbers and not as texts."""
    folder = tmp_path / 'seen'
    folder.mkdir()
    opened = cv2.VideoCapture(str(drawn[0]))
    for number in range(1, FRAMES + 1):
        cv2.imwrite(str(folder / f'{number}.png'), opened.read()[1])
    (folder / 'notes.txt').write_text('mine')
    return folder


@pytest.mark.slow
def test_a_folder_of_images_is_cut_as_the_video_of_the_same_frames(drawn, pictures, boxes, tmp_path):
    assert command.run([str(drawn[0]), str(tmp_path / 'a'), f'--detections={boxes}']) == 0
    assert command.run([str(pictures), str(tmp_path / 'b'), f'--detections={boxes}', '--fps=10']) == 0
    wanted, found = rows(tmp_path / 'a'), rows(tmp_path / 'b')
    same = ('folder', 'time', 'end', 'first_frame', 'last_frame')
    assert [[row[key] for key in same] for row in wanted] == [[row[key] for key in same] for row in found]
    assert (tmp_path / 'a' / cut.TRACKS).read_bytes() == (tmp_path / 'b' / cut.TRACKS).read_bytes()
    assert command.run([str(pictures), str(tmp_path / 'c'), f'--detections={boxes}']) == 0
    assert [row['time'] for row in rows(tmp_path / 'c')] == [''] * len(found)  # nobody says how fast they came
    assert command.run([str(pictures), str(tmp_path / 'd'), '--fps=10']) == 0  # by what moves
    assert len(rows(tmp_path / 'd')) >= 2


def test_images_that_cannot_be_read_are_counted_and_those_of_another_camera_refused(pictures, boxes, tmp_path, capsys):
    (pictures / '40.png').write_bytes(b'no image')
    assert command.run([str(pictures), str(tmp_path / 'a'), f'--detections={boxes}']) == 0
    assert '1 damaged frames' in capsys.readouterr().out
    assert mot_file.read(tmp_path / 'a' / cut.TRACKS)[0].keys() >= {39, 41}
    cv2.imwrite(str(pictures / '7.png'), np.zeros((50, 60, 3), np.uint8))
    assert command.run([str(pictures), str(tmp_path / 'b'), f'--detections={boxes}']) == 1
    assert re.search(r'7\.png has 50x60 pixels, and images before it 172x448', capsys.readouterr().err)
    assert command.run([str(pictures), str(tmp_path / 'c'), '--fps=0']) == 1
    assert '--fps 0: expected images per second' in capsys.readouterr().err


def test_images_per_second_are_for_folders_of_images(drawn, tmp_path, capsys):
    assert command.run([str(drawn[0]), str(tmp_path / 'a'), '--fps=5']) == 1
    assert 'door.avi has times of its own' in capsys.readouterr().err


class Stream:
    """Sends a video to whoever connects, as a transport stream; `share` of it, then the connection is closed."""

    def __init__(self, path: pathlib.Path, folder: pathlib.Path, *, share: float = 1.0):
        sent = folder / 'stream.ts'
        with av.open(str(path)) as source, av.open(str(sent), 'w') as made:
            stream = made.add_stream('libx264', rate=10, options={'g': '10', 'bf': '0', 'crf': '18'})
            stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height // 2 * 2
            stream.pix_fmt = 'yuv420p'
            for frame in source.decode(video=0):
                made.mux(stream.encode(frame.reformat(stream.width, stream.height, 'yuv420p')))
            made.mux(stream.encode())
        self._data = sent.read_bytes()[: int(sent.stat().st_size * share)]
        self._server = socket.create_server(('127.0.0.1', 0))
        self.address = f'tcp://me:secret@127.0.0.1:{self._server.getsockname()[1]}'
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self):
        with self._server, self._server.accept()[0] as connection:
            connection.sendall(self._data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._thread.join()


@pytest.mark.slow
@pytest.mark.parametrize('share', [1.0, 0.55])
def test_a_stream_is_cut_as_people_leave_and_ends_with_what_was_seen(drawn, tmp_path, share):
    out, came = tmp_path / 'out', []

    def tell(left):
        assert [row['folder'] for row in rows(out)][-1] == left.folder.name  # it is all there by then
        assert len(list(left.folder.glob('*.jpg'))) >= 8
        came.append(left)

    with Stream(drawn[0], tmp_path, share=share) as stream:
        made = cut.cut(stream.address, out, came=tell)
    assert made.tracklets == len(came) == len(rows(out)) >= (2 if share == 1 else 1)
    assert 0.4 * share < made.frames / FRAMES <= 1
    assert {path.name for path in out.iterdir()} == {
        cut.MANIFEST, cut.TRACKS, '.lock', *(left.folder.name for left in came)
    }  # fmt: skip
    first = rows(out)[0]
    assert first['camera'] == '127.0.0.1'
    begin = datetime.datetime.fromisoformat(first['time'])
    assert abs(datetime.datetime.now(datetime.UTC) - begin) < datetime.timedelta(minutes=5)
    tracks, tracked = mot_file.read(out / cut.TRACKS)
    assert tracked
    assert sum(len(one.ids) for one in tracks.values()) == made.crops == len(list(out.glob('*/*.jpg')))
    if share == 1:  # somebody has left before the next comes
        assert int(rows(out)[0]['last_frame']) < int(rows(out)[-1]['first_frame'])


def test_an_interrupt_ends_a_stream_and_keeps_what_was_seen(drawn, tmp_path):
    def stop(left):
        raise KeyboardInterrupt

    with Stream(drawn[0], tmp_path) as stream:
        made = cut.cut(stream.address, tmp_path / 'out', came=stop)
    assert made.tracklets == len(rows(tmp_path / 'out')) >= 1


def test_a_stream_that_cannot_be_had_is_named_without_its_password(tmp_path, capsys):
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    assert command.run([f'tcp://me:secret@127.0.0.1:{port}', str(tmp_path / 'out')]) == 1
    said = capsys.readouterr().err
    assert f'tcp://127.0.0.1:{port} is no video that FFmpeg can read' in said
    assert 'secret' not in said
    assert not (tmp_path / 'out').exists()
    assert command.run([f'tcp://127.0.0.1:{port}', str(tmp_path / 'out'), '--detections=a.txt']) == 1
    assert '--detections is for a video that is over' in capsys.readouterr().err


def test_a_device_is_live_and_a_file_is_not(tmp_path):
    assert video_lib.is_live(video_lib.place('/dev/null'))
    assert video_lib.is_live(video_lib.place('rtsp://door/stream'))
    assert not video_lib.is_live(video_lib.place(str(tmp_path / 'a.mp4')))
    with pytest.raises(ValueError, match=r'/dev/null is no video that FFmpeg can read'):
        footage.open_any(pathlib.Path('/dev/null'))
