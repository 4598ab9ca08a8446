"""Exact reads over pieces of bytes that arrive in any size."""

from __future__ import annotations

from collections.abc import Iterator


class ByteStream:
    """Reads a stream of pieces by exact counts, copying small reads only."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0

    def read(self, count: int) -> bytes:
        """The next COUNT bytes; fewer only at the end of the stream."""
        end = self._at + count
        if end <= len(self._piece):
            data = self._piece[self._at : end]
            self._at = end
            return data
        return b"".join(self.views(count))

    def views(self, count: int) -> Iterator[memoryview]:
        """The next COUNT bytes as they lie in the pieces; fewer only at the end of the stream."""
        while count:
            have = len(self._piece) - self._at
            if not have:
                self._piece = next(self._pieces, b"")
                self._at = 0
                if not self._piece:
                    return
                continue
            take = min(have, count)
            # Moved on before the view is handed out: a reader that stops early has still consumed it.
            start, self._at = self._at, self._at + take
            count -= take
            yield memoryview(self._piece)[start : start + take]

    def skip(self, count: int) -> int:
        """Pass over COUNT bytes; the number really passed."""
        if self._at + count <= len(self._piece):
            self._at += count
            return count
        return sum(len(view) for view in self.views(count))

    def drain(self) -> None:
        """Read to the end of the stream, so that whoever hashes it sees all of it."""
        self._piece, self._at = b"", 0
        for _ in self._pieces:
            pass
