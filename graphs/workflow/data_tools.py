"""All tools that are data, and how they are told apart."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphs.workflow.endpoints import RestTool
from graphs.workflow.mcp import McpTool

DataTool = RestTool | McpTool
"""Any tool that is data."""
AnyDataTool = Annotated[DataTool, Field(discriminator="kind")]
"""The same as the type of a field: told apart by its `kind`."""
DATA_TOOLS: dict[str, type[RestTool | McpTool]] = {"rest": RestTool, "mcp": McpTool}
"""Kind -> tools of this kind."""
