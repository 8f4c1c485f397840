# Stops a throw-away cluster and deletes its folder when no test process has held users.lock for a while.
# $1: the folder. $2: how many quiet seconds. Runs in a process group of its own, so it outlives the tests, also killed ones.
base=${1:?} idle=${2:?}
trap '' HUP INT
cd / || exit 1
exec 8>>"$base/watcher.lock" || exit 1
# Waits a little: those who look whether a watcher lives hold it for a moment.
flock -w 3 -x 8 || exit 0
quiet=0
while [ -d "$base" ]; do
    sleep 1
    exec 9>>"$base/users.lock" || exit 1
    if flock -n -x 9; then quiet=$((quiet + 1)); else quiet=0; fi
    if [ "$quiet" -ge "$idle" ]; then
        # The lock is kept to the end: who comes now waits, sees that the folder is gone, and makes another.
        pidfile=$base/cluster/pgdata/postmaster.pid
        for signal in INT QUIT KILL; do
            [ -f "$pidfile" ] || break
            kill -s "$signal" "$(head -n 1 "$pidfile")" 2>/dev/null || break
            tries=0
            while [ -f "$pidfile" ] && [ "$tries" -lt 50 ]; do
                sleep 0.1
                tries=$((tries + 1))
            done
        done
        rm -rf "$base"
        exit 0
    fi
    exec 9>&-
done
