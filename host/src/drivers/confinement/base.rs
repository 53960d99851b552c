//! What every sandboxed driver may reach besides what its entry names: what the dynamic loader, the C library and TLS
//! need to work at all. No secret lies there, and nothing that tells of other processes.

/// To read and to execute.
pub(super) const READ: &[&str] = &[
    // Libraries and the dynamic loader, which `exec` of a program executes.
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    // Names: hosts, services, users, and the answer to where they come from. systemd-resolved and resolvconf replace the file
    // by another, and rules are about files, so their folders are named.
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/run/resolvconf",
    "/run/systemd/resolve",
    // Certificates of authorities; /etc/ssl as a whole would hold private keys.
    "/etc/ca-certificates",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    // Time and language.
    "/etc/localtime",
    "/usr/share/locale",
    "/usr/share/zoneinfo",
    // What run-time systems ask about the machine and about themselves.
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/kernel/random",
    "/proc/sys/vm/overcommit_memory",
    "/proc/uptime",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
];

/// To read and to write.
pub(super) const WRITE: &[&str] = &["/dev/full", "/dev/null", "/dev/zero"];
