# Throwaway database servers on loopback, for the scripts that source this file: each server runs as
# a user of its own, never as root, and keeps its files below $state, which the script makes and
# removes. A script sets `me` to its name, and defines `fail TEXT`, which ends it.
# shellcheck shell=bash

# Prints where the servers' files go: to memory where 4 GiB are free there, since tests make
# hundreds of databases, and a disk takes longer to make their files than the tests take to run.
roomiest() {
    local free
    free="$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1 || true)"
    if [ -w /dev/shm ] && [ "${free:-0}" -gt 4194304 ]; then echo /dev/shm; else echo /tmp; fi
}

# Whether the list of Debian's packages is fresh.
updated=""

# Installs Debian's packages, where that is possible.
install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    echo "$me: installing Debian's $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    { [ -n "$updated" ] || apt-get update -q; } >&2 || fail "apt-get update failed"
    updated=yes
    apt-get install -q -y "$@" >&2 || fail "apt-get could not install $*"
}

# Prints the directory with the newest programs of a Postgres server.
find_programs() {
    local candidate on_path
    on_path="$(command -v postgres || true)"
    for candidate in \
        "${on_path:+$(dirname "$(readlink -f "$on_path")")}" \
        $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV); do
        if [ -x "$candidate/postgres" ] && [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_ctl" ]
        then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

# Sets `programs` to the programs of Debian's Postgres, and installs them where they are missing.
need_postgres() {
    programs="$(find_programs)"
    if [ -z "$programs" ]; then
        install_packages postgresql postgresql-contrib
        programs="$(find_programs)"
    fi
    [ -n "$programs" ] || fail "no Postgres server found (looked in PATH and /usr/lib/postgresql)"
}

# Sets `pooler` to the program of PgBouncer, and installs it where it is missing.
need_pgbouncer() {
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || install_packages pgbouncer
    pooler="$(command -v pgbouncer || echo /usr/sbin/pgbouncer)"
    [ -x "$pooler" ] || fail "no PgBouncer found (Debian: apt-get install pgbouncer)"
}

# Sets `server` and `install` to the programs of MariaDB, and installs them where they are missing.
need_mariadb() {
    command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ] || install_packages mariadb-server
    server="$(command -v mariadbd || echo /usr/sbin/mariadbd)"
    install="$(command -v mariadb-install-db || true)"
    [ -x "$server" ] && [ -n "$install" ] ||
        fail "no MariaDB server found (Debian: apt-get install mariadb-server)"
}

# Sets `as_user` to what runs a program as the user $1, or as nobody where there is none: database
# servers refuse to run as root. Lets that user write to the existing directories $2 ...
become() {
    local user="$1"
    shift
    as_user=()
    [ "$(id -u)" = 0 ] || return 0
    id "$user" >/dev/null 2>&1 || user=nobody
    chmod o+x "$state"
    chown "$user" "$@"
    as_user=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
}

# Makes the files of a Postgres server at $1.
init_postgres() {
    "${as_user[@]}" "$programs/initdb" -D "$1" -U postgres -A trust -E UTF8 --no-locale --no-sync \
        >"$state/initdb.log" 2>&1 || { cat "$state/initdb.log" >&2; fail "initdb failed"; }
}

# Makes the files of a MariaDB server at $1, which is an empty directory.
init_mariadb() {
    "${as_user[@]}" "$install" --no-defaults --datadir="$1" --skip-test-db \
        --auth-root-authentication-method=normal >"$state/mariadb-install.log" 2>&1 ||
        { cat "$state/mariadb-install.log" >&2; fail "mariadb-install-db failed"; }
}

# Prints a port that is probably free; programs that bind it say if it is not.
some_port() {
    echo $((RANDOM % 20000 + 40000))
}

# The process of each server that the shell has started, by its name; empty where it does not run.
declare -A processes=()

# Kills a server and all its processes.
kill_server() {
    local process="${processes[$1]:-}" children
    [ -n "$process" ] || return 0
    children="$(pgrep -P "$process" || true)"
    # shellcheck disable=SC2086
    kill -9 "$process" $children 2>/dev/null || true
    wait "$process" 2>/dev/null || true
    processes[$1]=""
}

still_useful() {
    true
}

# Waits until the command succeeds, $1 seconds at most. A script that has a reason to give up ends
# in its own `still_useful`.
await() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        still_useful
        sleep 0.1
    done
}
