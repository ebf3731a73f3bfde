"""What users would pick instead, doing the same work. Each runs in a process of its own, if it is installed."""
