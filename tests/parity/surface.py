"""The tools that every server of the parity tests offers: the shapes of parameters that the real site has."""

from typing import Literal


def register(server, instructions: str, *, instructions_tool: bool = True) -> None:
    """Declares the tools on a FastMCP, an MCPServer or a DjangoMCP: their decorators are the same."""

    if instructions_tool:

        @server.tool()
        def get_server_instructions() -> str:
            """Return the server's instructions."""
            return instructions

    @server.tool()
    async def swf_list_available_tools():
        """List every tool of this server."""
        return [{"name": tool.name, "parameters": sorted(tool_parameters(tool))} for tool in await server.list_tools()]

    @server.tool()
    def swf_list_logs(app_name: str = None, level: Literal["info", "error"] = "info", limit: int = 100):
        """List log entries."""
        return {"items": [{"id": 1, "text": "started"}, {"id": 2, "text": "stopped"}], "total_count": 2, "has_more": False}

    @server.tool()
    def panda_get_job(pandaid: int):
        """One job."""
        return {"pandaid": 7, "status": "finished", "site": "BNL_PanDA_1"}

    @server.tool()
    def panda_harvester_workers(site: str | None = None, hours: int = 1):
        """Workers of a site."""
        return "no workers"

    @server.tool()
    def pcs_search_tags(query: str, tag_type: str = None, tags: list = None, filters: dict = None):
        """Search tags."""
        return "no tags"

    @server.tool()
    def fails(reason: str = "as asked"):
        """Always fails."""
        raise RuntimeError(reason)


def tool_parameters(tool) -> list[str]:
    schema = getattr(tool, "inputSchema", None) or getattr(tool, "input_schema", {})
    return list(schema.get("properties", {}))
