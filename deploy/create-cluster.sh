#!/bin/sh
# Makes a Redis cluster without replicas of the nodes in NODES ("host:port host:port ..."); does
# nothing if they are one already. The password is in REDISCLI_AUTH.
set -eu

: "${NODES:?list the nodes, as host:port separated by spaces}"

# A cluster knows its nodes by address, not by name.
addresses=
for node in $NODES; do
    host=${node%:*} port=${node##*:}
    # IPv4 where there is both: servers listen on it by default.
    address=$({ getent ahostsv4 "$host" || getent hosts "$host"; } | awk '{ print $1; exit }')
    [ -n "$address" ] || { echo "create-cluster: no address for $host" >&2; exit 1; }
    addresses="$addresses $address:$port"
done
first=${addresses# }
first=${first%% *}
count=$(echo "$NODES" | wc -w)

joined() {
    redis-cli -h "${first%:*}" -p "${first##*:}" cluster info |
        tr -d '\r' | grep -qx "cluster_state:ok"
}

if joined; then
    echo "The cluster is there already."
    exit 0
fi
# shellcheck disable=SC2086
redis-cli --cluster create $addresses --cluster-replicas 0 --cluster-yes
for _ in $(seq 30); do
    if joined; then
        echo "A cluster of $count nodes."
        exit 0
    fi
    sleep 1
done
echo "create-cluster: the nodes do not agree after 30 s" >&2
exit 1
