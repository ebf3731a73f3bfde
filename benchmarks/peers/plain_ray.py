"""Ray actors as everybody would write them, on a Ray that is tuned as Greenroom's is."""

from __future__ import annotations

import ray

RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_worker_niceness": "0",
}


@ray.remote(num_cpus=0, enable_task_events=False)
class PlainEcho:
    """An actor that answers with what it was sent."""

    async def handle(self, body: bytes) -> bytes:
        """Answer with the body."""
        return body
