"""A model API that wants one tool once: a client of a model shows how it calls, without a model."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ScriptedModel:
    """Wants `tool` with `arguments`, and ends when it has the result, which it keeps."""

    def __init__(self, tool: str, arguments: dict):
        self.results: list[dict] = []
        self._use = (tool, arguments)
        model = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):  # noqa: N802, the name that the base class calls
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = model._events(asked).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _events(self, asked: dict) -> str:
        parts = [part for message in asked["messages"] if isinstance(message["content"], list) for part in message["content"]]
        self.results += [part for part in parts if part["type"] == "tool_result"]
        tool, arguments = self._use
        if tool in [offered["name"] for offered in asked.get("tools", [])] and not self.results:
            block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
            delta, stop = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}, "tool_use"
        else:
            block, delta, stop = {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"}, "end_turn"
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
        events = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ]
        return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
