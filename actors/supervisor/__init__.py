"""The supervisor: an actor that starts processes and places threads on them, and the pure policies it follows."""
