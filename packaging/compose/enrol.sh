#!/bin/sh
# The one-shot `enrol` of docker-compose.yml: the token by which the agent of this host enters for
# the first time. It stands beside the agent's credential, and is made no more once that exists.
set -eu
cluster=$1
data=$2
[ -s "$data/credential.json" ] || kernreaktor enrol "$cluster" --out "$data/enrol-token"
