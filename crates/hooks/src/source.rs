//! Who is knocking: the caller's address, and whether it may speak for M-Pesa (rule A6, M-Pesa contract 8.3).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The addresses from which Safaricom posts, as its portal lists them (M-Pesa contract 8.3).
pub const SAFARICOM: [Ipv4Addr; 12] = [
    Ipv4Addr::new(196, 201, 214, 200),
    Ipv4Addr::new(196, 201, 214, 206),
    Ipv4Addr::new(196, 201, 214, 207),
    Ipv4Addr::new(196, 201, 214, 208),
    Ipv4Addr::new(196, 201, 213, 114),
    Ipv4Addr::new(196, 201, 213, 44),
    Ipv4Addr::new(196, 201, 212, 127),
    Ipv4Addr::new(196, 201, 212, 138),
    Ipv4Addr::new(196, 201, 212, 129),
    Ipv4Addr::new(196, 201, 212, 136),
    Ipv4Addr::new(196, 201, 212, 74),
    Ipv4Addr::new(196, 201, 212, 69),
];

/// The allow-list of production.
pub fn safaricom() -> Vec<IpNet> {
    SAFARICOM.into_iter().map(|address| IpNet::from(IpAddr::V4(address))).collect()
}

/// The allow-list of the sandbox on this machine.
pub fn loopback() -> Vec<IpNet> {
    vec![IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)), IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128))]
}

/// Which addresses are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// From here M-Pesa posts. A message from elsewhere is stored too, but it is no evidence (rule A6).
    pub callbacks: Vec<IpNet>,
    /// Our own proxies: only what they say in `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(Option<IpAddr>);

impl Peer {
    /// The address, when it is known.
    pub const fn address(self) -> Option<IpAddr> {
        self.0
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl Sources {
    /// The caller: the other end of the connection, or, when that is our own proxy, the last address of `X-Forwarded-For` that
    /// is not a proxy of ours. Everything further left was written by the caller and proves nothing. An entry that is no address
    /// makes the caller unknown, and so not trusted.
    pub fn peer(&self, extensions: &Extensions, headers: &HeaderMap) -> Peer {
        let connection = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let Some(connection) = connection else { return Peer(None) };
        if !contains(&self.proxies, connection) {
            return Peer(Some(connection));
        }
        let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or("?")).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            match parse(entry) {
                Some(address) if contains(&self.proxies, address) => {}
                other => return Peer(other),
            }
        }
        // Only proxies on the way: the request was made by the nearest one itself.
        Peer(Some(connection))
    }

    /// Whether it may speak for M-Pesa.
    pub fn speaks_for_mpesa(&self, peer: Peer) -> bool {
        peer.0.is_some_and(|address| contains(&self.callbacks, address))
    }
}

fn contains(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

/// An entry of the header: an address, perhaps with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse::<IpAddr>().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(sources: &Sources, connection: &str, forwarded: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(connection.parse::<SocketAddr>().unwrap()));
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        sources.peer(&extensions, &headers).to_string()
    }

    #[test]
    fn a_strangers_word_about_its_own_address_is_not_believed() {
        let sources = Sources { callbacks: safaricom(), proxies: vec!["10.0.0.0/8".parse().unwrap()] };
        assert_eq!(peer(&sources, "41.90.1.1:4000", &["196.201.214.200"]), "41.90.1.1");
        assert_eq!(peer(&sources, "10.0.0.2:4000", &["196.201.214.200, 41.90.1.1"]), "41.90.1.1", "what the caller wrote stands further left");
        assert_eq!(peer(&sources, "10.0.0.2:4000", &["196.201.214.200", "41.90.1.1"]), "41.90.1.1", "several lines are one list");
        assert_eq!(peer(&sources, "10.0.0.2:4000", &["196.201.214.200, 10.0.0.9"]), "196.201.214.200", "a chain of our own proxies");
        assert_eq!(peer(&sources, "10.0.0.2:4000", &[]), "10.0.0.2");
        assert_eq!(peer(&sources, "10.0.0.2:4000", &["196.201.214.200, rubbish"]), "unknown");
        assert_eq!(peer(&sources, "10.0.0.2:4000", &["196.201.214.200:555"]), "196.201.214.200");
        assert_eq!(peer(&sources, "[::ffff:196.201.214.200]:1", &[]), "196.201.214.200");
    }

    #[test]
    fn only_listed_addresses_speak_for_mpesa() {
        let sources = Sources { callbacks: safaricom(), proxies: Vec::new() };
        let speaks = |address: &str| sources.speaks_for_mpesa(Peer(address.parse().ok()));
        assert!(speaks("196.201.214.200") && speaks("196.201.212.69"));
        assert!(!speaks("196.201.214.201") && !speaks("127.0.0.1") && !speaks("::1") && !speaks("rubbish"));
        let sandbox = Sources { callbacks: loopback(), proxies: Vec::new() };
        assert!(sandbox.speaks_for_mpesa(Peer("127.0.0.1".parse().ok())) && sandbox.speaks_for_mpesa(Peer("::1".parse().ok())));
        assert!(!sandbox.speaks_for_mpesa(Peer(None)));
    }
}
