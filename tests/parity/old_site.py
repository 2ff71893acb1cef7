"""The old backend in miniature: django-mcp-server 0.5.7 below /swf-monitor/mcp/ under uvicorn, as the site ran it.

Usage: old_site.py PORT|SOCKET INSTRUCTIONS_FILE [--strict]

With --strict it has the middleware that the site put in front: POST only, no event streams, no bearer token.
"""

import sys
import types
from pathlib import Path

import django
import uvicorn
from django.conf import settings
from django.http import JsonResponse

place, instructions = sys.argv[1], Path(sys.argv[2]).read_text()
strict = "--strict" in sys.argv


class Door:
    """What stood before the old endpoint."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.method != "POST":
            allowed = {"error": "MCP endpoint accepts POST JSON-RPC only", "allowed_methods": ["POST"]}
            return JsonResponse(allowed, status=405, headers={"Allow": "POST"})
        if "text/event-stream" in request.headers.get("Accept", ""):
            return JsonResponse({"error": "Streaming is not available"}, status=406)
        if request.headers.get("Authorization", "").startswith("Bearer "):
            return JsonResponse({"error": "Invalid token"}, status=401)
        return self.get_response(request)


site = types.ModuleType("old_site_config")
site.Door = Door
sys.modules["old_site_config"] = site
settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="old_site_config",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.auth", "mcp_server"],
    MIDDLEWARE=["old_site_config.Door"] if strict else [],
    DATABASES={},
    DJANGO_MCP_ENDPOINT="",
    DJANGO_MCP_GLOBAL_SERVER_CONFIG={"name": "swf-testbed", "instructions": instructions, "stateless": True},
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 - Django wants its settings first
from django.urls import include, path  # noqa: E402
from mcp_server import mcp_server  # noqa: E402
from surface import register  # noqa: E402

register(mcp_server, instructions, instructions_tool=False)
site.urlpatterns = [path("swf-monitor/mcp/", include("mcp_server.urls"))]
listens = {"uds": place} if "/" in place else {"host": "127.0.0.1", "port": int(place)}
uvicorn.run(get_asgi_application(), **listens, log_level="warning")
