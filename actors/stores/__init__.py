"""Where threads, sessions and workflows are kept: Redis or Valkey, and a twin in memory."""
