"""Encoders by the shapes that the trackers' own interfaces have; the packages are not needed."""

import types

import numpy as np
import pytest

from jaxreid.api import adapters
from jaxreid.from_video import cut


class Network:
    """In the place of a loaded network: the mean colour of each clip, and how it was called."""

    def __init__(self, frames=None, flow='off'):
        self.frames, self.calls = frames, []
        self.experiment = types.SimpleNamespace(data=types.SimpleNamespace(flow=flow))

    def embed(self, clips):
        self.calls.append([len(clip) for clip in clips])
        return np.array([np.mean(clip, axis=(0, 1, 2)) + 1 for clip in clips], np.float32)


IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)  # RGB
BOXES = np.array([[10, 5, 30, 45], [50, 10, 70, 58], [-9, -9, 8, 30], [90, 3, 120, 50]], np.float32)


def expected(boxes):
    made = []
    for left, top, right, bottom in boxes:
        left, right, top, bottom = (
            np.clip(v, 0, side) for v, side in ((left, 79), (right, 80), (top, 59), (bottom, 60))
        )
        piece = cut.crop(IMAGE, np.array([left, top, max(right - left, 1), max(bottom - top, 1)]))
        colour = piece.reshape(-1, 3).mean(0) + 1
        made.append(colour / np.sqrt((colour**2).sum()))
    return np.array(made)


@pytest.mark.parametrize('frames', [None, 4])
def test_roboflow_gets_a_row_for_every_box(frames):
    network = Network(frames)
    encoder = adapters.Encoder(network)
    found = encoder.extract_embeddings(types.SimpleNamespace(xyxy=BOXES), IMAGE[..., ::-1])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(BOXES), rtol=1e-5)
    assert network.calls == [[frames or 1] * 4]
    empty = encoder.extract_embeddings(types.SimpleNamespace(xyxy=np.zeros((0, 4))), IMAGE)
    assert empty.shape == (0, 3)


def test_boxmot_gets_a_tensor_for_every_frame():
    torch = pytest.importorskip('torch')
    encoder = adapters.Encoder(Network())
    frame = types.SimpleNamespace(image=torch.from_numpy(IMAGE.transpose(2, 0, 1).copy()), sample_id='1')

    def found(boxes):
        values = torch.from_numpy(boxes)
        return types.SimpleNamespace(geometry=types.SimpleNamespace(values=values), sample_id='1')

    rows = encoder.encode([frame] * 3, [found(BOXES[:1]), found(BOXES[:0]), found(BOXES)])
    assert [tuple(one.shape) for one in rows] == [(1, 3), (0, 3), (4, 3)]
    assert all(one.dtype == torch.float32 for one in rows)
    np.testing.assert_allclose(rows[2].numpy(), expected(BOXES), rtol=1e-5)
    assert encoder.embedding_dim == 3
    with pytest.raises(ValueError, match='1 frames and detections of 2'):
        encoder.encode([frame], [found(BOXES)] * 2)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match='sees motion'):
        adapters.Encoder(Network(flow='tvl1'))
    with pytest.raises(ValueError, match=r'the frame is \[60, 80\]'):
        adapters.Encoder(Network()).extract_embeddings(types.SimpleNamespace(xyxy=BOXES), IMAGE[..., 0])
