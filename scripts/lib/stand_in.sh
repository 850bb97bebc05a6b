# shellcheck shell=bash
# Local stand-ins for the public base images, for machines that can pull none. Sourced by scripts/docker-demo.sh.
#
# Both are made from files of Debian packages installed on this machine. The builder's also carries this machine's
# Rust toolchain and every crate of Cargo.lock, vendored, and its cargo is set to use no network.

readonly stand_in_runtime_packages=(base-files bash coreutils dash findutils grep hostname libc6 libgcc-s1 passwd sed)
readonly stand_in_builder_packages=("${stand_in_runtime_packages[@]}" binutils gcc libc6-dev make)

# Prints the installed packages that packages "$@" need, themselves included.
stand_in_closure() {
    apt-cache depends --installed --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "$@" | sed -n 's/^\([a-z0-9][^ :]*\).*/\1/p' | sort --unique
}

# Fills folder $1 with the files of the remaining arguments, packages, and with what their set-up would have made.
stand_in_root() {
    local stage=$1 link
    shift
    mkdir -p "$stage"/{usr/{bin,sbin,lib,lib64,lib32,libx32},etc,root,tmp,var/lib,proc,sys,dev,run}
    chmod 1777 "$stage/tmp"
    # Debian 12 keeps /bin, /lib and so on as links into /usr; packages still name the old paths.
    for link in bin sbin lib lib64 lib32 libx32; do ln -s "usr/$link" "$stage/$link"; done
    stand_in_closure "$@" | xargs dpkg-query --listfiles |
        sed -nE -e 's,^/(bin|sbin|lib|lib64|lib32|libx32)/,/usr/\1/,' -e '/^\/usr\/share\/(doc|man|locale|info)\//d' -e 's,^/,,p' |
        sort --unique |
        while IFS= read -r file; do
            # Folders come with their files.
            if [[ -L /$file || -f /$file ]]; then printf '%s\n' "$file"; fi
        done |
        tar --create --directory / --no-recursion --files-from - --ignore-failed-read |
        tar --extract --directory "$stage" --no-same-owner
    cp /usr/share/base-passwd/passwd.master "$stage/etc/passwd"
    cp /usr/share/base-passwd/group.master "$stage/etc/group"
    sed 's/^\([^:]*\):.*/\1:*:19000:0:99999:7:::/' "$stage/etc/passwd" >"$stage/etc/shadow"
    sed 's/^\([^:]*\):.*/\1:*::/' "$stage/etc/group" >"$stage/etc/gshadow"
    chmod 640 "$stage/etc/shadow" "$stage/etc/gshadow"
    cp /etc/ld.so.conf "$stage/etc/" && cp -r /etc/ld.so.conf.d "$stage/etc/"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$stage/etc/nsswitch.conf"
}

# Imports folder $1 as image $2; the remaining arguments are changes to its configuration.
stand_in_import() {
    local stage=$1 image=$2 change
    local -a changes=()
    shift 2
    for change in "$@"; do changes+=(--change "$change"); done
    tar --create --directory "$stage" --owner=0 --group=0 --numeric-owner . |
        docker import "${changes[@]}" - "$image" >/dev/null
}

# Makes image $1, with what a small Debian image has.
stand_in_runtime() (
    stage=$(mktemp -d)
    trap 'rm -rf -- "$stage"' EXIT
    stand_in_root "$stage" "${stand_in_runtime_packages[@]}"
    stand_in_import "$stage" "$1" 'CMD ["bash"]'
)

# Makes image $1, with a C compiler, the Rust toolchain and the crates of the workspace in folder $2.
stand_in_builder() (
    image=$1 workspace=$2
    stage=$(mktemp -d)
    trap 'rm -rf -- "$stage"' EXIT
    stand_in_root "$stage" "${stand_in_builder_packages[@]}"
    ln -s gcc "$stage/usr/bin/cc"
    sysroot=$(cd "$workspace" && rustc --print sysroot)
    mkdir -p "$stage/usr/local/rust" "$stage/usr/local/cargo"
    tar --create --directory "$sysroot" --exclude lib/rustlib/src bin lib libexec |
        tar --extract --directory "$stage/usr/local/rust"
    (cd "$workspace" && cargo vendor --quiet --locked --versioned-dirs "$stage/usr/local/vendor") >/dev/null
    cat >"$stage/usr/local/cargo/config.toml" <<'CONFIG'
[source.crates-io]
replace-with = "vendored"

[source.vendored]
directory = "/usr/local/vendor"

[net]
offline = true
CONFIG
    stand_in_import "$stage" "$image" 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin' \
        'ENV CARGO_HOME=/usr/local/cargo' 'CMD ["bash"]'
)

# Removes stand-ins made earlier from other inputs than those of tag $1: each takes a gigabyte.
stand_in_forget() {
    docker images --format '{{.Repository}}:{{.Tag}}' --filter 'reference=quorate-stand-in/*' |
        { grep --invert-match ":$1\$" || true; } |
        xargs --no-run-if-empty docker rmi >/dev/null 2>&1 ||
        echo "some older stand-ins are in use and stay" >&2
}

# What the stand-ins are made from, as a tag: the same inputs need no second making.
stand_in_tag() {
    local workspace=$1
    {
        cat "$workspace/Cargo.lock" "${BASH_SOURCE[0]}"
        (cd "$workspace" && rustc --version --verbose)
        # shellcheck disable=SC2016 # dpkg-query fills these in
        dpkg-query --show --showformat '${Package} ${Version}\n' libc6 gcc bash
    } | sha256sum | cut -c1-16
}
