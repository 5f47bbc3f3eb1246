# SPDX-License-Identifier: Apache-2.0
"""Reading a metrics page (text exposition format)."""
import http.client
import re

LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Metrics:
    def __init__(self, text):
        self.text = text
        self.series = []
        for line in text.splitlines():
            found = LINE.match(line)
            if found:
                labels = dict(LABEL.findall(found[2] or ""))
                self.series.append((found[1], labels, float(found[3])))

    def find(self, name, **labels):
        """Values of all series of a family that carry these labels (from_ means `from`)."""
        want = {key.rstrip("_"): str(value) for key, value in labels.items()}
        return [(have, value) for n, have, value in self.series
                if n == name and want.items() <= have.items()]

    def sum(self, name, **labels):
        """Their sum; 0 when there are none."""
        return sum(value for _, value in self.find(name, **labels))

    def has(self, name):
        return any(n == name for n, _, _ in self.series)


def get(address, path, timeout=5):
    """(status, body) of a page of the metrics listener at HOST:PORT."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()
