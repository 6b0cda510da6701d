#!/bin/sh
# Makes a user who reaches an inbox and an outbox by SFTP and nothing else, to be run as root:
#
#   sftp/add-user.sh NAME
#
# Prints the entry for `inboxes` in config.yaml. Once it is there, restart the service: it takes over
# its new group then.
set -eu
name=${1:?give a name}
case "$name" in
  -*|*[!a-z0-9_-]*) echo "$name: a name has small letters, digits, _ and - only" >&2; exit 2 ;;
esac
place=/srv/media-cleaner/$name
groupadd --force media-cleaner-sftp
if id "$name" >/dev/null 2>&1; then
  id -nG "$name" | tr ' ' '\n' | grep -qx media-cleaner-sftp || { echo \
    "$name is a user of this machine already, and could log in no more; give another name" >&2
    exit 2; }
else
  # `*` is no password: one can only come in by a key.
  useradd --user-group --groups media-cleaner-sftp --no-create-home --home-dir / \
    --shell /usr/sbin/nologin --password '*' "$name"
fi
usermod --append --groups "$name" media-cleaner
install -d -m 755 -o root -g root /srv/media-cleaner "$place"
# The service owns both. In the inbox the user moves only what is the user's own (t).
install -d -m 3770 -o media-cleaner -g "$name" "$place/inbox"
install -d -m 2750 -o media-cleaner -g "$name" "$place/outbox"
cat <<END
  - {name: $name, inbox: $place/inbox, outbox: $place/outbox, defaults: {user_id: $name}}
END
