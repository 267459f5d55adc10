"""Valid responses, and some invalid ones, from which the fuzzers start."""

from __future__ import annotations

from typing import Final

from tests.fuzz.properties import CHECKS, NAMES, SIGNED_QUERY, STATUSES

_ROW: Final = b'{"currency":"usdt","type":"trade","balance":"91.850043797676510303"'
_ROWS: Final = _ROW + b',"debt":"invalid"},' + _ROW + b',"available":0.5e-3,"seq-num":"477"}'
_POINTS: Final = (
    b'{"accountId":"14403739","groupIds":[{"groupId":26,"expiryDate":1594396800000,'
    b'"remainAmt":"0.3"}],"acctBalance":0.30000000,"accountStatus":"working"}'
)
_DATA: Final = (
    b'[{"id":1000001,"type":"spot","subtype":"","state":"working"}]',
    b'{"id":1000001,"type":"spot","state":"working","list":[%b]}' % _ROWS,
    _POINTS,
    b'{"balance":"34.75","timestamp":1594901254363}',
)
_OTHERS: Final = (
    b'{"code":1003,"message":"invalid signature","success":false}',
    b'{"status":"error","err-code":"api-signature-not-valid","err-msg":"%b"}'
    % SIGNED_QUERY.encode(),
    b"<!DOCTYPE html><title>502 Bad Gateway</title>" + SIGNED_QUERY.encode(),
    b'{"code":"200","ok":"false"}',
    b"",
    b'\xff\xfe{"status":',
    b'{"code":200,"data":[],"succ\xffess":false}',
    b'{"status":"error","err-code":"login-required","err-msg":"[\xb4\xed\xce\xf3"}',
    b'{"status":"ok","data":[],"message":"\\udc00","ts":%b}' % (b"9" * 5_000),
)
WORDS: Final = (
    *(b'"status"', b'"ok"', b'"error"', b'"code"', b"200", b'"data"', b'"err-code"', b'"err-msg"'),
    *(b'"success"', b"false", b"true", b"null", b'"ts"', b"1e999", b"-0", b"0.1", b"NaN"),
    *(b'"id"', b'"type"', b'"state"', b'"list"', b'"subtype"', b'"currency"', b'"balance"'),
    *(b'"debt"', b'"available"', b'"seq-num"', b'"accountId"', b'"accountStatus"'),
    *(b'"acctBalance"', b'"groupIds"', b'"groupId"', b'"expiryDate"', b'"remainAmt"'),
    *(
        b'"timestamp"',
        b"253402300800000",
        b"\\u0660",
        b"\\ud800",
        b"\xef\xbb\xbf",
        b"\xff",
        b"9" * 400,
        b"Signature=",
    ),
)


def seeds() -> list[bytes]:
    """Return the seeds: their first two bytes choose the check."""
    envelopes = [b'{"status":"ok","data":%b}' % item for item in _DATA]
    envelopes += [b'{"code":200,"message":"success","data":%b}' % item for item in _DATA]
    data = [bytes([3, index]) + item for index, item in enumerate(_DATA)]
    bodies = [bytes([4, index % len(NAMES)]) + body for index, body in enumerate(envelopes)]
    statuses = [
        bytes([0, status]) + body
        for body in (*envelopes, *_OTHERS)
        for status in range(len(STATUSES))
    ]
    dated = [bytes([1, 0]) + b"Tue, 14 Nov 2023 22:13:20 GMT".ljust(40) + envelopes[0]]
    later = [bytes([2, 0]) + b"1.5".ljust(9) + _OTHERS[0]]
    everything = [*data, *bodies, *statuses, *dated, *later]
    assert all(seed[0] < len(CHECKS) for seed in everything)
    return everything
