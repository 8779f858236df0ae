"""What is known of a data set beside its files, in one value.

A module of this folder that defines `FACTS` is a data set. Choices of settings, what `data.also` may say, builders,
checks, counts, dry runs and tables ask for the facts (`catalogue`) and name no data set themselves.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jaxreid.data.datasets import contents
from jaxreid.data.tracklets import tracklet


class Settings(Protocol):
    """What a reader may ask of `config.Data`."""

    root: str
    records: str
    frames_root: str
    preset: str
    split: str
    split_rule: str
    num_ids: int

    @property
    def part(self) -> str:
        """Which of its parts; only read, so that a choice will do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """A data set. What has a default here need not be said."""

    name: str  # what data.dataset calls it
    about: str  # its name in full and its source, for people
    layout: str  # what its folder must hold, in a sentence or two
    read: Callable[[Settings], tracklet.Dataset]  # OSError, ValueError: the folder is not as it should be
    protocol: str = 'mars-paper'  # the rule that papers score it by
    more_protocols: tuple[str, ...] = ()  # rules that papers print beside it
    num_ids: int | None = None  # training ids, where they are known before the data is opened
    # Counts that were published, named as those of `whole`
    published: Mapping[str, contents.Count] = dataclasses.field(default_factory=dict)
    # All that its folder holds, split or not; where a data set does not say, its tracklets as they are read
    whole: Callable[[Settings], contents.Contents] | None = None
    # Groups of so many tracklets of an identity in an epoch's training split, where they are known without the data
    groups: Callable[[Settings, int], int | None] = lambda data, tracklets: None
    num_splits: int = 1  # of equal right, numbered from 0 by data.split
    split_rules: tuple[str | int, ...] = ()  # ways to make the splits, for data.split_rule; the first is the usual one
    split_rules_setting: str = 'split_rule'  # what saved settings and record sets call it
    own_validation: bool = False  # data.part=validation is published, and not held out of the training ids
    presets: tuple[str, ...] = ()  # sizes, for data.preset
    rendered: bool = False  # made by us: needs no data.root
    title: Callable[[Settings], str] | None = None  # the data set in results, where its name does not tell
    version: str = '1.0.0'  # of what its records hold
    kept_files: tuple[str, ...] = ()  # of its folder, which record sets hold as well

    def count(self, data: Settings) -> contents.Contents:
        """All that its folder holds, beside the published counts. Raises OSError, ValueError: as the reader."""
        counted = self.whole(data) if self.whole else contents.of(self.read(data))
        return counted._replace(published=counted.published or self.published)

    def describe(self, data: Settings) -> str:
        """The data set and what chooses its split: 'synthetic tiny'."""
        if self.title:
            return self.title(data)
        split = f' split {data.split}' if self.num_splits > 1 else ''
        return self.name + split + (f' {data.preset}' if self.presets else '')

    def split_names(self) -> tuple[str, ...]:
        """What data.split may be."""
        return (*map(str, range(self.num_splits)), 'all') if self.num_splits > 1 else ('0',)

    def after_colon(self) -> tuple[str, ...]:
        """What may follow the name and a colon in `data.also`: a split or a preset."""
        return self.presets or self.split_names()[:-1]  # none where there is one split

    def rule(self, data: Settings) -> str | int:
        """The one of `split_rules` that the settings ask for."""
        return next((rule for rule in self.split_rules if str(rule) == data.split_rule), self.split_rules[0])

    def splits(self, preset: str) -> list[dict[str, Any]]:
        """Settings of `config.Data` that ask for each of the splits, of a preset where there are several."""
        rules = [{'split_rule': str(rule)} for rule in self.split_rules] or [{}]
        splits = [{'split': str(i)} for i in range(self.num_splits)] if self.num_splits > 1 else [{}]
        parts = [{'part': part} for part in ('official', 'validation')] if self.own_validation else [{}]
        size = {'preset': preset} if self.presets else {}
        return [split | rule | part | size for rule in rules for split in splits for part in parts]

    def split_settings(self, data: Settings) -> dict[str, str | int]:
        """What of the settings chooses the split, as record sets note it."""
        return (
            ({'split': data.split} if self.num_splits > 1 else {})
            | ({self.split_rules_setting: self.rule(data)} if self.split_rules else {})
            | ({'part': data.part} if self.own_validation else {})
            | ({'preset': data.preset} if self.presets else {})
        )
