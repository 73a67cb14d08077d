"""Reads what a model's server says: body, message, reasoning and answer, and how the answer ended.

The one reader of answers: for HTTP, batch files, imported traces, the engine in the worker, students behind HTTP and
`distill validate`. `body` reads a whole response, `message` a message in it, `text` the tags within a text, and
`finish` the server's word for how an answer ended. docs/teacher.md lists what is read from which server.
"""

from __future__ import annotations

from typing import TypeAlias

from pydantic import JsonValue

__all__ = ["JsonObject", "JsonValue"]

JsonObject: TypeAlias = dict[str, JsonValue]
