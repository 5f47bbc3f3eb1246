# SPDX-License-Identifier: Apache-2.0
"""Name servers of tests: dnsmasq in clear, unbound over TLS, and the resolv.conf that leads to them."""
import contextlib
import socket

from .wait import until

SERVICE = "_v2-origintunneld._tcp.argotunnel.com"
TARGETS = ("region1.v2.argotunnel.com", "region2.v2.argotunnel.com")
OVER_TLS = "cloudflare-dns.com"     # at 1.1.1.1:853: what the vendor's names are asked for by default


class Zone:
    """The vendor's records: for each region the addresses of its target."""

    def __init__(self, *regions, port=7844, ttl=300, texts=None):
        self.regions, self.port, self.ttl, self.texts = regions, port, ttl, texts or {}

    def dnsmasq(self):
        lines = [f"local-ttl={self.ttl}"]
        for target, addresses in zip(TARGETS, self.regions):
            lines.append(f"srv-host={SERVICE},{target},{self.port},1,1")
            lines += [f"host-record={target},{address}" for address in addresses]
        for name, text in self.texts.items():
            quoted = text.replace('"', '\\"')
            lines.append(f'txt-record={name},"{quoted}"')
        return "\n".join(lines) + "\n"

    def unbound(self):
        lines = []
        for target, addresses in zip(TARGETS, self.regions):
            lines.append(f"local-data: '{SERVICE}. {self.ttl} IN SRV 1 1 {self.port} {target}.'")
            for address in addresses:
                kind = "AAAA" if ":" in address else "A"
                lines.append(f"local-data: '{target}. {self.ttl} IN {kind} {address}'")
        return "".join(f"  {line}\n" for line in lines)


class _Server:
    def __init__(self, processes, folder, netns, name):
        self.processes, self.netns, self.name = processes, netns, name
        self.folder = folder / name
        self.folder.mkdir()
        self.process = None

    def _answers(self, address, port):
        inside = self.netns.inside() if self.netns else contextlib.nullcontext()
        with inside:
            try:
                socket.create_connection((address, port), 1).close()
                return True
            except OSError:
                return False

    def stop(self):
        self.process.terminate()


class Dnsmasq(_Server):
    """In clear at ADDRESS:53. Names that aren't in the zone don't exist."""

    def __init__(self, processes, folder, netns, address="127.0.0.1", name="dnsmasq"):
        super().__init__(processes, folder, netns, name)
        self.address = address

    def start(self, zone=None, extra=""):
        """Without a zone it knows nothing, and says NXDOMAIN."""
        config = self.folder / "dnsmasq.conf"
        config.write_text("no-resolv\nno-hosts\nno-daemon\nbind-interfaces\nlocal=/com/\nuser=root\n"
                          f"except-interface=none\nlisten-address={self.address}\ncache-size=0\n"
                          f"pid-file={self.folder}/pid\n" + (zone.dnsmasq() if zone else "") + extra)
        self.process = self.processes.start(self.name, ["dnsmasq", f"--conf-file={config}"],
                                            netns=self.netns)
        until(lambda: self._answers(self.address, 53), 10, "dnsmasq")


class Unbound(_Server):
    """Over TLS at ADDRESS:853, with a certificate for `name`; in clear at ADDRESS:53 if `clear`.
    It has nobody to ask: names that aren't in the zone are SERVFAIL."""

    def __init__(self, processes, folder, netns, authority, address="1.1.1.1", name=OVER_TLS):
        super().__init__(processes, folder, netns, "unbound")
        self.address = address
        self.chain, self.key = authority.leaf(f"dns-{name}", [name])

    def start(self, zone=None, clear=False):
        config = self.folder / "unbound.conf"
        plain = f"  interface: {self.address}@53\n" if clear else ""
        config.write_text(
            "server:\n"
            f"  interface: {self.address}@853\n{plain}"
            "  do-daemonize: no\n  use-syslog: no\n  logfile: ''\n  username: ''\n  chroot: ''\n"
            f"  directory: '{self.folder}'\n  pidfile: '{self.folder}/pid'\n"
            "  num-threads: 1\n  do-not-query-localhost: yes\n  module-config: 'iterator'\n"
            "  access-control: 0.0.0.0/0 allow\n  tls-port: 853\n"
            f"  tls-service-pem: '{self.chain}'\n  tls-service-key: '{self.key}'\n"
            + (zone.unbound() if zone else "")
            + "remote-control:\n  control-enable: no\n")
        self.process = self.processes.start(self.name, ["unbound", "-c", config], netns=self.netns)
        until(lambda: self._answers(self.address, 853), 10, "unbound")


def resolv_conf(folder, *servers):
    """The command that runs a program with these name servers for a resolver (needs root)."""
    path = folder / "resolv.conf"
    path.write_text("".join(f"nameserver {server}\n" for server in servers))
    return ["unshare", "-m", "--propagation", "private", "sh", "-c",
            'mount --bind "$0" /etc/resolv.conf && exec "$@"', path]
