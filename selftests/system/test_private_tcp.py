# SPDX-License-Identifier: Apache-2.0
"""TCP into a private network behind a tunnel, by the edge's TPROXY (lib.private_net draws the ground),
and what the edge leaves on its host. Needs root."""
import contextlib
import os
import random
import re
import socket

import pytest

from lib import leftover, needs, private_net, udp_client
from lib.private_net import CLIENT, CLIENT_V6, DENIED, EDGE_HOST, FAR, FAR_V6, NEAR
from lib.service_user import UID, with_service_user
from lib.sockets import Listener, read_all
from lib.udp_origin import UdpEcho
from lib.wait import lasts, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(edge="stream")]


@pytest.fixture(name="ground", scope="module")
def fixture_ground(tmp_path_factory):
    needs.namespaces()
    with private_net.private_net(tmp_path_factory.mktemp("net"), connections=1) as made:
        yield made.serve()


@contextlib.contextmanager
def origin(ground, host, port=0):
    with ground.far.inside():
        made = Listener(host, port)
    with made:
        yield made


def dial(namespace, address, source=None):
    with namespace.inside():
        return socket.create_connection(address, timeout=seconds(10),
                                        source_address=(source, 0) if source else None)


def port_of(made):
    return made.socket.getsockname()[1]


def requests(ground, code_class="2xx"):
    return ground.edge.counter("adit_requests_total", tunnel="home", hostname="network/lan",
                               code_class=code_class)


@pytest.mark.parametrize("host, source", [(FAR, CLIENT), (FAR_V6, CLIENT_V6)])
def test_forwarded(ground, host, source):
    """A client behind the edge; both ways, with a half-close, by the tunnel alone."""
    before = requests(ground)
    with origin(ground, host) as there, dial(ground.client, (host, port_of(there))) as client:
        assert client.getsockname()[0] == source
        with there.accept() as served:
            peer = served.getpeername()[0]
            client.sendall(b"question" * 1000)
            client.shutdown(socket.SHUT_WR)
            assert read_all(served) == b"question" * 1000
            served.sendall(b"answer" * 50000)
            served.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"answer" * 50000
    assert peer in (private_net.DAEMON_LAN, private_net.DAEMON_LAN_V6), peer
    until(lambda: requests(ground) == before + 1, 5, "one request in the metrics")


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_from_the_edge_itself(ground, host):
    """A process on the edge's host has a way there too."""
    with origin(ground, host) as there, dial(ground.edge_ns, (host, port_of(there))) as client, \
            there.accept() as served:
        client.sendall(b"hello")
        assert served.recv(100) == b"hello"
        served.sendall(b"you")
        assert client.recv(100) == b"you"


def test_many(ground):
    """Both workers of the edge have some; those of the one without the link cross to the other."""
    with origin(ground, FAR) as there, contextlib.ExitStack() as stack:
        pairs = []
        for number in range(40):
            client = stack.enter_context(dial(ground.client, (FAR, port_of(there))))
            client.sendall(b"%d" % number)
            pairs.append((client, stack.enter_context(there.accept())))
        seen = {served.recv(100) for _, served in pairs}
        assert seen == {b"%d" % number for number in range(40)}
    assert ground.edge.counter("adit_bridge_messages_total") > 0


def is_reset(ground, host, port):
    """The edge takes the connection and resets it, maybe before the client has noticed the first."""
    with pytest.raises(ConnectionResetError), dial(ground.client, (host, port)) as client:
        client.recv(100)


def test_denied(ground):
    """[network] of the daemon has the last word: the connection ends at once."""
    with origin(ground, DENIED) as there:
        is_reset(ground, DENIED, port_of(there))


def test_refused(ground):
    with origin(ground, FAR) as there:
        port = port_of(there)
    is_reset(ground, FAR, port)


@pytest.mark.carried()
def test_others_keep_their_way(ground):
    """What goes to no private network isn't touched: the edge's own services answer."""
    with ground.edge_ns.inside():
        own = Listener(EDGE_HOST)
    with own, dial(ground.client, (EDGE_HOST, port_of(own))) as client, own.accept() as served:
        assert served.getpeername()[0] == CLIENT
        client.sendall(b"x")
        assert served.recv(1) == b"x"


@pytest.mark.carried()
def test_no_loop(ground):
    """The listener itself is for nobody: who connects to it by its own address is sent away."""
    rules = ground.edge_ns.run("nft", "list", "table", "inet", "adit-edge")
    port = int(rules.split("tproxy ip to 127.0.0.1:")[1].split()[0])
    before = ground.edge.counter("adit_drops_total", where="network", reason="no-network")
    with dial(ground.edge_ns, ("127.0.0.1", port)) as client:
        assert client.recv(1) == b""
    assert ground.edge.counter("adit_drops_total", where="network",
                               reason="no-network") == before + 1


def test_daemon_gone(ground):
    """Without a daemon a connection ends; with one again the next is served."""
    ground.daemon.stop()
    until(lambda: ground.edge.links() == 0, 10, "no link")
    is_reset(ground, NEAR, 9)
    ground.daemon.serve()
    test_forwarded(ground, FAR, CLIENT)


# ---- what is left ----------------------------------------------------------------------------


@pytest.fixture(name="alone")
def fixture_alone(tmp_path):
    """The same with a life of its own; nothing runs yet."""
    needs.namespaces()
    with private_net.private_net(tmp_path) as made:
        yield made


@pytest.mark.carried()
def test_stop_leaves_nothing(alone):
    """An edge that has kept its rights undoes all."""
    alone.edge.start()
    assert len(alone.left_over()) > 4
    assert alone.edge.stop() == 0
    assert alone.left_over() == [] and not (alone.edge.run / "state").exists()


@pytest.mark.carried()
@pytest.mark.parametrize("is_killed", [False, True])
def test_clean_up(alone, is_killed):
    """One without rights, or without a chance, leaves what is written down, and --clean-up undoes it; not
    while it runs."""
    alone.edge.start(wrap=with_service_user(alone.folder))
    assert alone.edge.process.status("Uid").split()[0] == str(UID)
    assert alone.edge.process.status("CapEff") == "0" * 16
    assert clean_up(alone).code == 1 and len(alone.left_over()) > 4
    if is_killed:
        alone.edge.process.kill()
    else:
        assert alone.edge.stop() == 0
    until(lambda: not any("table inet" in line or "link" in line for line in alone.left_over()), 5,
          "the end of what belongs to descriptors")
    assert alone.left_over()
    assert clean_up(alone).code == 0
    assert alone.left_over() == [] and not (alone.edge.run / "state").exists()
    assert clean_up(alone).code == 0


@pytest.mark.carried(edge="stream tun", aditd="anchor")
def test_ordinary_user(alone):
    """As a unit starts it: an ordinary user with one capability, which goes when all is set up. (The
    other opens the TUN device where no udev has given that to everybody.)"""
    caps = "+net_admin,+dac_override"
    for path in [alone.folder, *alone.folder.parents[:2]]:
        path.chmod(0o755)
    for path in (alone.edge.folder, *alone.edge.folder.rglob("*")):
        os.chown(path, UID, UID)
    alone.serve(wrap=["setpriv", "--reuid", UID, "--regid", UID, "--clear-groups",
                      "--inh-caps", caps, "--ambient-caps", caps])
    status = alone.edge.process.status
    assert [status(f"Cap{kind}") for kind in ("Inh", "Prm", "Eff", "Amb")] == ["0" * 16] * 4
    assert status("NoNewPrivs") == "1"
    assert "steers the device's queues by itself reason=\"loading programs into the kernel needs CAP_BPF" \
        in alone.edge.process.log
    test_forwarded(alone, FAR, CLIENT)
    with alone.far.inside():
        echo = UdpEcho(FAR)
    with echo, udp_client.client(echo.port, FAR, alone.client) as client:
        client.send(b"question")
        assert client.recv(100) == b"question"


@pytest.mark.carried()
def test_no_rights(alone):
    """Without the capability it says what is missing."""
    alone.edge.start(wrap=["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"],
                     wait=False)
    assert alone.edge.process.wait_exit() == 1
    assert "a private network needs CAP_NET_ADMIN at the start" in alone.edge.process.log
    assert alone.left_over() == []


@pytest.mark.carried()
def test_reports(tmp_path):
    """What on the host is in the way is said at the start, and nothing else."""
    needs.namespaces()
    with private_net.private_net(tmp_path, forward=False) as ground:
        ground.edge_ns.nft("""
            table ip filter {
                chain INPUT { type filter hook input priority 0; policy drop; accept; }
                chain FORWARD { type filter hook forward priority 0; policy accept; }
            }
            table inet fw {
                chain forward { type filter hook forward priority 0; policy drop; accept; }
                chain output { type filter hook output priority 0; policy drop; accept; }
            }
            """.replace("; }", ";\n}").replace("}\n            }", "}\n}"))
        ground.edge.start()
        log = ground.edge.process.log
        assert "forwarding is off" in log and "sysctl=/proc/sys/net/ipv4/ip_forward" in log
        assert "sysctl=/proc/sys/net/ipv6/conf/all/forwarding" in log
        chains = [line for line in log.splitlines() if "what a chain doesn't accept" in line]
        assert [line.split(" family=")[1] for line in chains] == [
            "ip table=filter chain=INPUT", "inet table=fw chain=forward"], chains


def clean_up(ground):
    argv = [private_net.binary("adit-edge"), "--clean-up", *ground.edge.places]
    return ground.processes.run("clean-up", [*ground.edge_ns.prefix, *argv])


RULES = """
table inet adit-edge { # progname adit-edge
	flags owner

	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		ip daddr 10.90.3.0/24 tproxy ip to 127.0.0.1:PORT meta mark set 0x0000ad17 accept
		ip daddr 10.90.4.0/24 tproxy ip to 127.0.0.1:PORT meta mark set 0x0000ad17 accept
		ip6 daddr fd90:3::/64 tproxy ip6 to [::1]:PORT meta mark set 0x0000ad17 accept
		ip6 daddr fd90:4::/64 tproxy ip6 to [::1]:PORT meta mark set 0x0000ad17 accept
	}

	chain out {
		type route hook output priority mangle; policy accept;
		ip daddr 10.90.3.0/24 meta mark set 0x0000ad17
		ip daddr 10.90.4.0/24 meta mark set 0x0000ad17
		ip6 daddr fd90:3::/64 meta mark set 0x0000ad17
		ip6 daddr fd90:4::/64 meta mark set 0x0000ad17
	}
}
"""


@pytest.mark.carried()
def test_rules(alone):
    """What nft reads in our messages is what was meant."""
    alone.edge.start()
    said = alone.edge_ns.run("nft", "list", "table", "inet", "adit-edge")
    assert said.count("\t\tmeta l4proto tcp ip") == 8
    said = re.sub(r":[0-9]{4,5} ", ":PORT ", said.replace("meta l4proto tcp ", ""))
    assert said.strip() == RULES.strip()


def test_killed(alone):
    """T7: kill -9 at any moment, 20 times; each start undoes what the last one left, and serves; in the
    end rules, routes, links and nftables are as they were, and programs and maps of BPF have gone."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    before, had = leftover.network(alone.edge_ns.run), set()
    for turn in range(20):
        alone.edge.start(wait=False)
        if turn % 4 == 3:
            alone.edge.wait_serving()
        elif turn % 2:      # somewhere in the middle of setting up
            until(lambda: (alone.edge.run / "state").exists(), 5, "the beginning")
        else:
            lasts(chance.uniform(0, seconds(0.1)), "a part of its start")
        had |= leftover.kill(alone.edge.process)
    assert {kind for kind, _ in had} == {"prog", "map"}
    written = (alone.edge.run / "state").read_text().splitlines()
    assert written == ["local 4 table 7844", "rule 4 priority 7844 mark 44311 table 7844",
                       "local 6 table 7844", "rule 6 priority 7844 mark 44311 table 7844"]
    alone.serve()
    assert "forwarding is off" not in alone.edge.process.log
    assert "what a chain doesn't accept" not in alone.edge.process.log
    alone.edge.process.wait_line("what an edge has left here is undone")
    test_forwarded(alone, FAR, CLIENT)
    until(lambda: not leftover.still_there(had), 10, "the end of programs and maps")
    assert alone.edge.stop() == 0
    assert alone.left_over() == []
    leftover.until_as(before, alone.edge_ns.run)


def test_second_edge(alone):
    """Two on one host: the second says why it doesn't start, and the first goes on."""
    alone.serve()
    second = private_net.Edge(alone.processes, alone.folder, "second", host="127.0.0.1",
                              both=False, netns=alone.edge_ns, extra=private_net.section(
                                  "network lan", prefix="10.91.0.0/16", tunnel="home"))
    second.start(wait=False)
    assert second.process.wait_exit() == 1
    assert "is another edge running here" in second.process.log
    assert not (second.run / "state").exists()
    test_forwarded(alone, FAR, CLIENT)


@pytest.mark.carried()
def test_forged_state(alone):
    """What isn't ours is not undone, whoever wrote it down."""
    alone.edge.run.joinpath("state").write_text("rule 4 priority 0 mark 0 table 255\n")
    before = alone.edge_ns.run("ip", "rule")
    assert clean_up(alone).code == 1
    assert alone.edge_ns.run("ip", "rule") == before
    alone.edge.start(wait=False)
    assert alone.edge.process.wait_exit() == 1
    assert "cannot undo what an edge has left here" in alone.edge.process.log
    assert alone.edge_ns.run("ip", "rule") == before
