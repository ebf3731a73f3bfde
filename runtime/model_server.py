"""Serves a GGUF model over HTTP on the loopback address, OpenAI-compatible; run as a script by a keeper."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

CONTEXT_TOKENS = 2048
"""Of each slot."""
REPEAT_PENALTY = 1.1
"""A model this small says the same line again and again without it."""


def serve(settings: dict[str, Any]) -> None:
    """Serve until a signal ends this process.

    Args:
        settings: `path` of the GGUF file, `port`, `slots` (requests worked on at once) and `api_key`.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {"local"}
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * CONTEXT_TOKENS
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.api_keys = [settings["api_key"]]
    params.cors_origins = ""  # no web page has any business here
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    params.sampling.penalty_repeat = REPEAT_PENALTY
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(f"ready at {server.listening_address}", flush=True)  # noqa: T201 - this is what the keeper waits for
    signal.pause()


if __name__ == "__main__":
    serve(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
