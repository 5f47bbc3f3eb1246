# SPDX-License-Identifier: Apache-2.0
# What `make demo`, the build root and, later, the packages are made of. Only lists.

demo_script := packaging/demo

# Tools without which tests do not run on the host but in the build root.
host_tools := clang-19 clang-format-19 clang-tidy-19 cppcheck shellcheck gcovr capnp nft \
	conntrack ethtool nginx curl mandoc nghttp socat dnsmasq dnsperf iperf3 wrk python3
host_python := pytest aioquic h2 websockets hypothesis cryptography
