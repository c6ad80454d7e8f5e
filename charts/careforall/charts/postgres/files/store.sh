#!/bin/sh
# Where WAL and base backups go: the mounted volume, or the commands that the values give (STORE_PUT, STORE_GET, STORE_LIST,
# STORE_DELETE, run with $FILE and $NAME). PostgreSQL itself calls `put` and `get`, so a failure must be a failure:
# what is said to be stored is on disk, whole, and nothing stored is ever written over by something else.
set -eu

volume=${STORE_VOLUME:-/backups}
verb=$1

put() {
    target=$volume/$NAME
    if [ -e "$target" ]; then
        cmp -s "$FILE" "$target" # the same again after a crash or a failover is fine
        return
    fi
    mkdir -p "$(dirname "$target")"
    draft=$(mktemp "$(dirname "$target")/.draft.XXXXXX")
    trap 'rm -f "$draft"' EXIT
    cp "$FILE" "$draft"
    sync "$draft"
    mv "$draft" "$target"
    sync "$(dirname "$target")"
}

case $verb in
put) export FILE=$2 NAME=$3 ;;
get) export NAME=$2 FILE=$3 ;;
*) export NAME=$2 ;;
esac

case $verb in
put) if [ -n "${STORE_PUT:-}" ]; then sh -ec "$STORE_PUT"; else put; fi ;;
get) if [ -n "${STORE_GET:-}" ]; then sh -ec "$STORE_GET"; else cp "$volume/$NAME" "$FILE"; fi ;;
list)
    if [ -n "${STORE_LIST:-}" ]; then
        sh -ec "$STORE_LIST"
    elif [ -d "$volume/$NAME" ]; then
        cd "$volume" && find "$NAME" -type f ! -name ".draft.*" | sort
    fi
    ;;
delete) if [ -n "${STORE_DELETE:-}" ]; then sh -ec "$STORE_DELETE"; else rm -f "$volume/$NAME" && rmdir --ignore-fail-on-non-empty "$(dirname "$volume/$NAME")"; fi ;;
*) echo "usage: store.sh put FILE NAME | get NAME FILE | list PREFIX | delete NAME" >&2 && exit 2 ;;
esac
