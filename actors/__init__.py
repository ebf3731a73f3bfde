"""The application: actors that run workflows, and the adapters through which they touch the world."""
