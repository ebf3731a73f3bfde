"""Tools: what runs them, and those that are shipped."""
