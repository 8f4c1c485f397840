//! From where a key may be used.

use std::{net::IpAddr, str::FromStr};

use pv_kernel::problem::Problem;

/// An address or a network: `41.90.1.2`, `41.90.0.0/16`, `2c0f:fe38::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address lies in it. An IPv4 address inside an IPv6 one counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(a)) => same_prefix(u128::from(net.to_bits()), u128::from(a.to_bits()), 32, self.bits),
            (IpAddr::V6(net), IpAddr::V6(a)) => same_prefix(net.to_bits(), a.to_bits(), 128, self.bits),
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, width: u8, bits: u8) -> bool {
    let rest = u32::from(width.saturating_sub(bits));
    a.checked_shr(rest).unwrap_or(0) == b.checked_shr(rest).unwrap_or(0)
}

impl FromStr for Network {
    type Err = Box<Problem>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || Box::new(Problem::invalid("/addresses", "An address or a network, for example 41.90.1.2 or 41.90.0.0/16."));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse::<u8>().ok().filter(|bits| *bits <= width).ok_or_else(wrong)?,
            None => width,
        };
        Ok(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let within = |net: &str, address: &str| net.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(within("41.90.0.0/16", "41.90.255.1"));
        assert!(!within("41.90.0.0/16", "41.91.0.1"));
        assert!(within("41.90.1.2", "41.90.1.2"));
        assert!(!within("41.90.1.2", "41.90.1.3"));
        assert!(within("41.90.1.2", "::ffff:41.90.1.2"));
        assert!(within("0.0.0.0/0", "1.2.3.4"));
        assert!(within("::/0", "2001:db8::1"));
        assert!(within("2c0f:fe38::/32", "2c0f:fe38:1::5"));
        assert!(!within("0.0.0.0/0", "2c0f::1"));
        for bad in ["", "x", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/", "::/129"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
