"""Python: json, once with the last of equal keys, once with the first. A line of hexadecimal in, a line of readings out."""

import json
import sys


def first_of_each(pairs: list) -> dict:
    return dict(reversed(pairs))


def text(value: object) -> str | None:
    return value.strip() if isinstance(value, str) else None


def read(body: bytes, **how) -> list | dict:
    try:
        message = json.loads(body, **how)
        params = message.get("params") or {}
        meta = params.get("_meta") or {}
        return [text(message.get("method")), text(params.get("name")), text(meta.get("io.modelcontextprotocol/protocolVersion"))]
    except (ValueError, RecursionError, AttributeError) as error:
        return {"error": repr(error)}


for line in sys.stdin:
    body = bytes.fromhex(line)
    print(json.dumps({"python": read(body), "python, first": read(body, object_pairs_hook=first_of_each)}), flush=True)
