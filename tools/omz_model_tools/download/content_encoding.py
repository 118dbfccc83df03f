"""Decode a body that a server compressed, though it was asked not to."""

import zlib
from collections.abc import Iterable, Iterator

PIECE = 1 << 18  # bytes that one step decodes to at most, however few it decodes them from
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib finds out by the header


class UndecodableError(Exception):
    """The body is not what its Content-Encoding says."""


def decode(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield what gzip or deflate compressed, in bounded pieces, an empty one for each step that gives no bytes.

    A body may have several members (RFC 1952, section 2.2); what follows the last and is none is left out, as browsers
    do. Raises UndecodableError.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        raise UndecodableError(f"its encoding is {encoding}, which was not asked for")
    decoder, members, is_between = zlib.decompressobj(GZIP_OR_ZLIB), 0, True
    for chunk in chunks:
        rest, piece = chunk, b""
        while rest or len(piece) == PIECE:  # a full piece: the decoder may hold more of what it has read
            try:
                piece = decoder.decompress(rest, PIECE)
            except zlib.error as error:
                if not members:
                    raise UndecodableError(f"it is not {encoding}: {error}") from None
                piece = rest = b""
                is_between = True
            else:
                rest, is_between = decoder.unconsumed_tail, decoder.eof
                if decoder.eof:
                    rest, members = decoder.unused_data, members + 1
                    decoder = zlib.decompressobj(GZIP_OR_ZLIB)
            yield piece
    if not (is_between and members):
        raise UndecodableError(f"it ends within its {encoding}")
