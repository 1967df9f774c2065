#!/bin/sh
# The one-shots `enrol` and `pve-enrol` of docker-compose.yml: the token by which a daemon enters for
# the first time, for this host or for the nodes that are named. It stands beside the daemon's
# credential, and is made no more once that exists.
set -eu
cluster=$1
data=$2
nodes=$(printf '%s' "${3:-}" | tr ',' ' ')
# Split on purpose: ids of nodes have no blanks.
# shellcheck disable=SC2086
[ -s "$data/credential.json" ] || kernreaktor enrol "$cluster" $nodes --out "$data/enrol-token"
