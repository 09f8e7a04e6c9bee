#!/bin/sh
# Installs edge-xray from this folder. Needs Python, and no network.
#
#   sh install.sh [--prefix DIR] [--bin DIR]    install, or upgrade what is there
#   sh install.sh --watch FOLDER [--units DIR]  also score films as they arrive there (systemd)
#   sh install.sh --rollback                    go back to the version before
#   sh install.sh --uninstall                   remove it; results stay
#
# Each version has a folder of its own below PREFIX/versions, and PREFIX/current points at the one in
# use. The pointer moves last, in one step, after the new version has passed its self-test and is on the
# disk: whatever stops this script before that, the earlier version goes on working.
set -eu
umask 022
unset PYTHONPATH PYTHONHOME CDPATH
export PYTHONNOUSERSITE=1

kit=$(cd "$(dirname "$0")" && pwd -P)
if [ "$(id -u)" = 0 ]; then
  prefix=/opt/edge-xray
  bin=/usr/local/bin
  units=/etc/systemd/system
  user=
else
  # Of a job or a service that was given none.
  [ -n "${HOME:-}" ] || HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
  prefix=${XDG_DATA_HOME:-$HOME/.local/share}/edge-xray
  bin=$HOME/.local/bin
  units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
  user=--user
fi
action=install
films=

say() { printf '%s\n' "$*"; }
die() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --prefix | --bin | --watch | --units)
      [ $# -ge 2 ] || die "$1 wants a folder after it"
      case $1 in
        --prefix) prefix=$2 ;;
        --bin) bin=$2 ;;
        --watch) films=$2 ;;
        --units) units=$2 ;;
      esac
      shift
      ;;
    --rollback) action=rollback ;;
    --uninstall) action=uninstall ;;
    -h | --help)
      sed -n '2,8s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) die "$1 is not known; sh install.sh --help lists what is" ;;
  esac
  shift
done
unit=$units/edge-xray-watch.service

[ -n "$(pwd -P 2>/dev/null)" ] ||
  die "the folder that this was called in is gone; go to another one, and call it again: cd /"
[ -f "$kit/kit.env" ] && [ -f "$kit/SHA256SUMS" ] ||
  die "$kit is no whole kit (kit.env or SHA256SUMS is missing); unpack it again"

# Read, not run: before the sums are checked the file may hold anything.
setting() { sed -n "s/^$1=//p" "$kit/kit.env"; }
id=$(setting KIT_ID)
wanted=$(setting KIT_PYTHON)
[ -n "$id" ] || die "$kit/kit.env names no version; unpack the kit again"

# The system's Python may be another one since: to go back any Python 3 will do, and to remove none is needed.
python=
for candidate in ${PYTHON:-} "python$wanted" python3 python; do
  if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys
action, wanted = sys.argv[1:]
sys.exit("%d.%d" % sys.version_info[:2] != wanted if action == "install" else sys.version_info < (3,))' \
    "$action" "$wanted" 2>/dev/null; then
    python=$(command -v "$candidate")
    break
  fi
done
if [ -z "$python" ] && [ "$action" = rollback ]; then
  die "to go back needs Python 3, and this machine has none; name one: PYTHON=/path/to/python3 sh install.sh --rollback"
elif [ -z "$python" ] && [ "$action" = install ]; then
  have=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)
  die "this kit is for Python $wanted, and this machine has $have; build a kit with --python $have, or name one: PYTHON=/path/to/python$wanted sh install.sh"
fi

# A folder's one name, however it was spelled: with a / at its end, through a link, or not there yet.
real() {
  if [ -d "$1" ]; then
    readlink -f -- "$1"
  elif [ -n "$python" ]; then
    "$python" -c 'import os, sys; print(os.path.realpath(sys.argv[1]))' "$1"
  fi
}
if [ "$action" = uninstall ]; then
  [ -d "$prefix/versions" ] || die "nothing is installed in $prefix"
else
  bin=$("$python" -c 'import os, sys; print(os.path.abspath(sys.argv[1]))' "$bin")
fi
prefix=$(real "$prefix")

# Points a link at a target in one step, so there is no moment without it.
point() {
  "$python" -c 'import os, sys
target, link = sys.argv[1:]
new = link + ".new"
if os.path.lexists(new):
    os.remove(new)
os.symlink(target, new)
os.replace(new, link)' "$1" "$2"
}

# A folder copied from a read-only medium may be read-only too, and then keeps what is in it.
remove() {
  chmod -R u+w "$@" 2>/dev/null || true
  rm -rf "$@"
}

# As systemd reads it: % and $ stand for something else, a backslash and " end a word.
quoted() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g; s/%/%%/g; s/\$/$$/g'; }

ours() {
  target=$(readlink "$bin/edge-xray") && [ "$(real "${target%/current/venv/bin/edge-xray}")" = "$prefix" ]
}

in_use() { basename "$(readlink "$prefix/current" || true)"; }

# The version before the one in use: the one that it names. Where one was damaged, and could not be
# installed anew, nothing names it; then it is the other one.
before() {
  target=$(readlink "$prefix/current/.before" || true)
  back=${target##*/}
  if [ ! -e "$prefix/current/.complete" ] && [ -z "$back" ]; then
    for other in "$prefix"/versions/*; do
      [ ! -e "$other/.complete" ] || back=${other##*/}
    done
  fi
  if [ -e "$prefix/versions/$back/.complete" ]; then printf '%s' "$back"; fi
}

# Puts a version in use. Which one was before it stands in its own folder, so that one step says both:
# wherever this is cut off, one version is in use, and the one before it is known.
use() {
  now=$(in_use)
  sync
  if [ "$now" != "$1" ] && [ -e "$prefix/versions/$now/.complete" ]; then
    point "../$now" "$prefix/versions/$1/.before"
  fi
  sync
  point "$prefix/versions/$1" "$prefix/current"
  [ "$now" = "$1" ] || changed=1
  sync
}

# A service goes on with the version that it began with until it is begun again.
restart_watch() {
  [ -f "$unit" ] || return 0
  systemctl $user try-restart edge-xray-watch.service && return 0
  say "The watch service was not restarted, and may run the version before: systemctl ${user:+$user }restart edge-xray-watch"
  return 1
}

lock=$prefix/.installing
mine=     # set while the lock is ours
building= # the folder of a version that is not complete yet
changed=  # set once another version is in use
broken=   # set once an installed version failed its self-test
finish() {
  status=$?
  trap - EXIT
  if [ "$status" -ne 0 ]; then
    [ -z "$building" ] || remove "$building"
    if [ -n "$broken" ] && [ "$(in_use)" = "$id" ]; then
      [ -z "$(before)" ] || say "install: edge-xray $(before) is there still: sh install.sh --rollback" >&2
    elif [ -z "$changed" ] && [ -e "$prefix/current/.complete" ]; then
      say "install: nothing was changed; edge-xray $(in_use) goes on working" >&2
    fi
  fi
  [ -z "$mine" ] || rm -rf "$lock"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

take_lock() {
  mkdir -p "$prefix" || die "$prefix cannot be made; name another folder with --prefix"
  # A power cut leaves the lock behind, and after it the number is another process's.
  boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo)
  if ! mkdir "$lock" 2>/dev/null; then
    holder=$(cat "$lock/pid" 2>/dev/null || echo)
    since=$(cat "$lock/boot" 2>/dev/null || echo "$boot")
    if [ -n "$holder" ] && [ "$since" = "$boot" ] && kill -0 "$holder" 2>/dev/null; then
      die "another installation is at work in $prefix (process $holder); wait for it, or, if that process is none, remove $lock"
    fi
    rm -rf "$lock"
    mkdir "$lock" || die "$lock cannot be made"
  fi
  mine=1
  [ -z "$boot" ] || echo "$boot" >"$lock/boot"
  echo $$ >"$lock/pid"
}

if [ "$action" = uninstall ]; then
  take_lock
  if [ -f "$unit" ]; then
    systemctl $user disable --now edge-xray-watch.service 2>/dev/null || true
    rm -f "$unit"
  fi
  if ours; then rm -f "$bin/edge-xray"; fi
  rm -rf "$prefix/current" "$prefix/current.new"
  remove "$prefix/versions" "$lock"
  mine=
  rmdir "$prefix" 2>/dev/null || say "Kept what else is in $prefix."
  say "edge-xray is removed. Results of scans are where they were."
  exit 0
fi

if [ "$action" = rollback ]; then
  [ -n "$(before)" ] || die "there is no earlier version in $prefix"
  take_lock
  use "$(before)"
  restart_watch || true
  say "edge-xray $(in_use) is in use again."
  exit 0
fi

# Every file of the kit, and none missing.
"$python" - "$kit" <<'PYTHON' || die "the kit is damaged; copy it to the stick again"
import hashlib, os, sys

kit, bad = sys.argv[1], []
with open(os.path.join(kit, "SHA256SUMS"), encoding="utf-8") as sums:
    lines = sums.read().splitlines()
if not lines:
    bad.append("SHA256SUMS: empty")
for line in lines:
    digest, _, name = line.partition("  ")
    try:
        with open(os.path.join(kit, name), "rb") as stream:
            found = hashlib.sha256(stream.read()).hexdigest()
    except OSError as error:
        bad.append("%s: %s" % (name, error.strerror))
        continue
    if found != digest:
        bad.append("%s: its content is not what was packed" % name)
for text in bad:
    print("install: " + text, file=sys.stderr)
sys.exit(bool(bad))
PYTHON

"$python" - "$(setting KIT_MACHINES)" "$(setting KIT_BITS)" <<'PYTHON' ||
import platform, struct, sys

# A 32-bit Pi OS may run on a 64-bit kernel, which platform.machine() tells of: so the bits count too.
machines, bits = sys.argv[1].split(), int(sys.argv[2])
sys.exit(platform.machine() not in machines or struct.calcsize("P") * 8 != bits)
PYTHON
  die "this kit is for $(setting KIT_TITLE); this machine is $(uname -m)"

packages=$(setting KIT_SYSTEM_PACKAGES)
if [ -n "$packages" ]; then
  "$python" -c "import $(setting KIT_SYSTEM_MODULES)" 2>/dev/null ||
    die "this machine needs the system's $packages first: sudo apt install $packages"
fi

account=
if [ -n "$films" ]; then
  [ -d "$films" ] || die "$films: no such folder to watch"
  films=$(cd "$films" && pwd -P)
  command -v systemctl >/dev/null 2>&1 ||
    die "this machine has no systemd; install without --watch, and run by hand: edge-xray watch \"$films\" --output \"$films-results\""
fi
if [ -n "$films" ] && [ -z "$user" ]; then
  # Strangers' files are read by whose films they are, not by root.
  owner=$(stat -c %U "$films")
  case $owner in
    root) die "$films is root's, who is not to read strangers' files; give the folder to a user: chown USER \"$films\"" ;;
    UNKNOWN) die "the owner of $films has no name on this machine; give the folder to a user: chown USER \"$films\"" ;;
  esac
  "$python" - "$films" "$owner" <<'PYTHON' || exit 1
import os, pwd, stat, sys

films, owner = sys.argv[1:]
results, who = films + "-results", pwd.getpwnam(owner)
def stop(text): sys.exit("install: " + text)

# As the owner, so that nothing that the owner puts in the way leads root to what is not the owner's.
os.initgroups(owner, who.pw_gid)
os.setegid(who.pw_gid)
os.seteuid(who.pw_uid)
if not os.access(films, os.R_OK | os.X_OK, effective_ids=True):
    stop("%s, whose folder %s is, cannot read it; mend its permissions and those above" % (owner, films))
try:
    os.mkdir(results)
    sys.exit()
except FileExistsError:
    if os.path.islink(results):
        stop("%s is a link, and the list is not written through one; remove it" % results)
    if os.path.isdir(results) and os.access(results, os.W_OK | os.X_OK, effective_ids=True):
        sys.exit()
    stop("%s is there, and is no folder that %s can write to; mend that, or rename it" % (results, owner))
except OSError:
    os.seteuid(0)
    os.setegid(0)
above = results
while above != "/":
    above = os.path.dirname(above)
    info = os.lstat(above)
    if info.st_uid != 0 or (info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX):
        stop("%s cannot make %s; make it first: install -d -o %s \"%s\"" % (owner, results, owner, results))
# All above is root's alone, so what is made here is what gets the new owner.
try:
    os.mkdir(results)
    os.chown(results, who.pw_uid, who.pw_gid, follow_symlinks=False)
except OSError as error:
    stop("%s cannot be made (%s)" % (results, error.strerror))
PYTHON
  account="User=$owner"
fi

take_lock
version=$prefix/versions/$id
if [ -e "$version/.complete" ]; then
  say "edge-xray $id is installed already; checking it."
  # The shell takes an empty program for one that did well.
  if ! [ -s "$version/venv/bin/edge-xray" ] || ! "$version/venv/bin/edge-xray" self-test; then
    broken=1
    say "It failed its self-test."
  fi
fi
if [ -n "$broken" ] || [ ! -e "$version/.complete" ]; then
  "$python" - "$prefix" "$(setting KIT_NEEDS_BYTES)" <<'PYTHON' || die "not enough free space at $prefix"
import shutil, sys

free, needs = shutil.disk_usage(sys.argv[1]).free, int(sys.argv[2])
if free < needs:
    print("install: %d MB free, %d MB needed" % (free // 10**6, needs // 10**6), file=sys.stderr)
sys.exit(free < needs)
PYTHON
  say "Installing edge-xray $id into $prefix"
  # What an installation that was cut off left behind goes first, or what is damaged.
  last=$(readlink "$version/.before" || true)
  building=$version
  rm -f "$version/.complete"
  remove "$version"
  mkdir -p "$version"
  [ -z "$last" ] || point "$last" "$version/.before"
  "$python" -m venv --without-pip ${packages:+--system-site-packages} "$version/venv" ||
    die "Python could not make an environment; on Debian: sudo apt install python3-venv"
  pip=$(ls "$kit"/tools/pip-*.whl)
  # What pip writes for a while lies here, where there is room, and not in a /tmp that may be full.
  mkdir "$version/tmp"
  TMPDIR=$version/tmp "$version/venv/bin/python" "$pip/pip" --isolated --disable-pip-version-check --no-cache-dir --quiet \
    install --no-index --find-links "$kit/wheels" --require-hashes --no-deps -r "$kit/requirements.txt" ||
    die "the packages could not be installed"
  remove "$version/tmp"
  for part in "$kit"/*; do
    case ${part##*/} in
      wheels | tools | install.sh | install.ps1) ;;
      *) cp -R "$part" "$version/" ;;
    esac
  done
  # Of a read-only medium the copies are read-only too, which would stop whoever removes them.
  chmod -R u+w "$version"
  "$version/venv/bin/edge-xray" self-test || die "the new version failed its self-test on this machine"
  # Complete is what a power cut leaves whole.
  sync
  : >"$version/.complete"
  building='' broken=''
fi
use "$id"

program=edge-xray
mkdir -p "$bin"
if [ -e "$bin/edge-xray" ] && ! ours; then
  program="\"$prefix/current/venv/bin/edge-xray\""
  say "$bin/edge-xray is another program's and stays; call $program"
else
  point "$prefix/current/venv/bin/edge-xray" "$bin/edge-xray"
  case :$PATH: in
    *:"$bin":*) ;;
    *)
      program="\"$bin/edge-xray\""
      say "$bin is not on your path; log in again, or add it if that does not. Until then call $program"
      ;;
  esac
fi

if [ -n "$films" ]; then
  mkdir -p "$units"
  changed=1
  cat >"$unit" <<UNIT
[Unit]
Description=edge-xray: score films as they arrive in $(quoted "$films")
After=local-fs.target

[Service]
ExecStart="$(quoted "$prefix")/current/venv/bin/edge-xray" watch "$(quoted "$films")" --output "$(quoted "$films")-results"
$account
Restart=on-failure
RestartSec=10
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec=60
PrivateNetwork=yes
NoNewPrivileges=yes

[Install]
WantedBy=$([ -n "$user" ] && echo default.target || echo multi-user.target)
UNIT
  systemctl $user daemon-reload && systemctl $user enable edge-xray-watch.service &&
    systemctl $user restart edge-xray-watch.service ||
    die "$unit is written, and systemd did not take it: systemctl ${user:+$user }status edge-xray-watch"
  say "Films that arrive in $films are scored by themselves; the list is in $films-results."
  [ -z "$user" ] || say "The service runs while you are logged in; from boot on with: sudo loginctl enable-linger $(id -un)"
fi

# A service that still runs an old version needs its folder.
if [ -n "$films" ] || restart_watch; then
  keep=$(before)
  for old in "$prefix"/versions/*; do
    [ "${old##*/}" = "$id" ] || [ "${old##*/}" = "$keep" ] || remove "$old"
  done
fi
sync

if [ -n "$(setting KIT_TRY_SAMPLES)" ]; then
  say "Done. Try it: $program scan \"$prefix/current/samples\""
else
  say "Done. Try it: $program scan FOLDER-OF-FILMS"
fi
say "How to use it: $prefix/current/docs/clinic.html"
[ -n "$films" ] || say "To score films as they arrive: sh install.sh --watch FOLDER"
