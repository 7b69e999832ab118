"""Server-sent events, split as the bytes arrive (WHATWG HTML, 9.2.6); only `data` matters to us."""

from mainstay.kit.http.errors import MalformedResponse

MAX_EVENT_BYTES = 8 * 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventParser:
    """Turns the body of one event stream into the data of its events; comments and other fields are dropped.

    Bytes are looked at once, however they are cut: what is held is one incomplete line and the data lines of
    one incomplete event.
    """

    __slots__ = ("_held_bytes", "_is_start", "_lines", "_max_bytes", "_partial")

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._partial: list[bytes] = []
        self._lines: list[bytes] = []
        self._held_bytes = 0
        self._is_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completes. Raises MalformedResponse if one grows too large."""
        if b"\r" in data or (self._partial and self._partial[-1].endswith(b"\r")):
            data = self._with_line_feeds(data)
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(self._partial, data)
            return []
        text, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self._partial:
            text = b"".join((*self._partial, text))
            self._held_bytes -= sum(map(len, self._partial))
            self._partial.clear()
        if self._is_start:
            self._is_start = False
            text = text.removeprefix(_BYTE_ORDER_MARK)
        events = self._whole(text) if not self._lines and text.endswith(b"\n\n") else self._by_line(text)
        if rest:
            self._hold(self._partial, rest)
        return events

    def flush(self) -> list[bytes]:
        """Return what the end of the stream would complete. By the standard such an event does not count."""
        return self.feed(b"\n\n")

    def _whole(self, text: bytes) -> list[bytes]:
        """The common case: nothing but whole events."""
        events = []
        for block in text[:-2].split(b"\n\n"):
            if block[:6] == b"data: " and b"\n" not in block:
                events.append(block[6:])
            else:
                events += self._by_line(block + b"\n\n")
        return events

    def _by_line(self, text: bytes) -> list[bytes]:
        events = []
        for line in text[:-1].split(b"\n"):
            if not line:
                if self._lines:
                    events.append(b"\n".join(self._lines))
                    self._held_bytes -= sum(map(len, self._lines))
                    self._lines.clear()
            elif line.startswith(b"data:"):
                self._hold(self._lines, line[6:] if line[5:6] == b" " else line[5:])
            elif line == b"data":
                self._hold(self._lines, b"")
        return events

    def _hold(self, kept: list[bytes], data: bytes) -> None:
        kept.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._max_bytes:
            raise MalformedResponse(f"An event of the stream is longer than {self._max_bytes} bytes.")

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Rewrite the line ends CR LF and CR. A CR at the very end is kept until it is known what follows."""
        if self._partial and self._partial[-1].endswith(b"\r"):
            self._partial[-1] = self._partial[-1][:-1]
            self._held_bytes -= 1
            data = b"\r" + data
        if data.endswith(b"\r"):
            return data[:-1].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
