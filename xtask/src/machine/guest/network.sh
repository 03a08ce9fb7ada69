#!/bin/sh
# The machine's clients and its storage server are in a network namespace behind the interface `front`.
set -e
ip netns add outside
ip link add front type veth peer name wire netns outside
ip address add 10.77.0.10/24 dev front
ip link set front up
ip -n outside link set lo up
ip -n outside address add 10.77.0.1/24 dev wire
ip -n outside address add 10.77.0.2/24 dev wire
ip -n outside address add 10.77.0.3/24 dev wire
ip -n outside link set wire up
ip -n outside route add 10.77.9.0/24 via 10.77.0.10
# A packet whose checksum is still to be filled in is passed on like that by XDP.
ethtool -K front tx off
ip netns exec outside ethtool -K wire tx off
