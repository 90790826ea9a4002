"""An S3 server for tests: moto's, behind a layer that misbehaves on request and remembers.

    python bucket_server.py

Prints `listening on HOST:PORT`, and serves until it is killed. Besides S3 it answers

    POST /-/faults {"bucket", "method", "key", "fault", "times"}     `key` is a pattern of fnmatch; null: for ever
    GET /-/requests?bucket=NAME     what was asked of a bucket so far, in order

It looks at the id of an access key and not at its signature.
"""

import fnmatch
import io
import json
import re
import socket
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

CONTROL = "/-/"
# Who may ask: the process under test, and those who judge it.
KEY_IDS = {"probity", "judge"}


class Server:
    """A WSGI application around moto's."""

    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.faults = []
        self.requests = []
        # moto looks for the object and then puts its own: two threads may both find none. The lock
        # makes a conditional put one step, as S3 does.
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        request = Request(environ)
        # Read whatever the answer is: the connection is used again.
        body = request.get_data()
        if request.path.startswith(CONTROL):
            with self.lock:
                response = self.control(request, body)
        else:
            response = self.answer(request, body)
        return response(environ, start_response)

    def control(self, request: Request, body: bytes) -> Response:
        if request.method == "POST":
            self.faults.append(json.loads(body))
            return Response()
        bucket = request.args["bucket"]
        asked = [record for record in self.requests if record["bucket"] == bucket]
        return Response(json.dumps(asked))

    def answer(self, request: Request, body: bytes) -> Response:
        bucket, _, key = request.path[1:].partition("/")
        with self.lock:
            fault = self.take_fault(bucket, request.method, key)
            response = self.misbehave(fault, request, body)
            self.requests.append({
                "bucket": bucket,
                "method": request.method,
                "key": key,
                "key_id": key_id(request),
                "status": response.status_code,
                "fault": fault,
            })
        if fault == "drop-after":
            request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return response

    def take_fault(self, bucket: str, method: str, key: str) -> str | None:
        for fault in self.faults:
            fits = fault["bucket"] == bucket and fault["method"] in (method, "*") and fault["times"] != 0
            if fits and fnmatch.fnmatchcase(key, fault["key"]):
                if fault["times"] is not None:
                    fault["times"] -= 1
                return fault["fault"]
        return None

    def misbehave(self, fault: str | None, request: Request, body: bytes) -> Response:
        if key_id(request) not in KEY_IDS:
            return error(403, "InvalidAccessKeyId")
        if fault == "conflict":
            return error(409, "ConditionalRequestConflict")
        if fault == "busy":
            return error(503, "SlowDown")
        if fault == "not-implemented":
            return error(501, "NotImplemented")
        environ = {**request.environ, "wsgi.input": io.BytesIO(body)}
        if fault == "overwrite":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        response = Response.from_app(self.moto, environ, buffered=True)
        if fault == "error-after":
            return error(500, "InternalError")
        return response


def key_id(request: Request) -> str | None:
    found = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
    return found and found[1]


def error(status: int, code: str) -> Response:
    text = f"<Error><Code>{code}</Code><Message>planted by the test</Message></Error>"
    return Response(text, status, content_type="application/xml")


class Handler(MotoRequestHandler):
    def log_request(self, *_) -> None:
        """Says nothing: requests are remembered, and a line for each would bury what matters."""


def main() -> None:
    server = make_server("127.0.0.1", 0, Server(), threaded=True, request_handler=Handler)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
