"""An endpoint that answers every chat completion after a fixed wait, in a process of its own.

    python -m benchmarks._mock [--latency 0.02]        prints its port, serves until stdin is closed

Where a JSON schema is asked for it fills in the schema, else it writes a sentence; both
carry the number of the answer, so that no two are the same.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["mock", "run"]

MODEL = "mock"


def run(main: Any) -> Any:
    """`asyncio.run` on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@contextmanager
def mock(latency: float = 0.02) -> Iterator[str]:
    """The URL of a mock in a second process, up to and with `/v1`; it ends with the block."""
    command = [sys.executable, "-m", "benchmarks._mock", "--latency", str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()
            process.wait(10)


def _filled(schema: dict[str, Any], number: int) -> Any:
    """A value that fits `schema`, as far as the schemas of plans go."""
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    if schema.get("type") == "object":
        return {name: _filled(each, number) for name, each in schema["properties"].items()}
    return {"integer": number, "number": number / 8, "boolean": number % 2 == 0}.get(
        str(schema.get("type")), f"Message {number}: my card did not come back from the machine."
    )


async def _serve(latency: float) -> None:
    from aiohttp import web

    numbers = itertools.count()

    async def answer(request: web.BaseRequest) -> web.Response:
        asked = json.loads(await request.read())
        number = next(numbers)
        await asyncio.sleep(latency)
        schema = asked.get("response_format", {}).get("json_schema", {}).get("schema")
        text = json.dumps(_filled(schema, number)) if schema else _filled({}, number)
        told = {
            "id": f"chat-{number}",
            "object": "chat.completion",
            "model": MODEL,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 50, "completion_tokens": 14, "total_tokens": 64},
        }
        return web.Response(body=json.dumps(told).encode(), content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before each answer")
    run(_serve(parser.parse_args().latency))
