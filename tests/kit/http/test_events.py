"""Server-sent events, cut anywhere."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.kit.http import EventParser, MalformedResponse

CORPUS = {
    "plain": (b'data: {"a":1}\n\ndata: {"b":2}\n\n', [b'{"a":1}', b'{"b":2}']),
    "carriage returns and line feeds": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "carriage returns": (b"data: a\r\rdata: b\r\r:\r", [b"a", b"b"]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n:\n", [b"a", b"b", b"c"]),
    "no space after the colon": (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
    "comments": (b": ping\n\ndata: a\n: pong\n\n:\n\n", [b"a"]),
    "other fields": (b"event: message\nid: 7\nretry: 10\ndata: a\n\nevent: only\n\n", [b"a"]),
    "several lines": (b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "blank lines": (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
    "split characters": ("data: žluťoučký 🐎\n\n".encode(), ["žluťoučký 🐎".encode()]),
    "field with a longer name": (b"database: x\ndata: a\n\n", [b"a"]),
    "empty data": (b"data:\n\n", [b""]),
    "unfinished": (b"data: a\n\ndata: b\n", [b"a"]),
}


@pytest.mark.parametrize("name", CORPUS)
def test_events_are_the_same_wherever_the_bytes_are_cut(name):
    stream, expected = CORPUS[name]
    assert EventParser().feed(stream) == expected
    for cut in range(len(stream) + 1):
        parser = EventParser()
        assert parser.feed(stream[:cut]) + parser.feed(stream[cut:]) == expected
    parser = EventParser()
    assert [event for i in range(len(stream)) for event in parser.feed(stream[i : i + 1])] == expected


@given(st.lists(st.text(alphabet='ab{}"\r\n: é', max_size=12), max_size=8), st.data())
def test_any_stream_in_any_slices_gives_what_it_gives_whole(lines, data):
    stream = b"".join(b"data: " + line.encode() + b"\n" for line in lines) + b"\n\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parser = EventParser()
    sliced = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in parser.feed(stream[start:end])
    ]
    assert sliced == EventParser().feed(stream)


def test_two_megabytes_in_one_line_are_one_event():
    payload = b'{"a":"' + b"x" * 2_000_000 + b'"}'
    stream = b"data: " + payload + b"\n\n"
    parser = EventParser()
    events = [event for i in range(0, len(stream), 65536) for event in parser.feed(stream[i : i + 65536])]
    assert events == [payload]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 100, b"data: x\n" * 20, b": x"])
def test_an_event_without_end_is_refused_at_the_limit(piece):
    parser = EventParser(max_bytes=1000)
    with pytest.raises(MalformedResponse, match="1000 bytes"):
        deque(map(parser.feed, [piece] * 1000))


def test_limit_counts_one_event_and_not_the_stream():
    parser = EventParser(max_bytes=100)
    for _ in range(1000):
        assert parser.feed(b"data: abc") == []
        assert parser.feed(b"\n") == []
        assert parser.feed(b"\n") == [b"abc"]


def test_flush_returns_what_the_end_of_the_stream_would_complete():
    parser = EventParser()
    assert parser.feed(b"data: a\n\ndata: [DONE]") == [b"a"]
    assert parser.flush() == [b"[DONE]"]
