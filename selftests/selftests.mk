# SPDX-License-Identifier: Apache-2.0
# What is tested. Only lists: the rules are in the Makefile, the runner is selftests/run.
#
# Unit tests: PART/test-MODULE is the program made of selftests/unit/PART/test-MODULE.c.
#   test-MODULE_parts  the parts that it links; every unit test links testlib_objs too
#   test-MODULE_libs   pkg-config names besides those of its parts
#   test-MODULE_data   JSON or Markdown files of selftests/data that selftests/lib/vectors.py turns into
#                      the header "data/NAME.h" before the test is compiled
#   test-MODULE_wraps  functions whose calls in our objects go to the test's __wrap_NAME
# MODULE is unique over all parts.

# C helpers of the tests (selftests/lib/*.c), one archive.
testlib_objs := selftests/lib/fake_dns.o selftests/lib/quic_pair.o selftests/lib/talk.o selftests/lib/udp_relay.o selftests/lib/fake_stream.o selftests/lib/testcert.o \
	selftests/lib/h2_pair.o selftests/lib/h2link_world.o
testlib_objs += selftests/lib/call_world.o selftests/lib/core_world.o selftests/lib/flow_world.o selftests/lib/icmp_world.o selftests/lib/scarce.o selftests/lib/own_net.o
testlib_libs := openssl libcares

# Programs that system tests run beside ours (selftests/lib), each with its objects.
test_tools := wan
wan_objs := selftests/lib/wan.o selftests/lib/wan_path.o

unit_tests :=

# base
unit_tests += util/test-heap base/test-loop base/test-slab base/test-bufq base/test-mailbox \
	base/test-cgroup base/test-metric base/test-log_format base/test-log base/test-worker \
	util/test-addr base/test-arena base/test-random base/test-map base/test-snapshot \
	base/test-ratelimit base/test-file base/test-opt base/test-owners base/test-argv base/test-drop_priv \
	base/test-mainloop base/test-watchdog base/test-paths base/test-resume base/test-watch base/test-ferry
test-loop_parts := base
test-slab_parts := base
test-bufq_parts := base
test-mailbox_parts := base
test-cgroup_parts := base
test-metric_parts := base
test-log_format_parts := base
test-log_parts := base
test-worker_parts := base
test-arena_parts := base
test-random_parts := base
test-map_parts := base
test-snapshot_parts := base
test-ratelimit_parts := base
test-file_parts := base
test-opt_parts := base
test-owners_parts := base
test-argv_parts := base
test-drop_priv_parts := base
test-mainloop_parts := base
test-watchdog_parts := base
test-paths_parts := base
test-resume_parts := base
test-watch_parts := base
test-ferry_parts := base
test-ferry_wraps := malloc

# netlink
unit_tests += netlink/test-change netlink/test-lookup netlink/test-monitor netlink/test-nft netlink/test-nl netlink/test-plan
test-nft_parts := netlink
test-nl_parts := netlink
test-nft_data := nft.json
test-plan_parts := netlink
test-change_parts := netlink
test-lookup_parts := netlink
test-monitor_parts := netlink
test-monitor_data := netlink.json

# bpf
unit_tests += bpf/test-flow bpf/test-steer bpf/test-port_steer
test-steer_parts := net wire base
test-steer_libs := libbpf
test-port_steer_parts := net base
test-flow_parts := net base
test-flow_libs := libbpf

# net
unit_tests += $(addprefix net/test-,bpf dot happy iostream outproxy resolve resolve_record tcp tlscerts tlsctx tun udp udp_burst xsk)
test-bpf_parts := net base
test-resolve_parts := net base
test-resolve_record_parts := net base
test-dot_parts := net base
test-happy_parts := net base
test-outproxy_parts := net wire base
test-tcp_parts := net base
test-iostream_parts := net base
test-tlscerts_parts := net base
test-tlsctx_parts := net base
test-tun_parts := net base
test-udp_parts := net base
test-xsk_parts := net base
test-udp_burst_parts := net base

# flow
unit_tests += $(addprefix flow/test-,bridge framed pump relay rx stream_io)
test-bridge_parts := flow net base
test-framed_parts := flow net wire base
test-pump_parts := flow net base
test-relay_parts := flow net base
test-rx_parts := flow base
test-stream_io_parts := flow net base

# wire, util
unit_tests += util/test-cursor util/test-list $(addprefix wire/test-,base64 body_frame capnp capnp_build \
	connect dgram_sessions dgram_v2 dgram_v2_call dgram_v3 edge_vectors endpoint h2_head icmp ip ip_udp rpc_session \
	rpc_tunnel trace uri wire_mutation)
test-base64_parts := wire
test-body_frame_parts := wire
test-capnp_parts := wire
test-capnp_build_parts := wire
test-connect_parts := wire
test-dgram_sessions_parts := wire
test-dgram_sessions_data := datagram-sessions.md
test-dgram_v2_parts := wire
test-dgram_v2_data := datagrams.json
test-dgram_v2_call_parts := wire
test-dgram_v2_call_data := datagrams.json
test-dgram_v3_parts := wire
test-dgram_v3_data := datagrams.json
test-edge_vectors_parts := wire
test-edge_vectors_data := edge-protocol.json
test-endpoint_parts := wire
test-h2_head_parts := wire
test-h2_head_data := http2.json
test-icmp_parts := wire
test-icmp_data := datagrams.json
test-ip_parts := wire
test-ip_udp_parts := wire
test-rpc_session_parts := wire
test-rpc_session_data := edge-protocol.json
test-rpc_tunnel_parts := wire
test-trace_parts := wire
test-trace_data := datagrams.json
test-uri_parts := wire
test-wire_mutation_parts := wire
test-wire_mutation_data := edge-protocol.json

# link
unit_tests += $(addprefix link/test-,h2link link_fsm quic quic_accept quic_cid quic_dgram \
	quic_mtu quic_path quic_silence quic_stream quic_threads quic_window rpc_channel \
	rpc_metrics session_calls strangers)
test-h2link_parts := link http flow net wire base
test-strangers_parts := link
test-rpc_channel_parts := link flow net wire base
test-rpc_metrics_parts := link base
test-session_calls_parts := link flow net wire base
test-session_calls_wraps := malloc calloc realloc slab_buf_get slice_get slice_put
test-quic_threads_parts := link flow net wire base
test-quic_threads_wraps := setsockopt
test-link_fsm_parts := link flow net wire base
test-quic_parts := link flow net wire base
test-quic_accept_parts := link flow net wire base
test-quic_cid_parts := link flow net wire base
test-quic_dgram_parts := link flow net wire base
test-quic_mtu_parts := link flow net wire base
test-quic_silence_parts := link
test-quic_path_parts := link flow net wire base
test-quic_stream_parts := link flow net wire base
test-quic_window_parts := link flow net wire base

# http
unit_tests += http/test-conn_fsm http/test-h1 http/test-h1_client http/test-h1_exchange \
	http/test-h1_server http/test-h1_tx http/test-h1_upgrade http/test-h2 http/test-h2_check \
	http/test-h2_memory http/test-h2_raw http/test-h2_skim http/test-h2_window http/test-head http/test-serve
test-conn_fsm_parts := http
test-h1_parts := http flow wire base
test-h1_client_parts := http flow wire base
test-h1_exchange_parts := http flow wire base
test-h1_server_parts := http flow wire base
test-h1_tx_parts := http flow wire base
test-h1_upgrade_parts := http flow wire base
test-h2_parts := http flow net wire base
test-h2_check_parts := http wire base
test-h2_memory_parts := http flow net wire base
test-h2_memory_libs := libnghttp2
test-h2_memory_wraps := malloc calloc realloc slab_buf_get slice_get slice_put nghttp2_option_new \
	nghttp2_session_callbacks_new nghttp2_session_client_new2 nghttp2_session_server_new2
test-h2_raw_parts := http flow net wire base
test-h2_skim_parts := http base
test-h2_skim_libs := libnghttp2
test-h2_window_parts := http flow net wire base
test-head_parts := http wire
test-serve_parts := http flow wire base

# origin
unit_tests += $(addprefix origin/test-,origin_fixed origin_fsm origin_http origin_pool origin_tls)
test-origin_fixed_parts := origin http flow net wire base
test-origin_fsm_parts := origin
test-origin_http_parts := origin http flow net wire base
test-origin_pool_parts := origin http flow net wire base
test-origin_tls_parts := origin http flow net wire base

# conf, route
unit_tests += $(addprefix conf/test-,config_errors credential diff ini load parse pattern push rule \
	value)
test-config_errors_parts := conf wire base
test-credential_parts := conf wire base
test-diff_parts := conf wire base
test-ini_parts := conf wire base
test-load_parts := conf wire base
test-parse_parts := conf wire base
test-pattern_parts := conf wire base
test-push_parts := conf wire base
test-rule_parts := conf wire base
test-value_parts := conf wire base
unit_tests += $(addprefix route/test-,ingress_vectors route)
test-ingress_vectors_parts := route conf wire base
test-ingress_vectors_data := ingress.json
test-route_parts := route conf wire base

# datapath
unit_tests += $(addprefix datapath/test-,icmp_path neighbour obstacle path slots solicit template)
unit_tests += datapath/test-tun_ground datapath/test-tun_plan
test-tun_ground_parts := datapath netlink net wire base
test-tun_ground_wraps := udp_find_source
test-tun_plan_parts := datapath wire
test-icmp_path_parts := datapath net wire base
test-neighbour_parts := datapath netlink net wire base
test-obstacle_parts := datapath netlink net wire base
test-path_parts := datapath netlink net wire base
test-slots_parts := datapath
test-solicit_parts := datapath wire
test-template_parts := datapath wire

# session
unit_tests += $(addprefix session/test-,call_fsm echo_map flow_caller flow_caller_v2 flow_cost flow_move \
	flow_table icmp_routed icmp_session v2)
test-call_fsm_parts := session
test-echo_map_parts := session base
test-echo_map_wraps := malloc calloc realloc slab_buf_get slice_get slice_put
test-flow_caller_parts := session flow wire base
test-flow_caller_v2_parts := session flow wire base
test-flow_cost_parts := session datapath netlink flow net wire base
test-flow_cost_wraps := malloc calloc realloc pthread_mutex_lock timerfd_settime epoll_ctl log_is_enabled \
	clock_gettime sendmsg sendmmsg recvmsg recvmmsg
test-flow_move_parts := session datapath netlink flow net wire base
test-flow_table_parts := session datapath netlink flow net wire base
test-icmp_routed_parts := session datapath wire base
test-icmp_routed_wraps := icmp_path_new icmp_path_free icmp_path_kind icmp_path_send icmp_path_find_way loop_now \
	$(addprefix tun_ground_,write report hand_on drop note set_icmp plan reaches)
test-icmp_session_parts := session wire base
test-icmp_session_data := datagrams.json
test-icmp_session_wraps := icmp_path_new icmp_path_free icmp_path_kind icmp_path_send icmp_path_find_way loop_now
test-v2_parts := session datapath netlink flow net wire base

# proxy, admin, aditd, demux, edge, cli
unit_tests += $(addprefix proxy/test-,access_log destination header_policy reason tunnel_head)
test-access_log_parts := proxy wire base
test-destination_parts := proxy conf wire base
test-header_policy_parts := proxy http flow conf wire base
test-reason_parts := proxy
test-tunnel_head_parts := proxy http flow wire base
unit_tests += demux/test-demux demux/test-demux_dgram
test-demux_parts := demux session datapath netlink proxy route origin link http flow net conf wire base
test-demux_dgram_parts := demux session datapath netlink link flow net wire base
test-demux_dgram_data := datagrams.json
test-demux_dgram_wraps := icmp_path_new icmp_path_free icmp_path_kind icmp_path_send icmp_path_find_way loop_now
unit_tests += admin/test-page admin/test-promtext admin/test-reload
test-page_parts := admin http flow net wire base
test-page_libs := libsystemd
test-promtext_parts := admin base
test-reload_parts := admin conf wire base
unit_tests += cli/test-client cli/test-print
test-client_parts := cli base
test-print_parts := cli base
unit_tests += net/test-ca $(addprefix edge/test-,directory edge_conn enroll error_page front_net \
	front_metrics front_tunnel origin_tunnel refuse roster tunnel_metrics)
test-ca_parts := net base
test-directory_parts := edge link base
test-edge_conn_parts := edge link session flow route proxy net conf wire base
test-enroll_parts := edge proxy route net conf wire base
test-error_page_parts := edge proxy http flow wire base
test-error_page_libs := libsystemd
test-front_metrics_parts := edge proxy conf wire base
test-tunnel_metrics_parts := edge base
test-origin_tunnel_parts := edge link flow net wire base
test-front_net_parts := edge link session flow route proxy conf net wire base
test-front_tunnel_parts := edge link session flow route proxy net conf wire base
test-refuse_parts := edge proxy route net conf wire base
test-roster_parts := edge proxy route net conf wire base
unit_tests += $(addprefix aditd/test-,core_edges core_return core_spread edge_addrs locations netwatch \
	supervisor_core supervisor_fsm supervisor_vectors)
test-netwatch_parts := aditd netlink base
test-netwatch_libs := libsystemd
test-netwatch_data := netlink.json
test-supervisor_vectors_parts := aditd link flow net conf wire base
test-supervisor_vectors_data := supervisor.json
test-supervisor_core_parts := aditd link flow net conf wire base
test-core_edges_parts := aditd link flow net conf wire base
test-core_return_parts := aditd link flow net conf wire base
test-core_spread_parts := aditd link flow net conf wire base
test-edge_addrs_parts := aditd
test-locations_parts := aditd base
test-supervisor_fsm_parts := aditd
unit_tests += $(addprefix aditd/test-discovery,_set _record _round) aditd/test-discovery
test-discovery_set_parts := aditd wire
test-discovery_record_parts := aditd
test-discovery_round_parts := aditd net conf wire base
test-discovery_parts := aditd net conf wire base

# Fuzzers: fuzz-NAME is selftests/fuzz/fuzz-NAME.c, its corpus selftests/fuzz/corpus/NAME/.
#   fuzz-NAME_parts  the parts that it links
fuzzers := $(addprefix fuzz-,body-frame capnp rpc connect preamble token uri endpoint)
fuzz-body-frame_parts := wire
fuzz-capnp_parts := wire
fuzz-rpc_parts := wire
fuzz-connect_parts := wire
fuzz-preamble_parts := wire
fuzz-token_parts := wire
fuzz-uri_parts := wire
fuzz-endpoint_parts := wire
fuzzers += fuzz-h2-head
fuzz-h2-head_parts := wire
fuzzers += fuzz-dgram-v2 fuzz-dgram-v3 fuzz-ip
fuzz-ip_parts := wire
fuzz-dgram-v2_parts := wire
fuzz-dgram-v3_parts := wire
fuzzers += fuzz-ini fuzz-pattern
fuzz-ini_parts := conf wire base
fuzz-pattern_parts := conf wire base
fuzzers += fuzz-netlink
fuzz-netlink_parts := netlink
fuzzers += fuzz-icmp-session
fuzz-icmp-session_parts := session wire base
fuzzers += fuzz-h1-request fuzz-h1-response fuzz-h2
fuzz-h1-request_parts := http flow wire base
fuzz-h1-response_parts := http flow wire base
fuzz-h2_parts := http flow wire base
fuzzers += fuzz-discovery
fuzz-discovery_parts := aditd wire

# Benchmarks: scripts or programs in selftests/bench, run one after the other by `make bench`.
benches :=

# Groups of `make test T=GROUP` and the parts whose unit tests belong to each. A fuzzer's corpus is
# replayed in the group of its first part. A file of selftests/system names its group itself:
# pytestmark = pytest.mark.group("http")
groups := core wire link http supervisor rules gateway datapath edge ops packages

core_unit := util abi base conf

wire_unit := wire

link_unit := net flow link

http_unit := http origin proxy demux

supervisor_unit := aditd

rules_unit := route

gateway_unit :=

datapath_unit := bpf datapath session netlink

edge_unit := edge access

ops_unit := admin cli

packages_unit :=

# Measurements (selftests/bench), each with its budgets in selftests/bench/budget.txt.
bench_c := selftests/bench/count_allocs.c # preloaded by counts, which compiles it
bench_c += selftests/bench/udp_load.c # both ends of datapath, which compiles it
bench_c += selftests/bench/one_datagram.c # preloaded by datapath, which compiles it
# Programs of ours that a benchmark runs: NAME_objs, NAME_parts.
bench_tools := quic_echo edge_load
quic_echo_objs := selftests/bench/quic_echo.o
quic_echo_parts := link flow net wire base
edge_load_objs := selftests/bench/edge_load.o # before the archive's front_udp.o, which stays there
edge_load_parts := $(adit-edge_parts)
bench_c += $(quic_echo_objs:%.o=%.c) $(edge_load_objs:%.o=%.c)
benches := flow_prog pipe counts compare goodput recovery
