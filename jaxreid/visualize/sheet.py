"""Pictures as JPEG and PNG, and sheets of many pictures with marks and captions."""

import dataclasses
import functools
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARK_COLOURS = {
    'right': (22, 128, 61),
    'wrong': (200, 30, 30),
    'distractor': (180, 83, 9),
    'same camera': (130, 130, 130),
    'junk': (130, 130, 130),
    'outfit': (130, 130, 130),
    'query': (30, 90, 200),
    'none': (255, 255, 255),
}
_INK = (30, 30, 30)
_GAP = 6
_CAPTION = 15  # height of a line below a picture


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of a sheet."""

    image: np.ndarray  # [H, W, 3] uint8
    caption: str = ''
    mark: str = 'none'  # a key of MARK_COLOURS: the frame around it


def fitted(image: np.ndarray, *, height: int) -> np.ndarray:
    """The picture [H, W, 3] uint8 made no higher than `height`, its shape kept; smaller ones stay."""
    h, w = image.shape[:2]
    if h <= height:
        return image
    size = max(1, round(w * height / h)), height
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def jpeg(image: np.ndarray, *, quality: int = 80) -> bytes:
    """[H, W, 3] uint8 as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=quality, optimize=True)
    return file.getvalue()


def png(image: np.ndarray) -> bytes:
    """[H, W, 3] uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG')
    return file.getvalue()


def strip(images: np.ndarray) -> np.ndarray:
    """[T, H, W, 3] side by side: [H, T * W, 3]."""
    return np.concatenate(list(images), axis=1)


def sheet(rows: Sequence[tuple[str, Sequence[Picture]]], *, title: str, height: int = 128) -> np.ndarray:
    """Rows of pictures, each with a heading, all as high as `height`: [H, W, 3] uint8 on white.

    Args:
      rows: (heading, pictures) each.
      title: above all.
      height: of the pictures, in pixels; they are scaled up or down to it.
    """
    font, bold = _font(12), _font(16)
    headings: list[tuple[int, str]] = []
    placed: list[tuple[int, int, Image.Image, str, list[str]]] = []
    y, right = _GAP + 26, 0
    for heading, pictures in rows:
        headings.append((y, _drawable(heading)))
        y += 20
        x, lines = _GAP, 0
        for picture in pictures:
            h, w = picture.image.shape[:2]
            width = max(1, round(w * height / h))
            scaled = Image.fromarray(picture.image).resize((width, height), Image.Resampling.BICUBIC)
            wrapped = [_drawable(line) for line in _wrapped(picture.caption, font, width + _GAP)]
            placed.append((x, y, scaled, picture.mark, wrapped))
            lines = max(lines, len(wrapped))
            x += width + 2 * _GAP
        right = max(right, x)
        y += height + lines * _CAPTION + 3 * _GAP
    widest = max(
        [right, *(int(bold.getlength(title)) + 2 * _GAP,), *(int(font.getlength(h)) + 2 * _GAP for h, _ in rows)]
    )
    canvas = Image.new('RGB', (widest, y), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), title, font=bold, fill=_INK)
    for at, heading in headings:
        draw.text((_GAP, at), heading, font=font, fill=_INK)
    for x, at, scaled, mark, wrapped in placed:
        draw.rectangle((x - 3, at - 3, x + scaled.width + 2, at + scaled.height + 2), fill=MARK_COLOURS[mark])
        canvas.paste(scaled, (x, at))
        for i, line in enumerate(wrapped):
            draw.text((x, at + scaled.height + 4 + i * _CAPTION), line, font=font, fill=_INK)
    return np.asarray(canvas)


@functools.lru_cache(maxsize=4)
def _font(size: int):
    return ImageFont.load_default(size)


def _drawable(text):
    """The font has no non-breaking space."""
    return text.replace('\u00a0', ' ')


def _wrapped(text, font, width):
    """Lines of whole words that fit; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split(' '):
        longer = f'{lines[-1]} {word}' if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
