"""Ask the page over HTTP, as curl does: upload a photo, post its path, read the event stream."""

import json
import urllib.error
import urllib.request

from tests.support.bad_photos import BAD_PHOTOS
from tests.support.commands import UNVERIFIED

# One bad photo of each kind of answer; test_reader.py tries all of them. AVIF is here because it
# is decoded in a process of its own.
ONE_OF_EACH_KIND = {
    name: BAD_PHOTOS[name]
    for name in (
        "empty",
        "half jpeg",
        "half avif",
        "flipped bit png",
        "random bytes",
        "pdf",
        "bomb",
        "narrow",
    )
}
CUT_OFF = 0  # instead of a status: the page closed the connection while the body was being sent


def post(
    url: str, body: bytes, content_type: str = "application/json", timeout: float = 60
) -> tuple[int, str]:
    """Status and body of a POST, whatever the status.

    A server that refuses a body before its end may close the connection while the client still
    sends; the client then sees the refusal or a reset, depending on which arrives first.
    """
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=UNVERIFIED) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionResetError | BrokenPipeError):
            return CUT_OFF, ""
        raise
    except (ConnectionResetError, BrokenPipeError):  # while the answer was being read
        return CUT_OFF, ""


def upload(url: str, content: bytes, name: str = "photo.jpg") -> tuple[int, str]:
    """Upload a file; the body is a JSON list with its path."""
    head = (
        f'--boundary\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + content + b"\r\n--boundary--\r\n"
    return post(f"{url}/gradio_api/upload", body, "multipart/form-data; boundary=boundary")


def call(url: str, file: dict | None) -> tuple[int, str]:
    """Post the data, then read the event stream."""
    body = json.dumps({"data": [file]}).encode()
    status, text = post(f"{url}/gradio_api/call/classify", body)
    if status != 200:
        return status, text
    stream = f"{url}/gradio_api/call/classify/{json.loads(text)['event_id']}"
    with urllib.request.urlopen(stream, timeout=60, context=UNVERIFIED) as response:
        return response.status, response.read().decode()


def classify(url: str, content: bytes, name: str = "photo.jpg") -> tuple[int, str]:
    """Upload a photo and ask which landmark it shows."""
    status, text = upload(url, content, name)
    if status != 200:
        return status, text
    return call(url, {"path": json.loads(text)[0], "meta": {"_type": "gradio.FileData"}})


def answer_of(stream: str) -> dict:
    """The answer in an event stream."""
    assert stream.startswith("event: complete"), stream
    return json.loads(stream.split("data: ", 1)[1].splitlines()[0])[0]
