"""Tools of MCP servers: the client end of the Model Context Protocol."""
