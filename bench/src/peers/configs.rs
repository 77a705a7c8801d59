//! The peers' configurations. The page prints them as they are here, with the placeholders.
//!
//! No file outside `@FOLDER@` may be named for writing, not even `/dev/null`: nginx removes its pid file when it ends, and as root
//! that takes the machine's `/dev/null` with it. A test keeps watch.

use std::net::SocketAddrV4;
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// File name and text. `@PORT@` is the peer's own port, `@BRIDGE@` the one between rathole's ends, `@ORIGIN@` the origin's
/// first address; a line with `@EACH@` is repeated for every origin address (`@N@` counts); `@STREAM@` loads nginx's module where it is one.
pub(crate) static CONFIGS: &[(&str, &str)] = &[
    (
        "squid.conf",
        "\
http_port 127.0.0.1:@PORT@
http_access allow all
workers 1
cache deny all
cache_mem 8 MB
access_log none
cache_log @FOLDER@/squid-cache.log
cache_store_log none
logfile_rotate 0
pid_filename none
netdb_filename none
client_db off
pinger_enable off
max_filedescriptors 16384
shutdown_lifetime 0 seconds
visible_hostname bench
",
    ),
    (
        "tinyproxy.conf",
        "\
Port @PORT@
Listen 127.0.0.1
Timeout 600
MaxClients 10000
LogLevel Critical
",
    ),
    (
        "haproxy-tcp.cfg",
        "\
global
    nbthread 1
    maxconn 4500
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    option splice-auto
listen bench
    bind 127.0.0.1:@PORT@ backlog 4096
    server origin@N@ @EACH@
",
    ),
    (
        "haproxy-http.cfg",
        "\
global
    nbthread 1
    maxconn 4500
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    http-reuse always
listen bench
    bind 127.0.0.1:@PORT@ backlog 4096
    server origin @ORIGIN@
",
    ),
    (
        "nginx.conf",
        "\
@STREAM@
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr crit;
pid @FOLDER@/nginx.pid;
events { worker_connections 18000; }
stream {
    access_log off;
    upstream origin {
        server @EACH@;
    }
    server {
        listen 127.0.0.1:@PORT@ backlog=4096;
        proxy_pass origin;
        proxy_timeout 600s;
    }
}
",
    ),
    (
        "rathole-server.toml",
        "\
[server]
bind_addr = \"127.0.0.1:@BRIDGE@\"
default_token = \"bench\"
[server.services.origin]
bind_addr = \"127.0.0.1:@PORT@\"
",
    ),
    (
        "rathole-client.toml",
        "\
[client]
remote_addr = \"127.0.0.1:@BRIDGE@\"
default_token = \"bench\"
[client.services.origin]
local_addr = \"@ORIGIN@\"
",
    ),
];

/// The named configuration with its placeholders filled.
pub(super) fn fill(name: &str, folder: &Path, port: u16, bridge: u16, origins: &[SocketAddrV4]) -> Outcome<String> {
    let (_, template) =
        CONFIGS.iter().find(|row| row.0 == name).ok_or_else(|| Failure::new(format!("no configuration {name}")))?;
    let stream = super::nginx_stream_module().map(|file| format!("load_module {};", file.display())).unwrap_or_default();
    let mut text = String::new();
    for line in template.lines() {
        let line = line
            .replace("@PORT@", &port.to_string())
            .replace("@BRIDGE@", &bridge.to_string())
            .replace("@ORIGIN@", &origins[0].to_string())
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@STREAM@", &stream);
        if line.contains("@EACH@") {
            for (index, origin) in origins.iter().enumerate() {
                text += &line.replace("@EACH@", &origin.to_string()).replace("@N@", &index.to_string());
                text.push('\n');
            }
        } else {
            text += &line;
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::origin_addresses;

    #[test]
    fn no_device_is_named() {
        assert!(!CONFIGS.is_empty());
        for (name, text) in CONFIGS {
            assert!(!text.contains("/dev/"), "{name}");
        }
    }

    #[test]
    fn no_placeholder_is_left() {
        assert!(!CONFIGS.is_empty());
        for (name, _) in CONFIGS {
            let text = fill(name, Path::new("/run-folder"), 8001, 8002, &origin_addresses(9)).expect("a known name");
            assert!(!text.contains('@'), "{name}: {text}");
            assert!(text.contains("8001") || text.contains("8002"), "{name}");
        }
        let text = fill("nginx.conf", Path::new("/run-folder"), 8001, 0, &origin_addresses(9)).expect("a known name");
        assert!(text.contains("server 127.0.1.1:9;") && text.contains("server 127.0.1.16:9;"));
    }
}
