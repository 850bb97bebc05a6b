//! `host:port` texts: what other processes dial. Resolved only when dialled, so a name may not exist yet.

/// Splits `host:port`; an IPv6 host stands in brackets. `None` when it is not of that form or the port is 0.
pub(super) fn port_of(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let named = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let bracketed = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inner.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
    };
    (host.len() <= 253 && (named(host) || bracketed(host))).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::port_of;

    #[test]
    fn splits_what_can_be_dialled() {
        assert_eq!(port_of("127.0.0.1:7201"), Some(("127.0.0.1", 7201)));
        assert_eq!(port_of("node_1.example:1"), Some(("node_1.example", 1)));
        assert_eq!(port_of("[::1]:7201"), Some(("[::1]", 7201)));
        for bad in [
            "",
            "host",
            ":1",
            "host:",
            "host:0",
            "host:65536",
            "::1:7201",
            "[::g]:1",
            "http://host:1",
            "a b:1",
        ] {
            assert_eq!(port_of(bad), None, "{bad}");
        }
    }
}
