"""The pages are for people whose English is a second language: short sentences, and nothing scrolls sideways."""

import importlib.util
import pathlib
import statistics

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / 'docs' / 'site' / 'check_words.py'
SPEC = importlib.util.spec_from_file_location('check_words', SCRIPT)
CHECK = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(CHECK)


def test_sentences_and_lines_of_code_are_short_and_every_viewer_shows_all_blocks():
    texts = CHECK.pages()
    assert {'README.md', 'docs/search.md'} <= texts.keys()
    assert [row for name, text in texts.items() for row in CHECK.findings(name, text)] == []
    lengths = [len(sentence.split()) for text in texts.values() for sentence in CHECK.sentences(text)]
    assert statistics.median_low(lengths) <= CHECK.MOST_MEDIAN


def test_the_front_page_is_short():
    assert len(CHECK.pages()['README.md'].split()) < 700


def test_what_is_too_long_is_found_where_it_stands():
    long = ' '.join(['word'] * 41)
    page = f'# {long}\n\nShort. {long}. Next one is short.\n\n- {long}\n\n| {long} |\n\n'
    page += f'```sh\n{"x" * 89}\n```\n\n!!! note\n'
    assert [row.split(':')[1].strip()[:24] for row in CHECK.findings('a.md', page)] == [
        'a sentence of 41 words, ', 'a sentence of 41 words, ', '10', '13',
    ]  # fmt: skip
    assert CHECK.findings('a.md', page.replace('word word', 'word.')[:20]) == []
    assert CHECK.wide_code('    ' + 'x' * 84 + '\n' + 'y' * 200) == []
