"""FastMCP of the Python SDK 1.30 as it is by default: sessions, event streams, questions to the client. Usage: stateful1.py PORT"""

import sys

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent

server = FastMCP("stateful", host="127.0.0.1", port=int(sys.argv[1]))


@server.tool()
async def ask(question: str, ctx: Context) -> str:
    """Ask the client's model; the question goes to the session's own stream, not to that of the call."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=question))
    answer = await ctx.session.create_message(messages=[message], max_tokens=10)
    return answer.content.text


server.run(transport="streamable-http")
