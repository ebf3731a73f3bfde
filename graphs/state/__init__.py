"""State schemas: channels, how writes change them, and how they are stored as Arrow."""
