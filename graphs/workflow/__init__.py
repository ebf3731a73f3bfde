"""Workflow graphs: built in Python or read from YAML and JSON, validated, drawn, and planned step by step."""
