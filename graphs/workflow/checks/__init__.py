"""The checks that make up validation, each of one aspect of a graph."""
