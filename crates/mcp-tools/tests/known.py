"""The service that mcp-tools replaces, as far as its tool list goes: the 54 known tools on the library that served them.

Usage: known.py PORT TOOLS_JSON. Under the interpreter of the old site it is django-mcp-server, else FastMCP.
"""

import json
import sys
import types
from pathlib import Path

port, tools = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
TYPES = {"str": "str", "int": "int", "num": "float", "bool": "bool", "obj": "dict", "arr": "list", "str|null": "str | None"}
# The old library brings this tool itself.
OWN = "get_server_instructions"


def register(server, skip: set[str]) -> None:
    for tool in tools:
        if tool["name"] in skip:
            continue
        signature = ", ".join(
            f"{p['name']}: {TYPES[p['type']]}" + ("" if p["required"] else f" = {p['default']!r}") for p in tool["params"]
        )
        result = " -> str" if tool["name"] == OWN else ""
        made: dict = {}
        exec(f"def {tool['name']}({signature}){result}:\n    'As known.'\n    return ''\n", made)
        server.tool()(made[tool["name"]])


def serve_django() -> None:
    import django
    import uvicorn
    from django.conf import settings

    site = types.ModuleType("known_config")
    sys.modules["known_config"] = site
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="known_config",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.auth", "mcp_server"],
        DATABASES={},
        DJANGO_MCP_ENDPOINT="",
        DJANGO_MCP_GLOBAL_SERVER_CONFIG={"name": "swf-testbed", "instructions": "As known.", "stateless": True},
    )
    django.setup()
    from django.core.asgi import get_asgi_application
    from django.urls import include, path
    from mcp_server import mcp_server

    register(mcp_server, {OWN})
    site.urlpatterns = [path("mcp/", include("mcp_server.urls"))]
    uvicorn.run(get_asgi_application(), host="127.0.0.1", port=port, log_level="warning")


def serve_fastmcp() -> None:
    from mcp.server.fastmcp import FastMCP

    where = {"host": "127.0.0.1", "port": port, "streamable_http_path": "/mcp/"}
    server = FastMCP("swf-testbed", stateless_http=True, json_response=True, log_level="WARNING", **where)
    register(server, set())
    server.run(transport="streamable-http")


try:
    import django  # noqa: F401 - only to learn which interpreter this is
except ImportError:
    serve_fastmcp()
else:
    serve_django()
