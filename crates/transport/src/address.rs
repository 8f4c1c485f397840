//! Which addresses may be called. A URL that a partner may write (a core's host, a webhook) must not reach the inside of
//! the operator's network, unless the operator says so. Checked after the name was resolved, on the very addresses that
//! are then connected to, so that a name that changes its mind gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Public addresses, and those that the operator has named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// The address, or all addresses of the name, are not to be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is not a public address, and the operator has not allowed it")]
pub(crate) struct NotAllowed {
    host: String,
}

impl AddressPolicy {
    /// Public addresses only: the default.
    pub fn public_only() -> Self {
        Self::default()
    }

    /// Public addresses and these networks.
    pub fn and(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self { allowed: networks.into_iter().collect() }
    }

    /// Every address, also loopback and private ones: for the sandbox, tests and a core in the same network.
    pub fn any() -> Self {
        let all = [IpNet::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), IpNet::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)];
        Self { allowed: all.into_iter().flatten().collect() }
    }

    /// Whether this address may be called.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|net| net.contains(&address))
    }

    /// Checks a URL host that is an address itself; a name is checked when it is resolved.
    pub(crate) fn check_literal(&self, host: &str) -> Result<(), NotAllowed> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            Ok(address) if !self.permits(address) => Err(NotAllowed { host: host.to_owned() }),
            _ => Ok(()),
        }
    }
}

/// Whether the address is reachable on the open internet, by the special-purpose registries of IANA.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(a: Ipv4Addr) -> bool {
    let [one, two, three, _] = a.octets();
    let special = a.is_private()
        || a.is_loopback()
        || a.is_link_local()
        || a.is_multicast()
        || a.is_documentation()
        || one == 0
        || one >= 240
        || (one == 100 && (64..128).contains(&two))
        || (one == 192 && two == 0 && three == 0)
        || (one == 192 && two == 88 && three == 99)
        || (one == 198 && (two == 18 || two == 19));
    !special
}

fn is_public_v6(a: Ipv6Addr) -> bool {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = a.segments();
    let inner = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    // Addresses that carry an IPv4 address are as public as that one: NAT64 and 6to4.
    if (s0, s1, s2, s3, s4, s5) == (0x64, 0xff9b, 0, 0, 0, 0) {
        return is_public_v4(inner(s6, s7));
    }
    if s0 == 0x2002 {
        return is_public_v4(inner(s1, s2));
    }
    // Only 2000::/3 is global unicast; of it, 2001::/23 is for protocols and 2001:db8::/32 and 3fff::/20 for documents.
    let global = (s0 & 0xe000) == 0x2000;
    let special = (s0 == 0x2001 && (s1 < 0x200 || s1 == 0xdb8)) || (s0 == 0x3fff && s1 < 0x1000);
    global && !special
}

/// Resolves names with the operating system and keeps only the addresses that may be called.
#[derive(Debug, Clone)]
pub(crate) struct GuardedResolver(pub(crate) AddressPolicy);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|a| policy.permits(a.ip())).collect();
            if permitted.is_empty() {
                return Err(NotAllowed { host }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_is_not_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "203.0.113.5",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!AddressPolicy::public_only().permits(text.parse().unwrap()), "{text}");
            assert!(AddressPolicy::any().permits(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_outside_is_public() {
        for text in ["196.201.214.200", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2a00:1450::1", "64:ff9b::808:808"] {
            assert!(AddressPolicy::public_only().permits(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn only_the_named_networks_are_added() {
        let policy = AddressPolicy::and(["10.5.0.0/16".parse().unwrap()]);
        assert!(policy.permits("10.5.1.1".parse().unwrap()));
        assert!(policy.permits("::ffff:10.5.1.1".parse().unwrap()));
        assert!(!policy.permits("10.6.1.1".parse().unwrap()));
    }

    #[test]
    fn literals_are_checked_and_names_are_left_to_the_resolver() {
        let policy = AddressPolicy::public_only();
        for host in ["127.0.0.1", "[::1]"] {
            assert!(policy.check_literal(host).is_err(), "{host}");
        }
        assert!(policy.check_literal("localhost").is_ok());
    }

    #[tokio::test]
    async fn a_name_of_the_inside_is_refused_by_the_resolver() {
        let refused = GuardedResolver(AddressPolicy::public_only()).resolve("localhost".parse().unwrap()).await;
        assert!(refused.err().unwrap().is::<NotAllowed>());
        assert!(GuardedResolver(AddressPolicy::any()).resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
