"""A chat service in OpenAI's form, real and small, in the process of the test."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

WORDS = {"Where is the river today": "Mto uko wapi leo hii", "river": "mto"}


class Service(BaseHTTPRequestHandler):
    """Chat completions in OpenAI's form; `plan` says what goes wrong."""

    asked: list[dict] = []
    plan: list[int] = []
    say = staticmethod(lambda text: WORDS.get(text, f"Jibu: {text[::-1]}"))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append({"key": self.headers.get("Authorization"), **body})
        status = type(self).plan.pop(0) if type(self).plan else 200
        if status != 200:
            self.reply(status, b'{"error": "not now"}')
            return
        text = body["messages"][-1]["content"].split("\n\n", 1)[1]
        message = {"role": "assistant", "content": type(self).say(text)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.reply(200, json.dumps({"choices": choices}).encode())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def teach(shown: str) -> str:
    """A teacher that asks and answers with words of the text from behind."""
    text, _, talk = shown.partition("\n\n---\n\n")
    words = text.split()
    turn = talk.count("Question: ")
    start = 3 * turn + 12 * talk.endswith("?")
    ending = "." if talk.endswith("?") else "?"
    return " ".join([words[0], *words[start + 4 : start : -1]]) + ending
