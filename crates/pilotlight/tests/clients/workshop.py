"""What every client works on: put into the portal's page, so that it is of the portal's origin and signed in."""

import json
import pathlib

_WORKSHOP = (pathlib.Path(__file__).parent / "workshop.html").read_text()
# What the page does is the same for every client.
BUILD = (
    "window.presses = 0; document.querySelector('#workshop')?.remove(); "
    f"document.body.insertAdjacentHTML('beforeend', {json.dumps(_WORKSHOP)})"
)


def check(condition, what):
    if not condition:
        raise AssertionError(f"not as it should be: {what}")
