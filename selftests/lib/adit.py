# SPDX-License-Identifier: Apache-2.0
"""Our programs in tests: configuration texts, folders, start, readiness, metrics, status.

Binaries come from the folder ADIT_BIN. This is the only file that knows their command lines.
"""
import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess

from . import certs, metrics, nobody, paths, ports, tunnelrpc
from .curl import curl
from .wait import seconds, until

DOMAIN = "adit.test"


def binary(name):
    folder = os.environ.get("ADIT_BIN")
    assert folder, "ADIT_BIN names no folder with aditd, adit-edge and adit"
    path = pathlib.Path(folder).resolve() / name
    assert path.is_file(), f"{path} is not built"
    return str(path)


def host_port(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def section(head, **keys):
    """INI text of one section; None leaves a key out, a list repeats it."""
    lines = [f"[{head}]"]
    for key, value in keys.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                lines.append(f"{key.replace('_', '-')} = {item}")
    return "\n".join(lines) + "\n"


class Program:
    """What aditd and adit-edge have in common."""

    program = ""
    stand_in = None  # what is started in its place
    all = []        # of the test run, but those that have ended before the test

    def __init__(self, processes, folder, name, netns=None, env=None):
        self.processes, self.name, self.netns, self.env = processes, name, netns, env
        self.has_rights = self.is_nobody = False    # it always has, whatever the others have; it has none
        self.reads = []             # files outside its folder
        self.counted = {}           # of processes that were ended: {pid: packets by path}
        Program.all.append(self)
        self.folder = pathlib.Path(folder) / name
        self.state, self.run = self.folder / "state", self.folder / "run"
        for path in (self.folder, self.state, self.run):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.config = self.folder / f"{name}.conf"
        self.metrics_host, self.metrics_port = "127.0.0.1", ports.free()
        self.process = None

    @property
    def places(self):
        return ["--run-dir", self.run, "--state-dir", self.state]

    def write(self, text):
        self.config.write_text(text)

    @property
    def is_running(self):
        return self.process is not None and self.process.is_running

    def start(self, *options, env=None, wrap=()):
        """wrap: a command that executes the program, such as ["bash", "-c", 'exec "$@"', "sh"]."""
        self.is_nobody = not wrap and not self.has_rights and nobody.is_default()
        if self.is_nobody:
            wrap = nobody.wrap(self.folder, *self.reads)
        argv = [*wrap, self.stand_in or binary(self.program), "--config", self.config, *self.places, *options]
        self.process = self.processes.start(self.name, argv, netns=self.netns,
                                            cwd=self.folder,
                                            env={**(self.env or {}), **(env or {})})
        return self.process

    def _inside(self):
        return self.netns.inside() if self.netns else contextlib.nullcontext()

    def page(self, path):
        """(status, body) from its metrics listener, or (0, "") while nobody listens."""
        with self._inside():
            try:
                return metrics.get(f"{self.metrics_host}:{self.metrics_port}", path)
            except OSError:
                return 0, ""

    def metrics(self):
        status, body = self.page("/metrics")
        assert status == 200, f"no metrics page of {self.name}: {status}\n{self.process.tail()}"
        return metrics.Metrics(body)

    def counter(self, name, **labels):
        return self.metrics().sum(name, **labels)

    def adit(self, *words, check=True):
        """Runs the operator command against it; returns the finished process."""
        side = ["--edge"] if self.program == "adit-edge" else []
        done = subprocess.run([binary("adit"), *side, "--run-dir", str(self.run), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=seconds(20), check=False)
        assert not check or done.returncode == 0, f"adit {words}: {done.returncode} {done.stderr}"
        return done

    def status(self):
        """`adit --json status` as a document."""
        return json.loads(self.adit("--json", "status").stdout)

    def stop(self, timeout=40):
        paths.note(self)
        return self.process.terminate(timeout)


class Edge(Program):
    """adit-edge, born by `init` in folders of its own, with one tunnel.

    hosts are public names, addresses those that it listens on (`host` and, on loopback, ::1); twin is
    another Edge whose tunnel and CA it shares.
    """

    program = "adit-edge"

    def __init__(self, processes, folder, name="edge", hosts=None, host="127.0.0.1", both=True,
                 workers=2, extra="", edge_keys=None, advertise=None, netns=None, tunnel="home",
                 tunnel_keys=None, env=None, process=None, log_level="debug", addresses=None,
                 port=None, twin=None, metrics_host="127.0.0.1"):
        super().__init__(processes, folder, name, netns, env)
        self.has_rights = "[network " in extra      # it makes devices, routes and rules
        self.host, self.metrics_host = host, metrics_host
        self.hosts = hosts or [f"a.{DOMAIN}", f"*.wild.{DOMAIN}"]
        self.port = port or ports.free()
        self.http_port, self.https_port = ports.free(), ports.free()
        self.advertise = advertise or host_port(host, self.port)
        self.certificates = self.folder / "certs"
        self.authority = certs.Authority(self.folder / "public-ca", "public test CA")
        self.authority.folder.chmod(0o755)
        self.certificates.mkdir()
        self._public_certificate()
        if twin:
            self._inherit(twin, tunnel)
        else:
            self._init(tunnel)
        self.born = self._tunnel_section(tunnel)
        if not addresses:
            addresses = [host, "::1"] if both and host == "127.0.0.1" else [host]
        process = {"workers": workers, **(process or {})}
        self.write(self._text(addresses, process, edge_keys or {}, tunnel_keys or {})
                   + section("log", level=log_level) + extra)

    def _public_certificate(self):
        chain, key = self.authority.leaf("public", [f"a.{DOMAIN}", f"*.{DOMAIN}",
                                                    f"*.wild.{DOMAIN}", "localhost"])
        whole = self.certificates / "public.pem"
        whole.write_bytes(chain.read_bytes() + key.read_bytes())
        whole.chmod(0o600)

    def _init(self, tunnel):
        argv = [binary("adit-edge"), "init", "--config", self.config, *self.places,
                "--domain", DOMAIN, "--advertise", self.advertise, "--tunnel", tunnel]
        for name in self.hosts:
            argv += ["--hostname", name]
        self.init = self.processes.run(f"{self.name}-init", argv, env=self.env)
        assert self.init.code == 0, f"adit-edge init: {self.init.code}\n{self.init.tail()}"
        self.born_config = self.config.read_text()
        self.token_file = self.state / f"{tunnel}.token"
        found = sorted(self.folder.glob("state/**/ca.pem"))
        assert found, f"init wrote no ca.pem: {sorted(self.folder.rglob('*'))}"
        self.ca = found[0]

    def _inherit(self, twin, tunnel):
        """The state of another edge, without the key of its connections."""
        shutil.copytree(twin.state, self.state, dirs_exist_ok=True)
        (self.state / "quic-key").write_bytes(os.urandom(32))
        self.born_config = twin.born_config
        self.token_file = self.state / f"{tunnel}.token"
        self.ca = self.state / twin.ca.relative_to(twin.state)

    def _tunnel_section(self, tunnel):
        """The lines of [tunnel NAME] that init wrote."""
        keys, inside = [], False
        for line in self.born_config.splitlines():
            if line.startswith("["):
                inside = line.split("]")[0] == f"[tunnel {tunnel}"
            elif inside and line.strip() and not line.lstrip().startswith((";", "#")):
                keys.append(line)
        assert any(line.startswith("secret-sha256") for line in keys), self.born_config
        return f"[tunnel {tunnel}]\n" + "\n".join(keys) + "\n"

    def _text(self, hosts, process, edge_keys, tunnel_keys):
        def listen(port):
            return ", ".join(host_port(h, port) for h in hosts)
        more = "".join(f"{k.replace('_', '-')} = {v}\n" for k, v in tunnel_keys.items())
        return (section("edge", domain=DOMAIN, listen=listen(self.port), advertise=self.advertise,
                        location="tst", **edge_keys)
                + section("http", listen=listen(self.http_port))
                + section("https", listen=listen(self.https_port), certificates=self.certificates,
                          redirect_http="no")
                + section("metrics", listen=f"{self.metrics_host}:{self.metrics_port}")
                + section("process", **process) + self.born + more)

    def start(self, *options, env=None, wrap=(), wait=True):
        super().start(*options, env=env, wrap=wrap)
        if wait:
            self.wait_serving()
        return self.process

    def wait_serving(self, timeout=10):
        def look():
            assert self.process.is_running, f"adit-edge ended:\n{self.process.tail()}"
            return self.page("/metrics")[0] == 200
        until(look, timeout, "adit-edge to serve")

    @property
    def address(self):
        return host_port(self.host, self.port)

    @property
    def token(self):
        return self.token_file.read_text().strip()

    @property
    def credentials(self):
        """The token's document."""
        return json.loads(base64.b64decode(self.token))

    def url(self, path="/", host=f"a.{DOMAIN}", tls=False):
        scheme, port = ("https", self.https_port) if tls else ("http", self.http_port)
        return f"{scheme}://{host}:{port}{path}"

    def fetch(self, path="/", *options, host=f"a.{DOMAIN}", tls=False, address=None, timeout=30,
              stdin=None):
        """One visitor's request by curl."""
        port = self.https_port if tls else self.http_port
        where = address or self.host
        where = f"[{where}]" if ":" in where else where
        trust = ["--cacert", self.authority.path] if tls else []
        prefix = self.netns.prefix if self.netns else ()
        return curl(self.url(path, host, tls), "--resolve", f"{host}:{port}:{where}", *trust,
                    *options, timeout=timeout, prefix=prefix, stdin=stdin)

    def links(self, tunnel="home"):
        """Registered links, by the metric."""
        return self.metrics().sum("adit_edge_links", tunnel=tunnel)

    def wait_links(self, count=1, timeout=15, tunnel="home"):
        until(lambda: self.links(tunnel) >= count, timeout,
              f"{count} links at the edge:\n{self.process.tail(8)}")


class Daemon(Program):
    """aditd. rules: list of (hostname or None, service, {more keys})."""

    program = "aditd"

    def __init__(self, processes, folder, name="aditd", token_file=None, rules=(), connections=2,
                 workers=2, tunnel_keys=None, edge_keys=None, extra="", netns=None, env=None,
                 origin_keys=None, process=None, log_level="debug", promotes=None):
        """promotes: a network interface where every flow takes the short cut if it can."""
        super().__init__(processes, folder, name, netns, env)
        self.connections = connections
        self.has_rights = promotes is not None
        self.reads = [path for path in (token_file, (edge_keys or {}).get("ca_file")) if path]
        keys = {"token_file": token_file, "protocol": "quic", "connections": connections,
                "grace_period": "2s", **(tunnel_keys or {})}
        text = section("tunnel", **keys)
        if edge_keys:
            text += section("edge", **edge_keys)
        for number, rule in enumerate(rules):
            more = rule[2] if len(rule) > 2 else {}
            text += section(f"ingress rule{number}", hostname=rule[0], service=rule[1], **more)
        if origin_keys:
            text += section("origin-defaults", **origin_keys)
        if promotes:
            text += section("datapath", interface=promotes, promote=0)
        elif nobody.is_default():
            text += section("datapath", mode="sockets")
        self.write(text + section("metrics", listen=f"127.0.0.1:{self.metrics_port}")
                   + section("process", workers=workers, **(process or {}))
                   + section("log", level=log_level) + extra)

    def ready(self):
        """Connections that /ready counts; 0 while it answers 503 or not at all."""
        status, body = self.page("/ready")
        return json.loads(body).get("readyConnections", 0) if status == 200 else 0

    def wait_ready(self, count=None, timeout=15):
        want = self.connections if count is None else count

        def look():
            assert self.process.is_running, f"aditd ended:\n{self.process.tail()}"
            return self.ready() >= want
        try:
            until(look, timeout, f"{want} ready connections")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.tail()}") from None

    def serve(self, count=None):
        """Starts and waits until all connections are registered."""
        self.start()
        self.wait_ready(count)
        return self


def peer_edge_keys(edge, authority, **more):
    """[edge] of an aditd that dials a PeerEdge (or the list of them)."""
    edges = edge if isinstance(edge, list) else [edge]
    return {"address": ", ".join(e.address for e in edges), "ca_file": authority.path, **more}


def write_token(path, account, tunnel, secret, extra=None):
    """A token file of mode 0600."""
    path.write_text(tunnelrpc.token(account, tunnel, secret, extra) + "\n")
    path.chmod(0o600)
    return path
