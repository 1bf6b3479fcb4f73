# Three MariaDB nodes on loopback as one Galera cluster, for scripts that have sourced servers.sh.
# shellcheck shell=bash

# Clients connect at $base + 1 to $base + 3; the nodes use 30 more ports.
base=""
provider=""

node_port() {
    echo $((base + $1))
}

# Starts a node; its files exist. The first one of a cluster gets --wsrep-new-cluster.
start_node() {
    local node="$1" i members data="$state/$1" recovered address options
    shift
    i="${node#node}"
    members="127.0.0.1:$((base + 11)),127.0.0.1:$((base + 12)),127.0.0.1:$((base + 13))"
    address="gcomm://$members"
    [ $# = 0 ] || address="gcomm://"
    # A server that starts removes what it finds of temporary tables.
    options=(--no-defaults --datadir="$data" --tmpdir="$data.tmp" --socket="$data/socket"
        --innodb-buffer-pool-size=128M --binlog-format=ROW --innodb-autoinc-lock-mode=2
        --wsrep-on=ON --wsrep-provider="$provider"
        --wsrep-cluster-name=soak --wsrep-cluster-address="$address" --wsrep-node-name="$node")
    if [ -s "$data/grastate.dat" ]; then
        # What it had committed, so that the others send it the rest instead of everything.
        "${as_user[@]}" "$server" "${options[@]}" --wsrep-recover --skip-networking \
            --log-error="$data/recovery.log" >"$state/recovery.out" 2>&1 ||
            fail "$node was not recovered: $(tail -n 5 "$state/recovery.out")"
        recovered="$(sed -n 's/.*Recovered position: *//p' "$data/recovery.log" | tail -n 1)"
        [ -z "$recovered" ] || set -- "$@" --wsrep-start-position="$recovered"
    fi
    "${as_user[@]}" "$server" "${options[@]}" \
        --port="$(node_port "$i")" --bind-address=127.0.0.1 --skip-name-resolve \
        --max-connections=300 --log-error="$data/error.log" --pid-file="$data/pid" \
        --wsrep-node-address="127.0.0.1:$((base + 10 + i))" --wsrep-sst-method=rsync \
        --wsrep-sst-receive-address="127.0.0.1:$((base + 20 + i))" --wsrep-provider-options="\
base_port=$((base + 10 + i));gmcast.listen_addr=tcp://127.0.0.1:$((base + 10 + i));\
ist.recv_addr=127.0.0.1:$((base + 30 + i))" "$@" >/dev/null 2>&1 </dev/null &
    processes[$node]=$!
}

ask_node() {
    mariadb --no-defaults -uroot -S "$state/$1/socket" -Nse "$2" 2>/dev/null
}

is_synced() {
    [ "$(ask_node "$1" "SHOW STATUS LIKE 'wsrep_local_state_comment'" | cut -f 2)" = Synced ] &&
        [ "$(ask_node "$1" "SHOW STATUS LIKE 'wsrep_ready'" | cut -f 2)" = ON ]
}

join_node() {
    start_node "$@"
    await 120 is_synced "$1" || fail "$1 did not join: $(tail -n 5 "$state/$1/error.log")"
}

# Starts three nodes; prints nothing.
start_cluster() {
    local node
    [ -n "$(find /usr/lib -name libgalera_smm.so 2>/dev/null)" ] && command -v rsync >/dev/null ||
        install_packages mariadb-server galera-4 rsync
    need_mariadb
    provider="$(find /usr/lib -name libgalera_smm.so 2>/dev/null | head -n 1)"
    [ -n "$provider" ] || fail "no Galera provider found (Debian: apt-get install galera-4)"

    base=$((RANDOM % 9000 + 20000))
    for node in node1 node2 node3; do
        mkdir "$state/$node" "$state/$node.tmp"
        become mysql "$state/$node" "$state/$node.tmp"
        init_mariadb "$state/$node"
    done
    join_node node1 --wsrep-new-cluster
    join_node node2
    join_node node3
}
