"""What a tool of an MCP server has answered, as plain values."""

from __future__ import annotations

import base64
from typing import Any

import mcp_types

NO_TEXT = "it failed, and does not say why"


def output_of(result: mcp_types.CallToolResult) -> Any:
    """The structured content if there is some; else the only piece of content, or the list of all; None for nothing.

    Text is a string; an image or a recording a mapping with its `type`, `mime_type` and `data` as bytes; a resource
    its text or bytes; a link a mapping with its `uri`.
    """
    if result.structured_content is not None:
        return result.structured_content
    pieces = [_piece(block) for block in result.content]
    return pieces[0] if len(pieces) == 1 else pieces or None


def failure_of(result: mcp_types.CallToolResult) -> str:
    """What the tool says of its failure."""
    texts = [block.text for block in result.content if isinstance(block, mcp_types.TextContent)]
    return "\n".join(texts).strip() or NO_TEXT


def _piece(block: mcp_types.ContentBlock) -> Any:
    match block:
        case mcp_types.TextContent():
            return block.text
        case mcp_types.ImageContent() | mcp_types.AudioContent():
            return {"type": block.type, "mime_type": block.mime_type, "data": base64.b64decode(block.data)}
        case mcp_types.EmbeddedResource():
            resource = block.resource
            if isinstance(resource, mcp_types.TextResourceContents):
                return resource.text
            return base64.b64decode(resource.blob)
        case mcp_types.ResourceLink():
            return {"type": block.type, "uri": str(block.uri), "name": block.name}
