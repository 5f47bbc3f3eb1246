# SPDX-License-Identifier: Apache-2.0
"""A Varlink client for the control sockets: JSON with a NUL behind."""
import json
import socket

from .wait import seconds


class Refused(Exception):
    """An error answer: its name in .args[0], its parameters in .parameters."""

    def __init__(self, name, parameters):
        super().__init__(name)
        self.parameters = parameters


class Varlink:
    """A connection to the control socket of a lib.adit.Program."""

    def __init__(self, program):
        side = "Edge" if program.program == "adit-edge" else "Daemon"
        self.interface = f"io.adit.{side}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds(20))
        self.socket.connect(str(program.run / "control"))
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def _send(self, method, parameters, **more):
        message = {"method": f"{self.interface}.{method}", "parameters": parameters, **more}
        self.socket.sendall(json.dumps(message).encode() + b"\0")

    def _receive(self, method):
        while b"\0" not in self.rest:
            data = self.socket.recv(65536)
            assert data, f"the connection ended instead of an answer to {method}"
            self.rest += data
        answer, self.rest = self.rest.split(b"\0", 1)
        document = json.loads(answer)
        if "error" in document:
            raise Refused(document["error"], document.get("parameters", {}))
        return document

    def call(self, method, **parameters):
        """The answer's parameters, or Refused."""
        self._send(method, parameters)
        return self._receive(method).get("parameters", {})

    def stream(self, method, **parameters):
        """The parameters of all answers of a call with `more`."""
        self._send(method, parameters, more=True)
        answers = []
        while True:
            document = self._receive(method)
            answers.append(document.get("parameters", {}))
            if not document.get("continues"):
                return answers
