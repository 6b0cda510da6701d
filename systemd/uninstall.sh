#!/bin/sh
# Removes the service, to be run as root. Videos, results, queue, logs and configuration are kept;
# the last lines say how to remove those.
set -eu
ROOT=${ROOT:-}
[ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || { echo 'uninstall.sh has to be run as root' >&2; exit 2; }
for unit in media-cleaner-web media-cleaner; do
  [ -n "$ROOT" ] || systemctl disable --now "$unit" 2>/dev/null || true  # it may not be installed
  rm -f "$ROOT/etc/systemd/system/$unit.service"
done
[ -n "$ROOT" ] || { systemctl daemon-reload; rm -f /usr/local/bin/media-cleaner; }
rm -rf "$ROOT/opt/media-cleaner"
rm -f "$ROOT/usr/lib/sysusers.d/media-cleaner.conf" "$ROOT/usr/lib/tmpfiles.d/media-cleaner.conf"
cat <<'END'
Kept: /etc/media-cleaner, /var/lib/media-cleaner, /var/log/media-cleaner, /srv/media-cleaner and
the user media-cleaner. To remove them too, with every original and result:
  rm -r /etc/media-cleaner /var/lib/media-cleaner /var/log/media-cleaner /var/cache/media-cleaner \
    /srv/media-cleaner
  userdel media-cleaner
END
