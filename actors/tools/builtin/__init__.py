"""The tools that are shipped. Each is a plain function that ends in bounded time."""
