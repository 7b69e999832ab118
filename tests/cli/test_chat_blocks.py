from hypothesis import given
from hypothesis import strategies as st

from mainstay.cli.chat.blocks import Block, BlockSplitter

ANSWER = """# Title
A paragraph
of two lines.

- one

  more of one
- two
  ```py
  x = 1

  ```
- three

```python
def f():

    return 1
```
After.

1. a
2. b

| a | b |
|---|---|
| 1 | 2 |
"""


def split(text, size=None):
    splitter = BlockSplitter()
    blocks = []
    for start in range(0, len(text), size or max(len(text), 1)):
        blocks += splitter.feed(text[start : start + (size or len(text))])
    return blocks + splitter.finish()


def test_headings_paragraphs_lists_fences_and_tables_are_blocks():
    blocks = split(ANSWER)
    assert [block.text.split("\n")[0] for block in blocks] == [
        "# Title", "A paragraph", "- one", "def f():", "After.", "1. a", "| a | b |",
    ]  # fmt: skip
    assert blocks[2].text.endswith("- three")
    assert blocks[3] == Block("def f():\n\n    return 1", is_code=True, language="python")


@given(st.integers(1, 30))
def test_blocks_do_not_depend_on_how_the_text_was_cut(size):
    assert split(ANSWER, size) == split(ANSWER)


@given(st.text(alphabet=st.sampled_from("a \n`~#-*1.|>\t"), max_size=200), st.integers(1, 7))
def test_no_text_is_lost_however_odd_it_is(text, size):
    blocks = split(text, size)
    assert blocks == split(text)
    letters = "".join(f"{block.language}{block.text}" for block in blocks)
    assert letters.count("a") == text.count("a") or "```" in text or "~~~" in text
    assert letters.count("a") <= text.count("a")


def test_the_tail_is_what_is_not_finished():
    splitter = BlockSplitter()
    assert splitter.feed("First.\n\nSecond") == []
    assert splitter.tail() == Block("First.\n\nSecond")
    assert splitter.feed("\nline\n") == [Block("First.")]
    assert splitter.tail() == Block("Second\nline")


def test_a_last_line_that_may_become_anything_is_held_back():
    splitter = BlockSplitter()
    splitter.feed("Choose:\n-")
    assert splitter.tail() == Block("Choose:")
    splitter.feed(" this")
    assert splitter.tail() == Block("Choose:\n- this")


def test_an_open_fence_is_code_at_once_and_ends_with_the_answer():
    splitter = BlockSplitter()
    splitter.feed("```py\nx = 1\ny")
    tail = splitter.tail()
    assert (tail.is_code, tail.text, tail.is_ended) == (True, "x = 1\ny", False)
    assert splitter.finish() == [Block("x = 1\ny", is_code=True, language="py")]


def test_a_fence_is_closed_only_by_one_as_long_of_its_own_kind():
    text = "````md\n```py\n```\n~~~~\n````\nafter"
    assert split(text) == [Block("```py\n```\n~~~~", is_code=True, language="md"), Block("after")]


def test_long_code_comes_in_pieces_that_know_what_came_before():
    blocks = split("```py\n" + "".join(f"x = {line}\n" for line in range(100)) + "```\n")
    assert len(blocks) > 3
    assert [block.is_continued for block in blocks] == [False] + [True] * (len(blocks) - 1)
    assert [block.is_ended for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert blocks[1].context == blocks[0].text
    assert "\n".join(block.text for block in blocks).count("x =") == 100


def test_every_block_is_bounded_even_if_a_line_never_ends():
    for text in ("a" * 1_000_000, "- item\n" * 50_000, "word\n" * 50_000, "```\n" + "b" * 1_000_000):
        blocks = split(text, 5_000)
        assert max(len(block.text) for block in blocks) < 60_000
        assert sum(block.text.count(text[-1]) for block in blocks) >= text.count(text[-1]) - len(blocks) - 1
