"""The domain: what workflows, states, threads and sessions are, and what happens next. Pure data and decisions."""
