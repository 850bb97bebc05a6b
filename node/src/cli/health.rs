//! `quorated health`: asks `/readyz`. No HTTP library: one request, read to the end.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// No answer of `/readyz` is longer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where the admin listener is reached from this machine.
pub(crate) fn local(listen: SocketAddr) -> String {
    let loopback = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(loopback, listen.port()).to_string()
}

/// Asks the node whose admin listener is at `address`; its answer when it is ready, else why it is not.
pub(crate) fn check(address: &str, timeout: Duration) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the admin listener at {address} does not answer: {error}");
    let resolved = address.to_socket_addrs().map_err(failed)?.next();
    let resolved = resolved.ok_or_else(|| format!("{address} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&resolved, timeout).map_err(failed)?;
    stream.set_read_timeout(Some(timeout)).map_err(failed)?;
    stream.set_write_timeout(Some(timeout)).map_err(failed)?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    understood(&String::from_utf8_lossy(&answer))
        .unwrap_or_else(|| Err(format!("{address} does not speak HTTP")))
}

/// The body of a 200, or the body of anything else as an error; `None` when it is no HTTP.
fn understood(answer: &str) -> Option<Result<String, String>> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let body = body.trim().to_owned();
    Some(match status {
        "200" => Ok(body),
        _ if body.is_empty() => Err(format!("answered with status {status}")),
        _ => Err(body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_reached_on_loopback() {
        assert_eq!(local("0.0.0.0:7301".parse().unwrap()), "127.0.0.1:7301");
        assert_eq!(local("[::]:7301".parse().unwrap()), "[::1]:7301");
        assert_eq!(local("10.0.0.1:7301".parse().unwrap()), "10.0.0.1:7301");
    }

    #[test]
    fn answers_are_understood() {
        assert_eq!(understood("HTTP/1.1 200 OK\r\nx: y\r\n\r\nready\n"), Some(Ok("ready".to_owned())));
        assert_eq!(understood("HTTP/1.1 503 No\r\n\r\nwhy\n"), Some(Err("why".to_owned())));
        assert_eq!(
            understood("HTTP/1.1 404 Not Found\r\n\r\n"),
            Some(Err("answered with status 404".to_owned()))
        );
        assert_eq!(understood("SSH-2.0\r\n\r\n"), None);
        assert_eq!(understood(""), None);
    }
}
