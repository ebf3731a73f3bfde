"""The load test: what users run against their own workflows, and what `benchmarks/load.py` runs too.

What arrives when, what is counted and where the limit is sought are pure (`plan`, `arrivals`, `latencies`, `tally`,
`search`, `results`); `driver` carries it out, against a `target`.
"""
