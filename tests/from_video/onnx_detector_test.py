"""Detectors of every layout, built here: each is a real network that finds a red rectangle in what it sees."""

import csv

import cv2
import numpy as np
import pytest

from jaxreid.from_video import __main__ as command
from jaxreid.from_video import onnx_detector

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

SIZE = 96, 160  # height and width of what the networks see
PLACES = 12 * 20 + 6 * 10 + 3 * 5
# Of four boxes the shift in pixels, and the scores of two classes: the second lies on the first, the third is no
# person, the fourth is unsure.
SHIFT = np.array([0.0, 1.0, 0.0, 40.0])
SCORES = np.array([[0.9, 0.0], [0.8, 0.1], [0.0, 0.95], [0.2, 0.1]])


def build(path, layout, *, names=('person', 'dog'), size=SIZE, dtype='float32', scores=SCORES):
    """Writes a network that gives the corners of what is red, in the layout that is asked for."""
    height, width = SIZE
    nodes, constants, number = [], [], iter(range(1000))
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def constant(value, of=dtype):
        name = f'c{next(number)}'
        constants.append(onnx.numpy_helper.from_array(np.asarray(value, of), name))
        return name

    def op(kind, *inputs, outputs=1, **attributes):
        given = [f'v{next(number)}' for _ in range(outputs)]
        nodes.append(onnx.helper.make_node(kind, list(inputs), given, **attributes))
        return given[0] if outputs == 1 else given

    red, _, blue = op('Split', 'images', outputs=3, axis=1)
    seen = [op('Greater', red, constant(0.5)), op('Less', blue, constant(0.3))]
    mask = op('Mul', *(op('Cast', one, to=kind) for one in seen))

    def ends(axes, side):
        line = op('ReduceMax', mask, axes=axes, keepdims=0)
        far = op('ReduceMax', op('Mul', line, constant(np.arange(1, side + 1))), axes=[0], keepdims=1)
        near = op('ReduceMax', op('Mul', line, constant(np.arange(side, 0, -1))), axes=[0], keepdims=1)
        return op('Sub', constant([side]), near), far

    (left, right), (top, bottom) = ends([0, 1, 2], width), ends([0, 1, 3], height)
    box = op('Unsqueeze', op('Concat', left, top, right, bottom, axis=0), constant([0], 'int64'))
    boxes = op('Add', op('MatMul', constant(np.ones((4, 1))), box), constant(np.repeat(SHIFT[:, None], 4, 1)))
    centre = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
    whole = np.array([width, height] * 2)
    if layout in ('places', 'anchors', 'shares', 'logits'):
        boxes = op('MatMul', boxes, constant(centre))
    if layout in ('shares', 'logits', 'corners'):
        boxes = op('Div', boxes, constant(whole))
    inputs = [onnx.helper.make_tensor_value_info('images', kind, [1, 3, *size])]
    outputs = {}

    def table(*columns, rows):
        """[1, rows, K], the boxes with columns behind them, zeros below."""
        cells = op('Concat', boxes, *(constant(one) for one in columns), axis=1)
        count = 4 + sum(np.shape(one)[1] for one in columns)
        cells = op('Concat', cells, constant(np.zeros((rows - 4, count))), axis=0)
        return op('Unsqueeze', cells, constant([0], 'int64'))

    best = np.stack([scores.max(1), scores.argmax(1)], 1)
    match layout:
        case 'places':
            outputs['output0'] = op('Transpose', table(scores, rows=PLACES), perm=[0, 2, 1])
        case 'anchors':
            outputs['output'] = table(np.full((4, 1), 0.9), scores / 0.9, rows=3 * PLACES)
        case 'chosen':
            outputs['output0'] = table(best, rows=50)
        case 'shares':
            outputs['output0'] = table(np.pad(scores, ((0, 0), (0, 3))), rows=30)
        case 'logits':
            low = np.clip(scores, 1e-4, 1)
            outputs['logits'] = constant(np.log(low / (1 - low))[None])
            outputs['pred_boxes'] = op('Unsqueeze', boxes, constant([0], 'int64'))
        case 'corners':
            inputs.append(onnx.helper.make_tensor_value_info('orig_target_sizes', onnx.TensorProto.INT64, [1, 2]))
            sizes = op('Cast', op('Concat', *['orig_target_sizes'] * 2, axis=1), to=kind)
            outputs['labels'] = constant(best[None, :, 1], 'int64')
            outputs['boxes'] = op('Unsqueeze', op('Mul', boxes, sizes), constant([0], 'int64'))
            outputs['scores'] = constant(best[None, :, 0])
        case 'flat':
            outputs['output0'] = op('Unsqueeze', op('Transpose', mask, perm=[0, 1, 3, 2]), constant([0], 'int64'))
    for name, value in outputs.items():
        nodes.append(onnx.helper.make_node('Identity', [value], [name]))
    types = {'labels': onnx.TensorProto.INT64}
    described = [onnx.helper.make_tensor_value_info(name, types.get(name, kind), None) for name in outputs]
    graph = onnx.helper.make_graph(nodes, 'red', inputs, described, constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8)
    said = {'names': str(dict(enumerate(names))), 'imgsz': str(list(SIZE))} if names else {'imgsz': str(list(SIZE))}
    onnx.helper.set_model_props(model, said)
    path.write_bytes(model.SerializeToString())
    return path


def picture(height=300, width=400, left=120, top=60, size=(50, 140)):
    """BGR, on bright green a red rectangle; and blue, which it would be if the channels were swapped."""
    image = np.full((height, width, 3), (0, 200, 0), np.uint8)
    image[top : top + size[1], left : left + size[0]] = (20, 30, 230)
    image[5:20, 5:20] = (230, 30, 20)
    return image


LAYOUTS = ['places', 'anchors', 'chosen', 'shares', 'logits', 'corners']


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(('height', 'width'), [(300, 400), (500, 400), (200, 700), (96, 160)])
def test_a_person_is_found_where_it_is_in_images_of_any_shape(tmp_path, layout, height, width):
    find = onnx_detector.Detector(build(tmp_path / 'a.onnx', layout))
    left, top, size = width // 3, height // 5, (width // 8, height // 2)
    found = find(picture(height, width, left, top, size))
    pixels = max(height / SIZE[0], width / SIZE[1])  # of the image in one that the network sees
    wanted = [left, top, *size]
    if layout in ('chosen', 'shares', 'logits', 'corners'):  # what chose boxes itself is left as it is
        assert len(found) == 2
        np.testing.assert_allclose(found[1][2:], found[0][2:], atol=2 * pixels)
    else:
        assert len(found) == 1
    np.testing.assert_allclose(found[0], wanted, atol=1.2 * pixels)


def test_the_class_is_the_one_that_the_file_calls_person(tmp_path):
    image = picture()
    for layout in ('places', 'chosen', 'shares', 'logits', 'corners'):
        find = onnx_detector.Detector(build(tmp_path / 'a.onnx', layout, names=('dog', 'Person')))
        assert len(find(image)) == 1
    with pytest.raises(ValueError, match=r'a\.onnx finds dog, cat, and no person'):
        onnx_detector.Detector(build(tmp_path / 'a.onnx', 'places', names=('dog', 'cat')))
    assert len(onnx_detector.Detector(build(tmp_path / 'a.onnx', 'places', names=()))(image)) == 1


def test_confidence_and_height_leave_out_what_they_say(tmp_path):
    path, image = build(tmp_path / 'a.onnx', 'places'), picture()
    assert len(onnx_detector.Detector(path, min_confidence=0.15)(image)) == 2
    assert len(onnx_detector.Detector(path, min_confidence=0.91)(image)) == 0
    assert len(onnx_detector.Detector(path, min_height=150)(image)) == 0


@pytest.mark.parametrize('layout', ['places', 'corners'])
def test_files_of_half_precision_and_of_any_size_are_run(tmp_path, layout):
    path = build(tmp_path / 'a.onnx', layout, dtype='float16', size=('height', 'width'))
    np.testing.assert_allclose(onnx_detector.Detector(path)(picture())[0], [120, 60, 50, 140], atol=6)


def test_what_is_no_detector_is_refused_with_what_it_is(tmp_path):
    (tmp_path / 'text.onnx').write_text('hello')
    with pytest.raises(ValueError, match=r'text\.onnx is no network that ONNX Runtime can open'):
        onnx_detector.Detector(tmp_path / 'text.onnx')
    with pytest.raises(FileNotFoundError, match=r'there is no detector .*none\.onnx'):
        onnx_detector.Detector(tmp_path / 'none.onnx')
    with pytest.raises(ValueError, match=r'gives output0 \[1, 1, 1, 160, 96\], which is no layout .*--detections'):
        onnx_detector.Detector(build(tmp_path / 'a.onnx', 'flat'))


def test_a_video_is_cut_by_a_detector(tmp_path, capsys):
    writer = cv2.VideoWriter(str(tmp_path / 'a.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (400, 300))
    for frame in range(20):
        writer.write(picture(left=60 + 10 * frame))
    writer.release()
    detector = build(tmp_path / 'a.onnx', 'places')
    given = [str(tmp_path / 'a.avi'), str(tmp_path / 'out'), f'--detector={detector}']
    assert command.run(given) == 0
    assert 'Cut by what moves' not in capsys.readouterr().out
    with (tmp_path / 'out' / 'tracklets.csv').open() as file:
        (row,) = csv.DictReader(file)
    assert (row['first_frame'], row['last_frame']) == ('1', '20')
    (tmp_path / 'boxes.txt').write_text('1,1,2,3,4,50,1\n')
    again = [given[0], str(tmp_path / 'no'), given[2]]
    assert command.run([*again, f'--detections={tmp_path / "boxes.txt"}']) == 1
    assert 'give one of them' in capsys.readouterr().err
    assert command.run([*again, '--min-confidence=0.95']) == 1
    assert 'a.onnx finds nobody in' in capsys.readouterr().err
