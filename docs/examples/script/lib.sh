# Shared by the example programs. Guests are folders below $state, one file per value; a real set of
# programs would ask its hypervisor here instead. The environment holds nothing but KR_..., PATH and
# LC_ALL, so a setting of ours stands in a file beside the programs.
set -eu

# $0 is a descriptor where Kernreaktor runs the program; KR_SCRIPT says where it stands.
here="$(dirname "${KR_SCRIPT:-$0}")"
state=/var/lib/kernreaktor-example
[ ! -f "$here/state-folder" ] || state="$(cat "$here/state-folder")"

# Kernreaktor has checked the id already; a program that acts should still refuse a strange one.
guest_folder() {
  case "${KR_GUEST:-}" in
    '' | *[!A-Za-z0-9_.:-]* | .*) echo "no usable guest id: '${KR_GUEST:-}'" >&2; exit 2 ;;
  esac
  folder="$state/$KR_GUEST"
  if [ ! -d "$folder" ]; then
    echo "guest $KR_GUEST is not on $KR_NODE" >&2
    exit 3
  fi
}

now_ms() { date +%s000; }

start_it() {
  now_ms > "$folder/started_at_ms"
  echo running > "$folder/state"
}

stop_it() {
  echo stopped > "$folder/state"
  rm -f "$folder/started_at_ms"
}
