"""Workflows that come with Greenroom, and the functions they run."""
