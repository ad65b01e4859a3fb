#!/bin/sh
# A temporary PostgreSQL for the store's tests, on a loopback port of its own.
#
#   export LAMINA_TEST_POSTGRES="$(.ci/postgres.sh start /tmp/pg)"
#   go test ./store
#   .ci/postgres.sh stop /tmp/pg
#
# start installs the server with apt-get if there is none, makes a cluster in
# the given folder, which must not exist, and prints its URL. stop ends that
# cluster by the process ID that it wrote there, and removes the folder.
# The cluster trusts whoever reaches the loopback interface: for tests only.
set -eu

usage() {
	echo "usage: $0 start|stop FOLDER" >&2
	exit 2
}

[ $# -eq 2 ] || usage
dir=$2

# programs prints the folder of the newest server, whether or not it is on PATH.
programs() {
	if command -v initdb >/dev/null 2>&1; then
		dirname "$(readlink -f "$(command -v initdb)")"
		return
	fi
	for init in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb; do
		[ -x "$init" ] && dirname "$init"
	done | sort -V | tail -n 1
}

# as_server runs a command as a user that the server accepts: not root.
as_server() {
	if [ "$(id -u)" -eq 0 ]; then
		runuser -u postgres -- "$@"
	else
		"$@"
	fi
}

free_port() {
	port=$((20000 + $$ % 20000))
	while "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
		port=$((port + 1))
	done
	echo "$port"
}

start() {
	bin=$(programs)
	if [ -z "$bin" ]; then
		{
			# The package would otherwise start a cluster of its own.
			mkdir -p /etc/postgresql-common
			[ -e /etc/postgresql-common/createcluster.conf ] ||
				echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
			apt-get update
			DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql
		} >&2
		bin=$(programs)
	fi
	if [ -z "$bin" ]; then
		echo "$0: no initdb after installing postgresql" >&2
		exit 1
	fi

	mkdir "$dir"
	if [ "$(id -u)" -eq 0 ]; then
		chown postgres "$dir"
	fi
	cd "$dir"
	as_server "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 -N >"$dir/initdb.log" 2>&1 || {
		cat "$dir/initdb.log" >&2
		exit 1
	}
	port=$(free_port)
	as_server "$bin/pg_ctl" -D "$dir/data" -w -s -l "$dir/data/server.log" \
		-o "-h 127.0.0.1 -p $port -k '' -c max_connections=300 -c fsync=off" start >&2 || {
		cat "$dir/data/server.log" >&2
		exit 1
	}
	echo "postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"
}

stop() {
	if [ -f "$dir/data/postmaster.pid" ]; then
		pid=$(head -n 1 "$dir/data/postmaster.pid")
		kill -INT "$pid" # fast shutdown: connections are closed
		while kill -0 "$pid" 2>/dev/null; do
			sleep 0.1
		done
	fi
	rm -rf "${dir:?}"
}

case $1 in
start) start ;;
stop) stop ;;
*) usage ;;
esac
