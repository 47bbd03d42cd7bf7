#!/usr/bin/env python3
"""Create a session, ping it, read its page's title and close it, with Python's standard library only.

    TOKEN=$(pilotlight token) python3 examples/keep_a_window.py

It signs in to the demo portal of `pilotlight demo`. Set PILOTLIGHT_SERVER to use another server.
"""

import json
import os
import sys
import urllib.error
import urllib.request

SERVER = os.environ.get("PILOTLIGHT_SERVER", "http://127.0.0.1:7070")
TOKEN = os.environ.get("TOKEN") or sys.exit("error: set TOKEN, for example TOKEN=$(pilotlight token)")


def call(method, path, body=None):
    """Sends one request. On an error, exits with the error's message and hint."""
    request = urllib.request.Request(
        SERVER + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        sys.exit(f"error: {problem['error']}\nhint: {problem['hint']}")


def main():
    session = call("POST", "/sessions", {
        "name": "python-example",
        "site": "portal",
        "username": "python",
        "password": "let-me-in",
    })
    session_id = session["session_id"]
    word = "created" if session["is_new"] else "found"
    print(f"{word} {session_id}: {session['state']} at {session['url']}")

    ping = call("POST", f"/ping_session/{session_id}")
    print(f"pinged: last used {ping['last_used']}")

    title = call("POST", f"/sessions/{session_id}/evaluate", {"expression": "document.title"})
    print(f"the page's title is {title['result']!r}")

    print(call("DELETE", f"/sessions/{session_id}")["message"])


if __name__ == "__main__":
    main()
