"""Stored bytes made small: most records of a journal look alike, and text has room in it.

A packed record begins with a byte that no msgpack begins with, so what is not packed stays what it is. Then comes the
form: deflate with a dictionary of what typical entries begin with, or Zstandard for what is long.
"""

from __future__ import annotations

import base64
import struct
import zlib

import pyarrow as pa

_PACKED = 0xC1
_DEFLATE, _ZSTD = 1, 2
_HEADER = struct.Struct("<BBI")
"""`_PACKED`, form, size of the record."""
_ZSTD_CODEC = pa.Codec("zstd", compression_level=1)
_MIN_BYTES = 192
_LONG_BYTES = 16 * 1024

# The bytes of two typical entries. It is needed to read what was packed with it: another one needs a form of its own.
_DICTIONARY = base64.b85decode(
    b"hof_4am@iOq-$wzWUO>`a&BL9bYXIIWn`vfb#ilWa)hLGb#iWGrgL;*baiv5a&>NQX>MnvZf|5|reSV#cV%*=b97~Ja{{7abjv~7!7aQVxKgHMWo"
    b"&d|bCJaXPy*0WQK$$2003|U003Af_F8Rab8}&5Wpkqc|NsB^0ssIM0098d3;-4Y1^@*B2mlNK3=;r=0|WpV0001R3;+QF0PzS402lxa00aOC015y"
    b"A0Q>;}01yBG00A5T0s;UM9tQvq0ssON2o?YY2mk~E01prV1q2uX0Av6F0ss&M1ppxc0F(d-0ssJ{000621TX*)APoRP000051^_Ss04N0j2Lb>D5"
    b"C8-)02eSE000621P}lO*Z>eX6#xe?01-eA00sg81P}lOFaQ%s8vq1g025FU00aU64-fza1TX*;SSbJl0ss#X00jgP0TW;-00aU64-fza1TX*;Xej"
    b"^#0ss#X00jgv00sa81_A&8AOZyN00aU64-fz~1V{i62ml2S0suJ#WB>r{07P|jWpZ2q06YRzXk~0{ZxH|w0st#e000000Ht+vVP|E4qGEZbXm4|L"
    b"Eis9sb7gVO0WG9!X>Me#b97~JUuJ1;X>(|0WTs<va&vETgrszJa&Ba%b97;Jb#te3b#88HZfB%!Z)9brVQzDGWpbr+bY*aJ0-|Ab%R$<~ExaDMQm"
    b"S)wVRCe3WM5%)%R$<~ExZ|-nxt-TWM!sdZgY2Ka;9WuY;<9Bk;MT}0?<-Xs0aW60C)oc04*BCd~IcOb75y?bE5zM|Nr;`000yK0RYep02TlS00jU"
    b"D01N;O699k%1OONS004Ll009C3@dye47yt|a1ONyC3IG5A`~d&}5C8xG0UQ7V0ss;o2LKNO00I*T761eY00aU64-fza1Q-ASWB>pH01ycU06_o%0"
    b"3Zec1_A&C5C8-)023%1022iW0243>00aU61P}lOFaQ)d82|$U00a;K1lRx*Ko|f7FaQ%s5C8-M00a;K1TX*-P#FLOFaQ%+5C8-M01prV1q3hv6ks"
    b"U;0|EdK5C8=e1RwwtXb1oV0ss#X00jgv02FX300RO54-fza1TX*w00IUA001BY1n>X^0ss#X05t?i01pTN1rGuMIRs<?09*o>VRLh7b97;DbYTDh"
    b"L;_c6Wo&G36aWtb04PuZ00000rFC;*XJvz}aB^>LaCBdEZ);_4bIi!GV{dJ6Y-Mz5Z*E_7Z);_4bIi!4V_|G;a{;1ad8%f0Zew(5Z*DC!"
)


def pack(record: bytes) -> bytes:
    """`record`, which is msgpack, in a shorter form if there is one."""
    if len(record) < _MIN_BYTES:
        return record
    if len(record) < _LONG_BYTES:
        compressor = zlib.compressobj(1, wbits=-zlib.MAX_WBITS, zdict=_DICTIONARY)
        form, body = _DEFLATE, compressor.compress(record) + compressor.flush()
    else:
        form, body = _ZSTD, _ZSTD_CODEC.compress(record, asbytes=True)
    packed = _HEADER.pack(_PACKED, form, len(record)) + body
    return packed if len(packed) < len(record) else record


def unpack(blob: bytes) -> bytes:
    """The record that `pack` was given. Raises `ValueError` for what it has not made."""
    if not blob or blob[0] != _PACKED:
        return blob
    try:
        _, form, size_bytes = _HEADER.unpack_from(blob)
        body = blob[_HEADER.size :]
        if form == _DEFLATE:
            record = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_DICTIONARY).decompress(body, size_bytes + 1)
        elif form == _ZSTD:
            record = _ZSTD_CODEC.decompress(body, size_bytes, asbytes=True)
        else:
            raise ValueError(f"it is packed in the unknown form {form}")
    except (struct.error, zlib.error, OSError) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    if len(record) != size_bytes:
        raise ValueError(f"it has {len(record)} bytes, not {size_bytes}")
    return record
