"""Draws the figures of how data flow through each system, docs/images/*.svg: `python docs/site/figures.py`.

Each picture carries its background and follows the reader's light or dark colours, wherever it is shown. They are
narrow, so that their words can be read on a phone.
"""

import dataclasses
import itertools
import pathlib
import sys
from xml.sax import saxutils

OUT = pathlib.Path(__file__).resolve().parents[1] / 'images'
WIDTH = 560
STYLE = """
  svg { --paper: #fbfbfd; --ink: #1d2433; --soft: #5a6478; --line: #7a8499;
        --data: #eceff5; --net: #d8e6fb; --attend: #fde5c8; --memory: #e6dcf7; --loss: #d9efdc; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #20242e; --ink: #eef1f7; --soft: #b3bccd; --line: #8b95aa;
          --data: #333a49; --net: #21416b; --attend: #6b4717; --memory: #4b3672; --loss: #24502f; } }
  text { font-family: system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif; fill: var(--ink); font-size: 15px; }
  .small { font-size: 13px; fill: var(--soft); } .mid { text-anchor: middle; }
  .box { stroke: var(--line); stroke-width: 1.2; } .frame { fill: none; stroke: var(--line); stroke-dasharray: 5 4; }
  .arrow { fill: none; stroke: var(--line); stroke-width: 1.6; marker-end: url(#tip); }
"""


@dataclasses.dataclass(frozen=True)
class Box:
    """A labelled rectangle; `first` is its main line, `more` stand below in small."""

    x: float
    y: float
    w: float
    kind: str  # data | net | attend | memory | loss
    first: str
    more: tuple[str, ...] = ()

    @property
    def h(self):
        """Height: of its lines."""
        return 32 + 18 * len(self.more)

    @property
    def middle(self):
        """x of its vertical axis."""
        return self.x + self.w / 2

    @property
    def foot(self):
        """y of its lower edge."""
        return self.y + self.h

    def draw(self):
        """As SVG."""
        style = f'class="box" style="fill: var(--{self.kind})"'
        parts = [f'<rect x="{self.x}" y="{self.y}" width="{self.w}" height="{self.h}" rx="7" {style}/>']
        parts.append(text(self.middle, self.y + 21, self.first, 'mid'))
        parts += [text(self.middle, self.y + 40 + 18 * i, line, 'small mid') for i, line in enumerate(self.more)]
        return '\n'.join(parts)


def text(x, y, words, style='small'):
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" class="{style}">{saxutils.escape(words)}</text>'


def down(a: Box, b: Box, *, start=None, end=None):
    """An arrow from the foot of one box to the top of another; `start` and `end` move it sideways to an x."""
    x0, x1 = start or a.middle, end or b.middle
    turn = (a.foot + b.y) / 2
    middle = '' if x0 == x1 else f'V{turn:g} H{x1:g} '
    return f'<path class="arrow" d="M{x0:g} {a.foot:g} {middle}V{b.y - 3:g}"/>'


def across(a: Box, b: Box, *, y=None):
    """A level arrow between the facing sides of two boxes."""
    y = y or (max(a.y, b.y) + min(a.foot, b.foot)) / 2
    x0, x1 = (a.x + a.w, b.x - 3) if a.x < b.x else (a.x, b.x + b.w + 3)
    return f'<path class="arrow" d="M{x0:g} {y:g} H{x1:g}"/>'


def path(steps):
    """An arrow along SVG path commands."""
    return f'<path class="arrow" d="{steps}"/>'


def frame(x, y, w, h, title):
    """A dashed frame around what belongs together."""
    rect = f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="9" class="frame"/>'
    return rect + '\n' + text(x + 12, y + 20, title)


def picture(title, height, parts):
    """The whole file."""
    body = '\n'.join(part.draw() if isinstance(part, Box) else part for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img">\n<title>{saxutils.escape(title)}</title>\n<style>{STYLE}</style>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill: var(--line)"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="12" style="fill: var(--paper)"/>\n{body}\n</svg>\n'
    )


def overview():
    """Footage to answers: what jaxreid does, left alone which system does it."""
    sources = Box(20, 20, 250, 'data', 'published data sets', ('MARS, DukeMTMC-V, iLIDS-VID,', 'PRID-2011, LS-VID'))
    own = Box(290, 20, 250, 'data', 'your own tracklets', ('folders of crops, a manifest,', 'the rendered benchmark'))
    batch = Box(
        130,
        118,
        300,
        'net',
        'batches of P people × K tracklets',
        ('T frames each, uint8; the same from', 'folder, records, RAM or device'),
    )
    net = Box(
        130,
        216,
        300,
        'net',
        'STRF · STMN · STA · STAR · AP3D · SINet · TF-CLIP',
        ('one program for one device or many;', 'augmentation, loss and step on the device'),
    )
    features = Box(130, 314, 300, 'memory', 'features.npz', ('one vector per tracklet, and how', 'it was made'))
    score = Box(
        20,
        412,
        250,
        'loss',
        'score, report',
        ('every published protocol, intervals,', 'film strips of what went wrong'),
    )
    search = Box(290, 412, 250, 'loss', 'search', ('who is this, where else,', 'and how sure'))
    arrows = [down(sources, batch, end=215), down(own, batch, end=345), down(batch, net), down(net, features)]
    arrows += [down(features, score, start=215), down(features, search, start=345)]
    boxes = [sources, own, batch, net, features, score, search]
    return picture('From footage to answers', 498, [*arrows, *boxes])


def strf():
    """STRF: network on the left, a unit on the right."""
    clip = Box(20, 20, 190, 'data', 'clip', ('[B, T, 256, 128, 3]',))
    early = Box(20, 96, 190, 'net', 'stem, stage 1', ('frame by frame',))
    mid = Box(
        20,
        172,
        190,
        'attend',
        'stages 2 and 3',
        ('3-D convolutions in', 'blocks 0, 2 and 0, 2, 4,', 'a unit before each'),
    )
    late = Box(20, 284, 190, 'net', 'stage 4', ('[B, T, 16, 8, 2048]',))
    pool = Box(20, 360, 190, 'net', 'maximum, mean', ('over positions; over frames',))
    neck = Box(20, 436, 190, 'net', 'BN neck', ('embedding, 2048',))
    losses = Box(20, 512, 190, 'loss', 'cross entropy + triplet', ('of the embedding, eq. 9',))
    chain = [clip, early, mid, late, pool, neck, losses]
    f = Box(262, 56, 266, 'data', 'f', ('input of the temporal convolution',))
    h = Box(262, 132, 266, 'net', 'H: 1×1×1, C → C / 16', ('a branch for each of', 't τ, t σ, s τ, s σ'))
    g = Box(262, 226, 266, 'net', 'G: pool in time or space', ('r = 1 (τ, dynamic) or 3 (σ, static)',))
    cov = Box(
        262,
        302,
        266,
        'attend',
        'Cov = κ TᵀT',
        ('positions × positions, one per clip;', 'of time and channels, eqs. 2–4, 6'),
    )
    mask = Box(262, 396, 266, 'attend', 'M = softmax(Cov)', ('mixes the positions of f: X · M', 'eqs. 1, 5, 7'))
    add = Box(
        262, 490, 266, 'attend', 'sum of τ and σ', ('first both of time, then both of', 'space on the result, eq. 8')
    )
    unit = [f, h, g, cov, mask, add]
    parts = [frame(240, 20, 306, 570, 'a unit (FAM and FFM)')]
    parts += [down(a, b) for a, b in itertools.pairwise(chain)] + [down(a, b) for a, b in itertools.pairwise(unit)]
    parts.append(path('M528 81 H537 V423 H531'))
    parts.append('<path class="frame" d="M210 190 L240 34 M210 250 L240 576"/>')
    return picture('STRF: the network, and the unit before every temporal convolution', 610, [*parts, *chain, *unit])


def stmn():
    """STMN: three heads, two memories."""
    clip = Box(150, 20, 260, 'data', 'clip of L frames', ('[B, L, 256, 128, 3]',))
    net = Box(150, 94, 260, 'net', 'ResNet-50, stages 1 to 3', ('frame by frame',))
    qs = Box(16, 176, 168, 'net', 'stage 4: q^s', ('spatial query',))
    fo = Box(196, 176, 168, 'net', 'stage 4: f^o', ('the person',))
    qt = Box(376, 176, 168, 'net', 'stage 4: q^t', ('temporal query',))
    sm = Box(16, 260, 168, 'memory', 'spatial memory', ('M = 10 keys, values', 'softmax of cosines,', 'eqs. 1–3'))
    fs = Box(196, 299, 168, 'attend', 'f^s = f^o − BN(o)')
    lstm = Box(376, 260, 168, 'net', 'mean, LSTM', ('over the frames',))
    tm = Box(376, 344, 168, 'memory', 'temporal memory', ('N = 5 keys; values are', 'weights of L frames,', 'eqs. 4–7'))
    gap = Box(196, 370, 168, 'net', 'mean over positions')
    ft = Box(196, 446, 168, 'attend', 'f^t: weighted sum', ('of the frames',))
    neck = Box(196, 530, 168, 'net', 'BN neck', ('embedding, 2048',))
    ls = Box(16, 530, 168, 'loss', 'of the mean frame', ('cross entropy, triplet', '(deep supervision, eq. 8)'))
    lt = Box(376, 530, 168, 'loss', 'cross entropy, triplet', ('and the spread of both', 'memories, eqs. 8–9'))
    arrows = [down(clip, net), down(net, qs, start=200, end=100), down(net, fo), down(net, qt, start=360, end=460)]
    arrows += [down(qs, sm), down(fo, fs), down(qt, lstm), down(lstm, tm), across(sm, fs), down(fs, gap), down(gap, ft)]
    arrows += [path('M460 430 V471 H367'), down(ft, neck), across(neck, lt, y=555), path('M196 386 H100 V527')]
    return picture(
        'STMN: three heads, two memories',
        616,
        [*arrows, clip, net, qs, fo, qt, sm, fs, lstm, tm, gap, ft, neck, ls, lt],
    )


def sta():
    """STA: attention that has no parameters."""
    clip = Box(150, 20, 260, 'data', 'clip of N = 4 frames', ('[B, 4, 256, 128, 3]',))
    net = Box(150, 94, 260, 'net', 'ResNet-50, last stride 1', ('f_n: [B, 4, 16, 8, 2048]',))
    g = Box(276, 176, 264, 'attend', 'g_n: share of squared length', ('of each position in its frame, eq. 1',))
    s = Box(276, 252, 264, 'attend', 'S(n, k): share of frame n', ('in stripe k of K = 4, eqs. 2–4',))
    reg = Box(20, 176, 200, 'loss', 'Reg = ‖g_i − g_j‖', ('two frames of a clip, eqs. 5–7',))
    f1 = Box(20, 346, 250, 'memory', 'F1: one frame per stripe', ('that with the largest S',))
    f2 = Box(290, 346, 250, 'memory', 'F2: all frames', ('weighted by S, stripe by stripe',))
    cat = Box(150, 430, 260, 'net', 'F1 beside F2', ('16 × 8 × 4096; mean over positions',))
    x = Box(150, 506, 260, 'net', 'linear layer: X', ('embedding, 1024, eq. 8',))
    losses = Box(150, 582, 260, 'loss', 'cross entropy + triplet + λ Reg', ('eqs. 9–11',))
    arrows = [down(clip, net), down(net, g, start=350, end=408), down(g, s), across(g, reg)]
    arrows += [down(s, f1, start=330, end=190), down(s, f2, end=415), path('M240 144 V334 H100 V343')]
    arrows += [
        path('M240 334 H310 V343'),
        down(f1, cat, end=215),
        down(f2, cat, end=345),
        down(cat, x),
        down(x, losses),
    ]
    return picture('STA: attention without parameters', 652, [*arrows, clip, net, g, s, reg, f1, f2, cat, x, losses])


def star():
    """STAR: two stems, attention after every stage, a recurrent aggregation."""
    rgb = Box(20, 20, 250, 'data', 'frames', ('[B, T, 256, 128, 3]',))
    flow = Box(290, 20, 250, 'data', 'optical flow', ('[B, T, 256, 128, 2]',))
    stem1 = Box(20, 94, 250, 'net', '7×7, BN, ReLU, 3×3 maximum')
    stem2 = Box(290, 94, 250, 'net', '7×7, BN, ReLU, 3×3 maximum')
    add = Box(150, 158, 260, 'net', 'sum', ('eqs. 1–2',))
    net = Box(20, 240, 250, 'net', 'ResNet-50, stages 1 to 4', ('LSTA after each; f_i: 8 × 4 × 2048',))
    lsta = Box(
        304,
        240,
        236,
        'attend',
        'LSTA',
        ('a gate per channel (mean and', 'maximum), then one per', 'position (dilations 1, 2, 3),', 'eqs. 4–5'),
    )
    lstm = Box(20, 364, 250, 'attend', 'GSTA: convolutional LSTM', ('3×3, 256 channels, eq. 6',))
    weights = Box(20, 440, 250, 'attend', 'K: one weight per frame', ("from the states' means h_i, eq. 7",))
    v = Box(20, 524, 250, 'net', 'V = W9 Σ K_i h_i + mean f_i', ('embedding, 2048, eq. 8',))
    pyramid = Box(304, 440, 236, 'loss', 'pyramid ranking', ('1, 2, 4 stripes, a triplet', 'each, eqs. 9–10'))
    losses = Box(304, 542, 236, 'loss', 'cross entropy + triplet', ('+ 0.1 pyramid, eqs. 11–13',))
    arrows = [
        down(rgb, stem1),
        down(flow, stem2),
        down(stem1, add, end=215),
        down(stem2, add, end=345),
        down(add, net, start=200, end=145),
    ]
    arrows += [
        across(lsta, net, y=265),
        down(net, lstm),
        down(lstm, weights),
        down(weights, v),
        across(v, losses, y=562),
    ]
    arrows += [path('M230 290 V354 H422 V437'), down(pyramid, losses)]
    return picture(
        'STAR: colour and flow, attention in a frame and over the clip',
        612,
        [*arrows, rgb, flow, stem1, stem2, add, net, lsta, lstm, weights, v, pyramid, losses],
    )


def ap3d():
    """AP3D: neighbours are rebuilt before the temporal convolution."""
    before = Box(20, 20, 160, 'data', 'frame t − 1')
    centre = Box(200, 20, 160, 'data', 'frame t')
    after = Box(380, 20, 160, 'data', 'frame t + 1')
    left = Box(20, 104, 160, 'attend', 'rebuilt t − 1', ('in the shape of t',))
    right = Box(380, 104, 160, 'attend', 'rebuilt t + 1', ('in the shape of t',))
    conv = Box(130, 200, 300, 'net', 'temporal convolution 3×1×1', ('of the three',))
    reduce = Box(38, 320, 484, 'net', '1×1×1, C → C / 16; unit length', ('both frames',))
    match = Box(
        38, 396, 484, 'attend', 'softmax(4 cosines)', ('every position of frame t with all positions of the neighbour',)
    )
    mix = Box(
        38,
        472,
        484,
        'attend',
        'mixed neighbour × sigmoid(w · (θ ⊙ φ))',
        ('contrastive attention: weak where the two differ',),
    )
    parts = [
        down(before, left),
        down(after, right),
        down(centre, conv),
        path('M230 52 V129 H183'),
        path('M330 52 V129 H377'),
    ]
    parts += [
        down(left, conv, end=190),
        down(right, conv, end=370),
        frame(20, 284, 520, 256, 'rebuilding a neighbour (APM)'),
    ]
    parts += [down(reduce, match), down(match, mix), before, centre, after, left, right, conv, reduce, match, mix]
    return picture('AP3D: neighbouring frames are rebuilt before they are convolved', 558, parts)


def sinet():
    """SINet: two modules that join the frames of a clip."""
    stage2 = Box(20, 20, 160, 'net', 'stages 1, 2', ('IDM behind', 'bottlenecks 1, 3'))
    stage3 = Box(200, 20, 160, 'net', 'stage 3', ('SBM behind', 'bottlenecks 1, 3, 5'))
    stage4 = Box(380, 20, 160, 'net', 'stage 4', ('maximum of a frame,', 'mean over frames'))
    loss = Box(130, 124, 300, 'loss', 'cross entropy + triplet', ('+ 0.001 InfoNCE over frames',))
    few = Box(38, 244, 150, 'net', 'C → C / 16', ('every position',))
    mixed = Box(208, 244, 150, 'memory', 'P → P / 16 → P', ('all positions',))
    back = Box(378, 244, 144, 'attend', 'C / 16 → C', ('added to the map',))
    salient = Box(38, 376, 220, 'data', 'salient frames', ('the first 1, 2 or 3 of four',))
    other = Box(302, 376, 220, 'data', 'the other frames')
    kernel = Box(38, 462, 220, 'memory', 'nine templates', ('a 3×3 kernel for each clip',))
    fires = Box(302, 462, 220, 'attend', 'where the kernel fires', ('less is kept: factor f',))
    gets = Box(38, 548, 220, 'net', '+ 0.1 what was suppressed')
    left = Box(302, 548, 220, 'net', 'f × frame + 0.1 the salient')
    parts = [
        frame(20, 208, 520, 104, 'IDM: positions hear of one another'),
        frame(20, 340, 520, 258, 'SBM: look elsewhere'),
    ]
    parts += [across(stage2, stage3), across(stage3, stage4), down(stage4, loss, end=400)]
    parts += [across(few, mixed), across(mixed, back), down(salient, kernel), down(other, fires), across(kernel, fires)]
    parts += [path('M340 512 V530 H148 V545'), down(fires, left), stage2, stage3, stage4, loss, few, mixed, back]
    parts += [salient, other, kernel, fires, gets, left]
    return picture('SINet: later frames look away from what the first have shown', 616, parts)


def tfclip():
    """TF-CLIP: a tower, a memory that teaches, messages between the frames."""
    clip = Box(20, 20, 250, 'data', 'clip of T = 8 frames', ('[B, 8, 256, 128, 3]',))
    camera = Box(290, 20, 250, 'data', 'camera', ('a vector, on the class token',))
    vit = Box(150, 108, 260, 'net', "CLIP's image tower, 12 blocks", ('x12: [B, 8, 129, 768]',))
    token = Box(20, 204, 160, 'net', 'v', ('class token, 768',))
    projected = Box(200, 204, 160, 'net', 'p', ('its projection, 512',))
    tmd = Box(380, 204, 160, 'attend', 'tmd: TMD', ('messages over time,', '768; no way back to x12'))
    ssp = Box(20, 302, 160, 'attend', 'SSP', ('two decoder layers,', 'in training only'))
    memory = Box(20, 400, 160, 'memory', 'CLIP memory M', ('[K, 512], fixed',))
    products = Box(200, 400, 160, 'loss', "p · M'", ('cross entropy',))
    necks = Box(380, 320, 160, 'net', 'a neck each', ('then classifiers',))
    losses = Box(380, 400, 160, 'loss', 'cross entropies', ('+ triplets, on v, p, tmd',))
    feature = frame(12, 192, 536, 92, '')
    said = text(280, 484, 'The feature is v, p and tmd side by side, before their necks: 2,048 numbers.', 'small mid')
    arrows = [down(clip, vit, end=215), down(camera, vit, end=345), down(vit, token, start=190, end=100)]
    arrows += [down(vit, projected), down(vit, tmd, start=370, end=460), down(projected, ssp, start=230, end=100)]
    arrows += [down(ssp, memory), across(memory, products), down(projected, products)]
    arrows += [down(tmd, necks), down(necks, losses)]
    boxes = clip, camera, vit, token, projected, tmd, ssp, memory, products, necks, losses
    return picture('TF-CLIP: a tower, a memory, messages between frames', 504, [*arrows, feature, said, *boxes])


FIGURES = {
    'overview': overview, 'strf': strf, 'stmn': stmn, 'sta': sta, 'star': star, 'ap3d': ap3d, 'sinet': sinet,
    'tfclip': tfclip,
}  # fmt: skip


def main():
    """Writes every figure."""
    for name, draw in FIGURES.items():
        (OUT / f'flow_{name}.svg').write_text(draw())
    print(f'{len(FIGURES)} figures in {OUT}', file=sys.stderr)


if __name__ == '__main__':
    main()
