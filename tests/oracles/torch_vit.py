"""CLIP's image tower in PyTorch, from the description, with OpenAI's names; tokens first, as PyTorch has them."""

import torch
from torch import nn


class QuickGelu(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


def mlp(width):
    parts = [('c_fc', nn.Linear(width, 4 * width)), ('gelu', QuickGelu()), ('c_proj', nn.Linear(4 * width, width))]
    made = nn.Sequential()
    for name, part in parts:
        made.add_module(name, part)
    return made


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = mlp(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x):  # [N, R, D]
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class TimeAdapter(nn.Module):
    """down, attention over the frames at each token, up."""

    def __init__(self, width, hidden):
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.attn = nn.MultiheadAttention(hidden, 4)

    def forward(self, x, frames):  # [N, B T, D]
        n, rows = x.shape[:2]
        y = self.down(x).reshape(n, rows // frames, frames, -1)
        y = torch.stack([self.attn(*[y[i].transpose(0, 1)] * 3, need_weights=False)[0] for i in range(n)])  # [N, T, B]
        return self.up(y.transpose(1, 2).reshape(n, rows, -1))


class AdaptedBlock(Block):
    """VSLA-CLIP's: nothing is normalised in front of an adapter."""

    def __init__(self, width, heads, hidden, frames):
        super().__init__(width, heads)
        self.frames = frames
        self.adapter_time = TimeAdapter(width, hidden)
        self.adapter_mlp = nn.Sequential(nn.Linear(width, hidden), QuickGelu(), nn.Linear(hidden, width))

    def forward(self, x):
        y = self.ln_1(x)
        middle = x + self.attn(y, y, y, need_weights=False)[0] + self.adapter_time(x, self.frames)
        return middle + self.mlp(self.ln_2(middle)) + self.adapter_mlp(middle)


class Vit(nn.Module):
    def __init__(self, *, width, depth, heads, patch, projection, grid):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(1 + grid[0] * grid[1], width))
        self.proj = nn.Parameter(torch.randn(width, projection) / width**0.5)
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*[Block(width, heads) for _ in range(depth)])
        self.ln_post = nn.LayerNorm(width)

    def forward(self, frames, beside=None):  # [R, 3, H, W] -> [R, 1 + N, width], [R, 1 + N, projection]
        x = self.conv1(frames).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        if beside is not None:
            first = first + beside[:, None]
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        x = self.transformer.resblocks(x.transpose(0, 1)).transpose(0, 1)
        x = self.ln_post(x)
        return x, x @ self.proj


def shaken(net, seed=0):
    """Every parameter random, those too that start at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.named_parameters():
            near_one = 1.0 if value.ndim == 1 and 'weight' in name else 0.0
            scale = 0.1 if value.ndim == 1 else value.shape[-1] ** -0.5
            value.copy_(near_one + scale * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return net


def grown(net, seed=0):
    return shaken(net.double(), seed).eval()
