"""A small orchestrator and a monitor's event stream, as Flask apps for gunicorn: REST, SSE, and a body of its own for health."""

import itertools
import time

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


def events(name: str):
    """Numbered events, a comment between them, until the reader leaves."""
    for number in itertools.count():
        yield f"id: {number}\nevent: progress\ndata: {name} {number}\n\n"
        time.sleep(0.1)
        yield ": keep-alive\n\n"


@app.get("/health")
def health():
    return jsonify(status="healthy", service="orchestrator", checks={"database": "ok"}, active_streams=0)


@app.get("/tools")
@app.get("/tools/<name>")
def tools(name: str = ""):
    return jsonify(tools=["orchestrate", "validate"], name=name, query=request.query_string.decode())


@app.post("/tools/<name>")
def run(name: str):
    response = jsonify(tool=name, got=request.get_json(), headers=dict(request.headers))
    response.set_cookie("session", "secret")
    return response


@app.get("/stream/<task>")
def stream(task: str):
    return Response(events(task), mimetype="text/event-stream")


@app.get("/swf-monitor/api/messages/stream/")
def messages():
    return Response(events(request.headers.get("X-MCP-Client", "nobody")), mimetype="text/event-stream")
