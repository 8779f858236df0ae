"""Says which sentences and lines of the pages are too long, and which blocks a plain Markdown viewer does not show.

    python docs/site/check_words.py

A sentence ends at a full stop, an exclamation or a question mark before a space, or with its paragraph or list item.
Tables, headings and code are not sentences. Without a finding the exit status is 0, otherwise 1.
"""

import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_WORDS = 40
MOST_MEDIAN = 15
MOST_CODE = 88  # characters: what a page shows without sideways scrolling at 1280 pixels


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown page of which some have more than three words, in order."""
    text = re.sub(r'```.*?```', '\n\n', text, flags=re.DOTALL)
    text = re.sub(r'^\s*\|.*$|^#.*$|^    .*$', '\n\n', text, flags=re.MULTILINE)
    blocks = re.split(r'\n\s*\n|^\s*[-*] ', text, flags=re.MULTILINE)
    parts = (re.split(r'(?<=[.!?])\s+', re.sub(r'\s+', ' ', block).strip()) for block in blocks)
    return [sentence for part in parts for sentence in part if len(sentence.split()) > 3]


def wide_code(text: str) -> list[tuple[int, str]]:
    """(line number, line) of the lines of fenced and indented code that are too wide."""
    rows, fenced = [], False
    for number, line in enumerate(text.split('\n'), 1):
        if line.lstrip().startswith('```'):
            fenced = not fenced
        elif (fenced or line.startswith('    ')) and len(line) > MOST_CODE:
            rows.append((number, line))
    return rows


def findings(name: str, text: str) -> list[str]:
    """What is wrong with one page, a line each."""
    long = [s for s in sentences(text) if len(s.split()) > MOST_WORDS]
    rows = [f'{name}: a sentence of {len(s.split())} words, {MOST_WORDS} at most: {s[:90]}' for s in long]
    rows += [
        f'{name}:{number}: {len(line)} characters of code, {MOST_CODE} at most: {line.strip()[:60]}'
        for number, line in wide_code(text)
    ]
    blocks = re.finditer(r'^(\?\?\?|!!!)', text, re.MULTILINE)
    return rows + [
        f'{name}:{text[: m.start()].count(chr(10)) + 1}: only MkDocs shows {m[1]} blocks, use <details>' for m in blocks
    ]


def pages() -> dict[str, str]:
    """Every Markdown page of the repository: its path from the root, and its text."""
    names = subprocess.run(['git', 'ls-files', '*.md'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name: (ROOT / name).read_text(encoding='utf-8') for name in names.split() if (ROOT / name).exists()}


def main() -> int:
    texts = pages()
    rows = [row for name, text in texts.items() for row in findings(name, text)]
    median = statistics.median_low([len(s.split()) for text in texts.values() for s in sentences(text)])
    print(f'{len(texts)} pages: half of the sentences have at most {median} words ({MOST_MEDIAN} allowed)')
    print('\n'.join(rows) if rows else 'nothing is too long')
    return int(bool(rows) or median > MOST_MEDIAN)


if __name__ == '__main__':
    sys.exit(main())
