"""Lua functions that run inside the store, each one atomic."""
