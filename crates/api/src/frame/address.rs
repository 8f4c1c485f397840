//! Where a request comes from. `X-Forwarded-For` is written by whoever likes to: it is read only from a proxy of ours, and from the
//! right, because each proxy appends whom it saw.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The client: the peer, or, behind trusted proxies, the last address that is none of theirs.
pub fn client(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer?.ip().to_canonical();
    let ours = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !ours(&peer) {
        return Some(peer);
    }
    let hops: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim).collect();
    let mut last = peer;
    for hop in hops.into_iter().rev() {
        // What cannot be read was not written by a proxy of ours: nothing left of it is believed.
        let Some(address) = read(hop) else { return Some(last) };
        last = address;
        if !ours(&address) {
            return Some(address);
        }
    }
    Some(last)
}

/// `41.90.1.2`, `41.90.1.2:5555`, `2c0f::1`, `[2c0f::1]:5555`.
fn read(hop: &str) -> Option<IpAddr> {
    let plain = hop.parse::<IpAddr>().ok();
    plain.or_else(|| hop.parse::<SocketAddr>().ok().map(|a| a.ip())).map(|a| a.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client_of(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "127.0.0.0/8"].iter().map(|n| n.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        client(Some(peer.parse().unwrap()), &headers, &trusted).unwrap().to_string()
    }

    #[test]
    fn a_stranger_cannot_say_that_he_is_somebody_else() {
        assert_eq!(client_of("41.90.1.2:5", &["1.1.1.1"]), "41.90.1.2");
        assert_eq!(client_of("10.0.0.1:5", &["1.1.1.1, 41.90.1.2"]), "41.90.1.2");
        assert_eq!(client_of("10.0.0.1:5", &["1.1.1.1", "41.90.1.2, 10.0.0.9"]), "41.90.1.2");
        assert_eq!(client_of("10.0.0.1:5", &["1.1.1.1, garbage"]), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1:5", &["41.90.1.2:4711"]), "41.90.1.2");
        assert_eq!(client_of("10.0.0.1:5", &[]), "10.0.0.1");
        assert_eq!(client_of("[::ffff:10.0.0.1]:5", &["41.90.1.2"]), "41.90.1.2");
        assert_eq!(client_of("10.0.0.1:5", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn without_a_peer_nothing_is_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("1.1.1.1"));
        assert_eq!(client(None, &headers, &[]), None);
    }
}
