#!/bin/sh
# Installs or upgrades the service from this source; to be run as root. What is in
# /etc/media-cleaner, /var/lib/media-cleaner and /var/log/media-cleaner is kept.
#
#   systemd/install.sh [--web]      --web: requests by a unit of their own (web_workers: 0)
#
# PYTHON=/path/to/python3.12 chooses the Python, TORCH_INDEX=URL another build of torch (see make
# help), ROOT=/some/folder installs below a folder and starts nothing.
set -eu
# The service's user has to reach the program, whatever the umask of who installs it.
umask 022
cd "$(dirname "$0")/.."
ROOT=${ROOT:-}
APP=/opt/media-cleaner
UNITS="$ROOT/etc/systemd/system"
units=media-cleaner
[ ! -e "$UNITS/media-cleaner-web.service" ] || units="media-cleaner media-cleaner-web"
case "${1:-}" in
  '') ;;
  --web) units="media-cleaner media-cleaner-web" ;;
  *) echo "install.sh knows --web only, not $1" >&2; exit 2 ;;
esac
[ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || { echo 'install.sh has to be run as root' >&2; exit 2; }
CONFIG="$ROOT/etc/media-cleaner/config.yaml"
[ "$units" = media-cleaner ] || [ ! -e "$CONFIG" ] || grep -q '^web_workers: 0' "$CONFIG" || {
  echo 'set web_workers: 0 in /etc/media-cleaner/config.yaml, then run this again' >&2
  [ ! -e "$UNITS/media-cleaner-web.service" ] ||
    echo "or do without: systemctl disable --now media-cleaner-web; rm $UNITS/media-cleaner-web.service" >&2
  exit 2; }

PYTHON=${PYTHON:-python3}
is_new_enough='sys.exit(sys.version_info < (3, 11))'
# There may be one that Debian began without python3-venv, or of a Python that has been replaced.
"$ROOT$APP/bin/python" -c "import sys, pip; $is_new_enough" 2>/dev/null || {
  "$PYTHON" -c "import sys; $is_new_enough" || { echo \
    "Python 3.11 or newer is needed, which $PYTHON is not; name one: PYTHON=/path/to/python3" >&2; exit 2; }
  "$PYTHON" -m venv --clear "$ROOT$APP"
}
pip() { "$ROOT$APP/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }
# Of a copy: a build in the source takes along what an earlier one left there, of a version that may
# be newer, and leaves files that are root's.
copy=$(mktemp -d)
# A process that starts while files change would be of the new version among those of the old.
stopped=
finish() {
  rm -r "$copy"
  [ -z "$stopped" ] || systemctl start --no-block $stopped  # of no effect where all went well
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
cp -R MANIFEST.in README.md daemon pipeline pyproject.toml setup.cfg "$copy"
for unit in media-cleaner-web media-cleaner; do
  if [ -z "$ROOT" ] && [ -e "$UNITS/$unit.service" ]; then
    case $(systemctl is-active "$unit") in
      active | activating | reloading) stopped="$unit $stopped" ;;
    esac
    systemctl stop "$unit"
  fi
done
# Builds of one version differ in nothing that pip looks at, and each may be some GB.
TORCH_INDEX=${TORCH_INDEX:-}
mark="$ROOT$APP/torch-index"
anew=--force-reinstall
[ "$(cat "$mark" 2>/dev/null)" != "$TORCH_INDEX" ] || anew=
rm -f "$mark"
# First and alone, so that nothing that follows chooses another build.
pip --no-deps ${TORCH_INDEX:+$anew --index-url "$TORCH_INDEX"} \
  --constraint constraints.txt torch torchvision
(umask 077 && echo "$TORCH_INDEX" >"$mark")  # an index may be named with a password
pip --constraint constraints.txt "$copy[networks,onnx]"
# Of one version number the program may differ: its own files, whatever pip thinks.
pip --no-deps --force-reinstall "$copy"

install -D -m 644 systemd/media-cleaner.sysusers "$ROOT/usr/lib/sysusers.d/media-cleaner.conf"
install -D -m 644 systemd/media-cleaner.tmpfiles "$ROOT/usr/lib/tmpfiles.d/media-cleaner.conf"
systemd-sysusers ${ROOT:+--root="$ROOT"} media-cleaner.conf
systemd-tmpfiles ${ROOT:+--root="$ROOT"} --create media-cleaner.conf
# Every key may hold a secret, such as that of webhooks.
[ -e "$CONFIG" ] || {
  install -D -m 640 systemd/config.yaml "$CONFIG"
  group=$(sed -n 's/^media-cleaner:[^:]*:\([0-9]*\):.*/\1/p' "$ROOT/etc/group")
  chgrp "$group" "$CONFIG"
  [ "$units" = media-cleaner ] || echo 'web_workers: 0' >>"$CONFIG"
}
for unit in $units; do
  install -D -m 644 "systemd/$unit.service" "$UNITS/$unit.service"
done
[ -z "$ROOT" ] || exit 0

ln -sf "$APP/bin/media-cleaner" /usr/local/bin/media-cleaner
systemctl daemon-reload
for unit in $units; do
  systemctl enable "$unit"
  systemctl restart "$unit"  # waits until it is ready
done
systemctl --no-pager --lines=0 status $units
