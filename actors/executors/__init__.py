"""Executors: the actors that run nodes, one kind each."""
