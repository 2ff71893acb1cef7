"""A dual-era backend with something of everything: MCPServer of the Python SDK 2.3, with the fixtures the conformance suite asks for.

Usage: mcpserver2.py PORT INSTRUCTIONS_FILE [--sessions]

With --sessions it is as stateful as the old eras allow: session ids, progress and questions on the POST's event stream.
"""

import base64
import sys
from pathlib import Path
from typing import Annotated

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from pydantic import BaseModel, Field

port, instructions = int(sys.argv[1]), Path(sys.argv[2]).read_text()
sessions = "--sessions" in sys.argv[3:]
server = MCPServer("swf-testbed", instructions=instructions, log_level="WARNING")

PIXEL = base64.b64encode(bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)).decode()  # fmt: skip
SILENCE = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0").decode()


def embedded(text: str, mime: str = "text/plain") -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri="test://embedded-resource", mime_type=mime, text=text)
    return types.EmbeddedResource(type="resource", resource=contents)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PIXEL, mime_type="image/png")


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


@server.tool()
def get_server_instructions() -> str:
    """Return the server's instructions."""
    return instructions


@server.tool()
async def swf_list_available_tools() -> list:
    """List every tool of this server."""
    return [{"name": tool.name, "description": tool.description} for tool in await server.list_tools()]


@server.tool()
def test_simple_text() -> str:
    """Answers with a text."""
    return "This is a simple text response for testing."


@server.tool(structured_output=False)
def test_image_content() -> types.ImageContent:
    """Answers with an image."""
    return image()


@server.tool(structured_output=False)
def test_audio_content() -> types.AudioContent:
    """Answers with a sound."""
    return types.AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")


@server.tool(structured_output=False)
def test_embedded_resource() -> types.EmbeddedResource:
    """Answers with a resource."""
    return embedded("This is an embedded resource content.")


@server.tool(structured_output=False)
def test_multiple_content_types() -> list:
    """Answers with several kinds of content."""
    return [text("Multiple content types test:"), image(), embedded('{"test":"data","value":123}', "application/json")]


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Logs while it works."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(line)
    return "Tool with logging executed successfully"


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Reports progress while it works."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
    return "Tool with progress executed successfully"


@server.tool()
def test_error_handling() -> str:
    """Always fails."""
    raise RuntimeError("This tool intentionally returns an error for testing")


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Asks the client's model."""
    message = types.SamplingMessage(role="user", content=text(prompt))
    # Related to the call: the question travels on the call's own stream, not on a GET stream, which no POST-only endpoint has.
    answer = await ctx.session.create_message(messages=[message], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content}"


class Person(BaseModel):
    username: str = "user"
    email: str = "user@example.test"


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the client's user."""
    answer = await ctx.elicit(message=message, schema=Person)
    return f"User response: action={answer.action}"


@server.tool()
def test_header_parameter(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Takes a parameter that the client repeats in a header (Mcp-Param-Region)."""
    return region


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Says that the tool list changed."""
    await ctx.notify_tools_changed()
    return "told"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Says that the prompt list changed."""
    await ctx.notify_prompts_changed()
    return "told"


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """A text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """An image."""
    return base64.b64decode(PIXEL)


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:
    """A resource with a parameter."""
    return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


@server.resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    """A resource to subscribe to."""
    return "Watched resource content"


@server.prompt()
def test_simple_prompt() -> str:
    """A prompt."""
    return "This is a simple prompt for testing."


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list:  # noqa: N803 - the suite's name
    """A prompt with a resource."""
    return [UserMessage(content=embedded(resourceUri)), UserMessage(content="Please process the embedded resource above.")]


@server.prompt()
def test_prompt_with_image() -> list:
    """A prompt with an image."""
    return [UserMessage(content=image()), UserMessage(content="Please analyze the image above.")]


@server.completion()
async def complete(ref, argument, context) -> types.Completion:
    """Offers what starts like the argument."""
    return types.Completion(values=[word for word in ("paris", "park", "party") if word.startswith(argument.value)], has_more=False)


server.run(
    transport="streamable-http",
    host="127.0.0.1",
    port=port,
    streamable_http_path="/mcp",
    stateless_http=not sessions,
    json_response=not sessions,
)
