"""
A proxy for CONNECT, run as a process: `python -m tests.transports.connect_proxy CREDENTIALS PEM`.

It connects to the port on this machine, whatever the host is. It prints its port and then, for each
connection, the head of the request. With PEM, the path of a key and certificate, it speaks TLS.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys
from contextlib import suppress


async def main(credentials: str, pem: str = "") -> None:
    """Serve until standard input ends."""
    expected = b"Basic " + base64.b64encode(credentials.encode())
    context = None
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        sys.stdout.write(f"{head!r}\n")
        sys.stdout.flush()
        if credentials and expected not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        port = head.split()[1].rpartition(b":")[2]
        reader_of_target, target = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(copy(reader, target), copy(reader_of_target, writer))

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
