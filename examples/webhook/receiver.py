"""What a webhook agent calls: it needs an HTTP server, a PostgreSQL client and the secret.

Usage: DATABASE_URL=postgresql://… WEBHOOK_SECRET=whsec_… python receiver.py [port]

Beside it: coordinator agent webhook --name called --url http://127.0.0.1:8000/ \
               --allow-private 127.0.0.1/32 --secret-file secret
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import asyncpg

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
MOST_BYTES = 64 * 1024
# An event comes again if our answer was lost, with the same id: what was done is not done twice.
answers: dict[str, tuple[int, Any]] = {}


def verified(headers: Mapping[str, str], body: bytes) -> bool:
    sent = headers["webhook-timestamp"]
    if abs(time.time() - int(sent)) > 300:
        return False
    content = f"{headers['webhook-id']}.{sent}.".encode() + body
    right = "v1," + base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
    return any(hmac.compare_digest(right, each) for each in headers["webhook-signature"].split())


async def work(handoff_id: str) -> dict[str, str]:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        task = await connection.fetchval("select task_description from get_handoff($1)", handoff_id)
    finally:
        await connection.close()
    return {"text": task.upper()}


def answer_to(event: Mapping[str, Any]) -> tuple[int, Any]:
    print(event["type"], event["data"].get("handoff_id", ""), flush=True)
    if event["type"] != "handoff.dispatched":
        return 204, None
    result = asyncio.run(work(event["data"]["handoff_id"]))
    # What takes longer than seconds: answer 202, and call complete_handoff with the event's data.
    return 200, {"outcome": "succeeded", "result": result}


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(min(size, MOST_BYTES))
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        if any(name not in self.headers for name in names) or not verified(self.headers, body):
            self.answer(401, None)
            return
        notice_id = self.headers["webhook-id"]
        if notice_id not in answers:
            answers[notice_id] = answer_to(json.loads(body))
        self.answer(*answers[notice_id])

    def answer(self, status: int, content: Any) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), Receiver)
print(f"listening on port {server.server_port}", flush=True)
server.serve_forever()
