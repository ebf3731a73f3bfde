"""Language models: the port, and the clients that implement it."""
