"""Stands before a store and makes it slow and unreliable: a process of its own that passes bytes on, fast enough for a whole
fleet. What it did is counted and written as JSON when it is told to end.

    python -m tests.faults.fleet_front UPSTREAM_PORT SEED COUNTS_FILE      the first line of output is its port"""
import asyncio
import json
import random
import signal
import sys
from collections import Counter

ERROR = "<Error><Code>{}</Code><Message>made up</Message><RequestId>front</RequestId></Error>"
# Of a thousand requests; the rest passes at once.
PER_THOUSAND = {"slow": 300, "very slow": 4, "SlowDown": 10, "InternalError": 5, "error in a 200": 5, "answer lost": 5}
SLOW_SECONDS, VERY_SLOW_SECONDS = (0.05, 0.4), (2, 4)


def choose(dice, is_copy):
    number = dice.randrange(1000)
    for name, share in PER_THOUSAND.items():
        if number < share:
            return None if name == "error in a 200" and not is_copy else name
        number -= share
    return None


def made_up(fault):
    status, code = {"SlowDown": ("503 Slow Down", "SlowDown"), "InternalError": ("500 Internal Server Error", "InternalError"),
                    "error in a 200": ("200 OK", "InternalError")}[fault]
    body = ERROR.format(code)
    return f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


class Upstream(asyncio.Protocol):
    def __init__(self, client):
        self.client = client

    def data_received(self, data):
        if self.client.loses_answer:
            self.client.transport.close()
            self.transport.close()
        else:
            self.client.transport.write(data)

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _):
        self.client.transport.close()


class Client(asyncio.Protocol):
    """One request at a time, as libcurl sends them without pipelining."""

    def __init__(self, front):
        self.front, self.upstream, self.loses_answer = front, None, False
        self.rest, self.body_left = b"", 0
        self.chunks = asyncio.Queue()

    def connection_made(self, transport):
        self.transport = transport
        self.task = asyncio.get_running_loop().create_task(self.serve())

    def data_received(self, data):
        self.chunks.put_nowait(data)

    def connection_lost(self, _):
        self.task.cancel()
        if self.upstream is not None:
            self.upstream.close()

    async def serve(self):
        while True:
            while b"\r\n\r\n" not in self.rest:
                self.rest += await self.chunks.get()
            head, _, self.rest = self.rest.partition(b"\r\n\r\n")
            lower = head.lower()
            length = lower.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            length = int(length or 0)
            while len(self.rest) < length:
                self.rest += await self.chunks.get()
            body, self.rest = self.rest[:length], self.rest[length:]
            await self.answer(head + b"\r\n\r\n" + body, b"\r\nx-amz-copy-source:" in lower)

    async def answer(self, request, is_copy):
        fault = choose(self.front.dice, is_copy)
        self.front.counts[fault or "passed"] += 1
        if fault in ("SlowDown", "InternalError", "error in a 200"):
            self.transport.write(made_up(fault))
            return
        if fault in ("slow", "very slow"):
            await asyncio.sleep(self.front.dice.uniform(*(SLOW_SECONDS if fault == "slow" else VERY_SLOW_SECONDS)))
        if self.upstream is None:
            try:
                self.upstream, _ = await asyncio.get_running_loop().create_connection(
                    lambda: Upstream(self), "127.0.0.1", self.front.port)
            except OSError:
                self.transport.close()
                return
        self.loses_answer = fault == "answer lost"
        self.upstream.write(request)


class Front:
    def __init__(self, port, seed):
        self.port, self.dice, self.counts = port, random.Random(f"front {seed}"), Counter()


async def main(port, seed, counts_file):
    front = Front(port, seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(front), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    with open(counts_file, "w") as file:
        json.dump(front.counts, file)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
