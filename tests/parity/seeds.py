"""The seeded differences: how each changes a response, and (in EXPECTED) which check of parity must find it, in which words."""

import json
from dataclasses import dataclass, field


@dataclass
class Response:
    status: int
    content_type: str
    message: dict | None
    raw: bytes = b""
    raw_wins: bool = False
    truncated: bool = False
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)

    def become(self, status: int, content_type: str, raw: bytes) -> None:
        self.status, self.content_type, self.raw, self.raw_wins = status, content_type, raw, True


SEEDS = {}
# name -> [(check, words, verdict)]; the first is what the seed is, the others are what follows from it.
EXPECTED: dict[str, list[tuple[str, str, str]]] = {}
MODERN_ONLY: set[str] = set()


def seed(name: str, *expected: tuple[str, str, str], modern_only: bool = False):
    def declare(function):
        SEEDS[name] = function
        EXPECTED[name] = list(expected)
        if modern_only:
            MODERN_ONLY.add(name)
        return function

    return declare


def on_tools(change):
    """Changes the list of tools in the response to tools/list."""

    def apply(request, response, turn):
        if request.get("method") == "tools/list" and "result" in response.message:
            change(response.message["result"]["tools"], turn)

    return apply


def on_schema(tool: str, change):
    def apply(tools, _turn):
        change(next(each for each in tools if each["name"] == tool)["inputSchema"])

    return on_tools(apply)


def on_handshake(change):
    def apply(request, response, _turn):
        if request.get("method") in ("initialize", "server/discover") and "result" in response.message:
            change(response.message["result"])

    return apply


def on_call(tool: str, change):
    def apply(request, response, turn):
        if request.get("method") == "tools/call" and request["params"]["name"] == tool:
            change(response, turn)

    return apply


def on_json(tool: str, change):
    """Changes the JSON that a tool returns as text."""

    def apply(response, turn):
        block = response.message["result"]["content"][0]
        value = json.loads(block["text"])
        block["text"] = json.dumps(change(value, turn) or value)

    return on_call(tool, apply)


def on_method(method: str, change):
    def apply(request, response, _turn):
        if request.get("method") == method:
            change(response)

    return apply


def properties(schema, name):
    return schema["properties"][name]


BREAK, NOTE, COMPATIBLE = "break", "note", "compatible"
COUNTS = ("tool-counts", "another number of tools", BREAK)
DESCRIBED = ("self-description", "not in tools/list", BREAK)
UNDESCRIBED = ("self-description", "but not named by", BREAK)


def drop(tools, name):
    tools[:] = [tool for tool in tools if tool["name"] != name]


def names_a_tool(tools, _turn):
    next(tool for tool in tools if tool["name"] == "fails")["name"] = "failed"


# The tools.
seed("tool-missing", ("tool-names", "tool missing on the candidate", BREAK), COUNTS, DESCRIBED)(
    on_tools(lambda tools, _: drop(tools, "panda_get_job")))
seed("tool-added", ("tool-names", "tool only on the candidate", BREAK), UNDESCRIBED)(
    on_tools(lambda tools, _: tools.append({"name": "new", "inputSchema": {"type": "object"}})))
seed("tool-renamed", ("tool-names", "tool missing on the candidate", BREAK), DESCRIBED, UNDESCRIBED)(on_tools(names_a_tool))
seed("tool-twice", ("tool-names", "listed twice", BREAK))(on_tools(lambda tools, _: tools.append(dict(tools[-1]))))
seed("tools-none", ("tool-names", "tool missing on the candidate", BREAK), COUNTS,
     ("instructions-tool", "does not return the instructions", BREAK), ("self-description", "no list of tools", BREAK))(
    on_tools(lambda tools, _: tools.clear()))
seed("order-unstable", ("tool-names", "unstable on the candidate", BREAK))(
    on_tools(lambda tools, turn: tools.reverse() if turn % 2 else None))
seed("order-differs", ("tool-names", "order of the tools differs", NOTE))(on_tools(lambda tools, _: tools.reverse()))
seed("description-drifts", ("schemas", "description differs", NOTE))(
    on_tools(lambda tools, _: tools[0].update(description="Something else.")))

# Their arguments.
seed("required-parameter-added", ("schemas", "required parameter added", BREAK), ("self-description", "other parameters", NOTE))(
    on_schema("fails", lambda schema: (schema["properties"].update(token={"type": "string"}), schema.update(required=["token"]))))
seed("optional-parameter-added", ("schemas", "optional parameter added", COMPATIBLE), ("self-description", "other parameters", NOTE))(
    on_schema("fails", lambda schema: schema["properties"].update(verbose={"type": "boolean", "default": False})))
seed("parameter-removed", ("schemas", "parameter removed", BREAK), ("self-description", "other parameters", NOTE))(
    on_schema("swf_list_logs", lambda schema: schema["properties"].pop("app_name")))
seed("became-required", ("schemas", "became required", BREAK))(
    on_schema("swf_list_logs", lambda schema: schema.update(required=["limit"])))
seed("became-optional", ("schemas", "became optional", COMPATIBLE))(on_schema("panda_get_job", lambda schema: schema.pop("required")))
seed("type-changed", ("schemas", "type changed", BREAK))(
    on_schema("panda_get_job", lambda schema: properties(schema, "pandaid").update(type="string")))
seed("type-widened", ("schemas", "type widened", COMPATIBLE))(
    on_schema("panda_get_job", lambda schema: properties(schema, "pandaid").update(type=["integer", "string"])))
seed("enum-narrowed", ("schemas", "enum narrowed", BREAK))(
    on_schema("swf_list_logs", lambda schema: properties(schema, "level").update(enum=["info"])))
seed("enum-widened", ("schemas", "enum widened", COMPATIBLE))(
    on_schema("swf_list_logs", lambda schema: properties(schema, "level")["enum"].append("debug")))
seed("enum-introduced", ("schemas", "enum narrowed", BREAK))(
    on_schema("pcs_search_tags", lambda schema: properties(schema, "query").update(enum=["x"])))
seed("default-changed", ("schemas", "default changed", BREAK))(
    on_schema("swf_list_logs", lambda schema: properties(schema, "limit").update(default=10)))
seed("bound-introduced", ("schemas", "bound tightened", BREAK))(
    on_schema("swf_list_logs", lambda schema: properties(schema, "limit").update(maximum=50)))
seed("pattern-introduced", ("schemas", "constraint changed", BREAK))(
    on_schema("pcs_search_tags", lambda schema: properties(schema, "query").update(pattern="^[a-z]+$")))
seed("unknown-refused", ("schemas", "unknown parameters are refused", BREAK))(
    on_schema("fails", lambda schema: schema.update(additionalProperties=False)))
seed("items-narrowed", ("schemas", "type narrowed", BREAK))(
    on_schema("pcs_search_tags", lambda schema: properties(schema, "tags").update(items={"type": "integer"})))
seed("schema-missing", ("schemas", "inputSchema missing on the candidate", BREAK), ("self-description", "other parameters", NOTE))(
    on_tools(lambda tools, _: next(tool for tool in tools if tool["name"] == "panda_get_job").pop("inputSchema")))

# Identity and instructions.
seed("name-differs", ("server-name", "not the expected one", BREAK))(
    on_handshake(lambda result: (result.get("serverInfo") or next(iter(result["_meta"].values()))).update(name="django_mcp_server")))
seed("name-missing", ("server-name", "serverInfo.name missing", BREAK))(
    on_handshake(lambda result: (result.pop("serverInfo", None), result.pop("_meta", None))))
seed("tools-not-announced", ("server-name", "capability not announced", BREAK))(on_handshake(lambda result: result["capabilities"].pop("tools")))
seed("instructions-one-byte", ("instructions", "text differs", BREAK))(
    on_handshake(lambda result: result.update(instructions=result["instructions"].replace("→", "⇒"))))
seed("instructions-newline", ("instructions", "only white space", BREAK))(
    on_handshake(lambda result: result.update(instructions=result["instructions"].rstrip("\n"))))
seed("instructions-missing", ("instructions", "instructions missing", BREAK))(on_handshake(lambda result: result.pop("instructions")))
seed("instructions-tool-differs", ("instructions-tool", "text differs", BREAK))(
    on_call("get_server_instructions", lambda response, _: response.message["result"]["content"][0].update(text="Something else.")))
seed("instructions-tool-fails", ("instructions-tool", "does not return the instructions", BREAK))(
    on_call("get_server_instructions", lambda response, _: response.message["result"].update(isError=True)))
seed("self-description-short", ("self-description", "but not named by", BREAK))(
    on_call("swf_list_available_tools", lambda response, _: response.message["result"]["content"].pop()))
seed("self-description-empty", ("self-description", "no list of tools", BREAK))(
    on_call("swf_list_available_tools", lambda response, _: response.message["result"]["content"].clear()))

# Responses.
seed("value-differs", ("calls", "value differs", BREAK))(on_json("panda_get_job", lambda job, _: job.update(status="failed")))
seed("field-missing", ("calls", "missing on the candidate", BREAK))(on_json("panda_get_job", lambda job, _: job.pop("site") and None))
seed("field-added", ("calls", "only on the candidate", COMPATIBLE))(on_json("panda_get_job", lambda job, _: job.update(extra=1)))
seed("field-retyped", ("calls", "type differs", BREAK))(on_json("panda_get_job", lambda job, _: job.update(pandaid="7")))
seed("field-unstable", ("calls", "unstable on the candidate", BREAK))(on_json("panda_get_job", lambda job, turn: job.update(site=str(turn))))
seed("list-shorter", ("calls", "length differs", BREAK))(on_json("swf_list_logs", lambda logs, _: logs.update(items=logs["items"][:1])))
seed("list-reordered", ("calls", "order differs", BREAK))(on_json("swf_list_logs", lambda logs, _: logs["items"].reverse()))
seed("call-fails", ("calls", "value differs", BREAK))(
    on_call("panda_get_job", lambda response, _: response.message["result"].update(isError=True)))
seed("call-refused", ("calls", "only on the candidate", COMPATIBLE), ("calls", "missing on the candidate", BREAK))(
    on_call("panda_get_job", lambda response, _: (response.message.pop("result"), response.message.update(error={"code": -32603, "message": "boom"}))))
seed("call-hangs", ("calls", "no whole answer within", BREAK))(on_call("panda_get_job", lambda response, _: setattr(response, "delay", 1.6)))

# Time, and servers that are half dead.
LIST = [("tool-names", "does not list its tools", BREAK), ("schemas", "does not list its tools", BREAK),
        ("instructions-tool", "does not return the instructions", BREAK), ("self-description", "no list of tools", BREAK)]
GONE = [("eras", "the candidate fails to answer", BREAK)]
seed("ten-times-slower", ("latency", "times slower", BREAK))(on_method("tools/list", lambda response: setattr(response, "delay", 0.15)))
seed("list-is-html", *LIST)(on_method("tools/list", lambda response: response.become(200, "text/html", b"<html>\x1b[2J maintenance")))
seed("list-is-502", *LIST)(on_method("tools/list", lambda response: response.become(502, "text/html", b"<html>Bad Gateway")))
seed("list-is-truncated", *LIST)(on_method("tools/list", lambda response: setattr(response, "truncated", True)))
seed("list-is-garbage", *LIST)(on_method("tools/list", lambda response: response.become(200, "application/json", b'{"jsonrpc":"2.0","id":')))
seed("list-answers-another", *LIST)(on_method("tools/list", lambda response: response.message.update(id="another")))
seed("list-lacks-tools", *LIST)(on_method("tools/list", lambda response: response.message["result"].pop("tools")))
seed("list-pages-repeat", *LIST)(on_method("tools/list", lambda response: response.message["result"].update(nextCursor="again")))
seed("initialize-is-500", *GONE)(on_method("initialize", lambda response: response.become(500, "text/plain", b"Internal Server Error")))
seed("initialize-lacks-version", *GONE)(on_method("initialize", lambda response: response.message["result"].pop("protocolVersion")))
seed("era-lost", ("eras", "era lost", BREAK), modern_only=True)(
    on_method("server/discover", lambda response: response.become(400, "application/json", b'{"jsonrpc":"2.0","id":"server-error","error":'
                                                               b'{"code":-32600,"message":"Unsupported protocol version"}}')))

# Requests without rights.
MATRIX = "auth-matrix"
DOORS = {
    "door-good": [],
    "door-no-token-passes": [(MATRIX, "no token", BREAK)],
    "door-wrong-token-passes": [(MATRIX, "wrong token", BREAK)],
    "door-wrong-token-401": [(MATRIX, "403 required", BREAK)],
    "door-get-passes": [(MATRIX, "405 required", BREAK)],
    "door-get-without-allow": [(MATRIX, "Allow is not POST", BREAK)],
    "door-health-missing": [(MATRIX, "200 required", BREAK)],
    "door-health-says-unhealthy": [(MATRIX, "neither", BREAK)],
}
EXPECTED.update(DOORS)


def door(name: str, method: str, path: str, authorization: str | None) -> Response | None:
    """The local reply of a guard; `None` forwards the request. Each seed has one fault."""

    def refusal(status, body, **headers):
        return Response(status, "application/json", body, headers=headers)

    if path.endswith("/health"):
        if name == "door-health-missing":
            return refusal(404, {"error": "Not found"})
        return refusal(200, {"status": "unhealthy" if name == "door-health-says-unhealthy" else "ok"})
    if method != "POST":
        allow = {} if name == "door-get-without-allow" else {"Allow": "POST"}
        return refusal(200 if name == "door-get-passes" else 405, {"error": "POST only"}, **allow)
    if authorization is None:
        return None if name == "door-no-token-passes" else refusal(401, {"error": "Authorization required"})
    if authorization != "Bearer good" and name != "door-wrong-token-passes":
        return refusal(401 if name == "door-wrong-token-401" else 403, {"error": "Invalid token"})
    return None
