# SPDX-License-Identifier: Apache-2.0
# What the programs are made of. Only lists: the rules are in the Makefile.
#
# A part is a folder. For a part P:
#   P_objs    its objects, by the path of their source; a .c file in no list fails `make lint`
#   P_libs    pkg-config names of the libraries that it includes
#   P_ldlibs  libraries without a .pc file
#   P_cflags  what it is compiled with besides the common flags
# A part without objects is absent, and so is a program whose first part is.

parts := base wire netlink conf net flow http datapath link origin session route access \
	proxy admin demux aditd edge cli

base_objs := daemon/base/arena.o daemon/base/argv.o daemon/base/backoff.o daemon/base/bufq.o \
	daemon/base/cgroup.o daemon/base/drop_priv.o daemon/base/gather.o daemon/base/paths.o \
	daemon/base/ferry.o daemon/base/file.o daemon/base/log.o \
	daemon/base/log_format.o daemon/base/loop.o daemon/base/mailbox.o \
	daemon/base/mainloop.o daemon/base/map.o daemon/base/metric.o daemon/base/notify.o \
	daemon/base/opt.o daemon/base/owners.o daemon/base/process.o daemon/base/random.o daemon/base/ratelimit.o daemon/base/resume.o daemon/base/secret.o \
	daemon/base/siphash.o daemon/base/slab.o daemon/base/snapshot.o daemon/base/version.o \
	daemon/base/watch.o daemon/base/watchdog.o daemon/base/worker.o
base_libs := libsystemd libseccomp

wire_objs := daemon/wire/base64.o daemon/wire/body_frame.o daemon/wire/capnp.o \
	daemon/wire/capnp_build.o \
	daemon/wire/connect.o daemon/wire/dgram_v2.o \
	daemon/wire/dgram_v2_call.o daemon/wire/dgram_v3.o daemon/wire/endpoint.o daemon/wire/h2_head.o daemon/wire/hex.o daemon/wire/http_field.o \
	daemon/wire/icmp.o daemon/wire/ip.o daemon/wire/ip_udp.o \
	daemon/wire/preamble.o daemon/wire/rpc.o daemon/wire/rpc_session.o \
	daemon/wire/rpc_tunnel.o daemon/wire/token.o daemon/wire/trace.o daemon/wire/uri.o daemon/wire/uuid.o
wire_cflags := -Wconversion

netlink_objs := $(addprefix netlink/,builder.o change.o event.o forward.o lookup.o monitor.o nft.o nl.o object.o plan.o)
netlink_libs := libmnl

conf_objs := $(addprefix daemon/conf/,arena.o conf.o credential.o diff.o dump.o dump_json.o fixed.o ini.o \
	load.o load_aditd.o load_apply.o load_edge.o parse.o parse_rule.o pattern.o pattern_class.o \
	pattern_translate.o push.o report.o rule.o schema.o schema_aditd.o schema_common.o schema_edge.o value.o)
conf_libs := inih libsystemd libpcre2-8 libidn2

net_objs := $(addprefix daemon/net/,bpf.o ca.o digest.o dns_answer.o dot.o happy.o iostream.o outproxy.o port_steer.o \
	resolve.o resolve_record.o sockaddr.o steer_object.o tcp.o tlsbio.o \
	tlscerts.o tlsctx.o tun.o tun_steer.o udp.o udp_burst.o xsk.o)
net_libs := openssl libcares libbpf

flow_objs := daemon/flow/bridge.o daemon/flow/frame.o daemon/flow/framed.o daemon/flow/pump.o daemon/flow/relay.o \
	daemon/flow/rx.o \
	daemon/flow/stream.o daemon/flow/stream_io.o

http_objs := daemon/http/conn_fsm.o daemon/http/h1.o daemon/http/h1_client.o \
	daemon/http/h1_exchange.o daemon/http/h1_head.o daemon/http/h1_server.o \
	daemon/http/h1_tx.o daemon/http/h2.o daemon/http/h2_callbacks.o daemon/http/h2_check.o \
	daemon/http/h2_head.o daemon/http/h2_send.o daemon/http/h2_skim.o daemon/http/h2_stream.o daemon/http/h2_window.o \
	daemon/http/head.o daemon/http/serve.o
http_libs := libllhttp libnghttp2
http_ldlibs := -lwslay

datapath_objs := daemon/datapath/anchor.o daemon/datapath/icmp_path.o daemon/datapath/path.o daemon/datapath/sock.o daemon/datapath/tx.o
datapath_objs += $(addprefix daemon/datapath/,neighbour.o obstacle.o promote.o shortcut.o slots.o solicit.o template.o)
datapath_objs += $(addprefix daemon/datapath/,tun_ground.o tun_path.o tun_plan.o)

link_objs := $(addprefix daemon/link/,close.o control.o control_serve.o link.o link_fsm.o link_pipe.o \
	h2call.o h2call_head.o h2call_open.o h2link.o quic.o \
	quic_accept.o quic_callbacks.o quic_cid.o quic_conn.o quic_dgram.o quic_forward.o quic_io.o \
	quic_ledger.o quic_mtu.o quic_path.o quic_reply.o quic_server.o quic_silence.o quic_sock.o \
	quic_steer.o quic_stream.o quic_tls.o quic_window.o rpc_channel.o rpc_metrics.o session_calls.o strangers.o)
link_libs := libngtcp2 libngtcp2_crypto_ossl libnghttp2 openssl

origin_objs := daemon/origin/origin.o daemon/origin/origin_fixed.o daemon/origin/origin_fsm.o \
	daemon/origin/origin_hello.o daemon/origin/origin_http.o daemon/origin/origin_pool.o \
	daemon/origin/origin_tls.o

session_objs := $(addprefix daemon/session/,call_fsm.o call_port.o echo_map.o flow_caller.o flow_list.o flow_table.o icmp_routed.o icmp_session.o inbox.o strays.o udp_session.o v2.o)

route_objs := $(addprefix daemon/route/,host_index.o hosts.o match_ingress.o route.o)

access_objs :=
access_libs := openssl

proxy_objs := $(addprefix daemon/proxy/,access_log.o account.o destination.o header_policy.o proxy_http.o proxy_tcp.o \
	reason.o rules.o tunnel_head.o)

admin_objs := $(addprefix daemon/admin/,idl.o idl_edge.o page.o promtext.o reload.o row.o varlink.o \
	varlink_reload.o worker_metrics.o)
admin_libs := libsystemd

demux_objs := daemon/demux/demux.o daemon/demux/demux_config.o daemon/demux/demux_dgram.o daemon/demux/demux_rpc.o

aditd_objs := $(addprefix daemon/aditd/,app.o config.o discovery.o discovery_agent.o discovery_record.o discovery_round.o \
	discovery_set.o edge_addrs.o flow_metrics.o icmp_metrics.o link_metrics.o locations.o main.o service.o service_flows.o status.o \
	supervisor.o supervisor_fsm.o tunnel.o wiring.o)
aditd_objs += daemon/aditd/netwatch.o daemon/aditd/shortcut_metrics.o
aditd_objs += $(addprefix daemon/aditd/,core_dial.o core_return.o core_spread.o core_try.o supervisor_core.o \
	supervisor_metrics.o transport.o tun_host.o tun_metrics.o)
aditd_libs := libsystemd

edge_objs := $(addprefix daemon/edge/,app.o config.o directory.o edge_conn.o edge_link.o edge_tunnel.o \
	enroll.o error_page.o front_http.o front_metrics.o front_tunnel.o front_udp.o init.o main.o net_host.o net_metrics.o net_report.o front_net.o wiring_net.o origin_tunnel.o refuse.o request.o roster.o \
	service.o service_refuse.o status.o tunnel_call.o tunnel_metrics.o udp_clients.o udp_metrics.o visit.o visit_tcp.o wiring.o wiring_tunnels.o)
edge_objs += daemon/edge/flow_link.o
edge_libs := libsystemd sqlite3

cli_objs := $(addprefix daemon/cli/,client.o main.o print.o verb_edge.o verb_reconnect.o verb_reload.o verb_status.o \
	verb_version.o)
cli_libs := libsystemd

# Programs for the kernel: bpf/NAME.bpf.c, in "embed/NAME.bpf.h" for the files that load them.
bpf_progs := flow steer
bpf_users := daemon/net/bpf.c daemon/net/steer_object.c

# Programs: the part with main() first, then every part that it links.
progs := aditd adit-edge adit

shared_parts := demux admin proxy access route session origin link datapath http flow net conf \
	netlink wire base
aditd_parts := aditd $(shared_parts)
adit-edge_parts := edge $(shared_parts)
adit_parts := cli conf wire base

# What the machine itself has to offer (pkg-config), or the build root is used.
host_libs := libngtcp2 >= 1.22, libngtcp2_crypto_ossl >= 1.22, openssl >= 3.5, libnghttp2 >= 1.64, \
	libbpf >= 1.5, libmnl, libsystemd >= 257, inih >= 58, libllhttp >= 9.2, \
	libcares >= 1.34, libpcre2-8 >= 10.42, libidn2 >= 2.3, sqlite3 >= 3.40, libseccomp >= 2.5, \
	yaml-0.1
