//! Which addresses a channel may talk to: public ones, and those that an operator allows.
//!
//! Endpoints are written by tenants, so a URL must not reach the machine, its network, or a cloud's metadata service.
//! IPv6 is judged by what is known to be public; IPv4 inside IPv6 by the IPv4 address. Source: the special-purpose
//! registries of IANA (RFC 6890 and its successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::HttpPolicy;

/// Azure's platform service answers on a public address: <https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>.
const AZURE_PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

impl HttpPolicy {
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let plain = address.to_canonical();
        is_public(plain)
            || self.allow_addresses.iter().any(|net| net.contains(&address) || net.contains(&plain))
    }
}

#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

#[expect(clippy::unnested_or_patterns, reason = "grouped by what they are for")]
fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        // This network, private, loopback, link-local (with most metadata services).
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..]
        // Carrier-grade NAT (with Alibaba's metadata service).
        | [100, 64..=127, ..]
        // Protocol assignments (with Oracle's metadata service), documentation, 6to4 relays.
        | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _]
        // Benchmarks; multicast, reserved and broadcast.
        | [198, 18 | 19, ..] | [224..=255, ..]
    );
    !special && address != AZURE_PLATFORM
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, .., high, low] = address.segments();
    match (first, second, third) {
        // NAT64; its local-use sibling 64:ff9b:1::/48 is outside 2000::/3.
        (0x64, 0xff9b, 0) => is_public_v4(embedded(high, low)),
        // 6to4.
        (0x2002, high, low) => is_public_v4(embedded(high, low)),
        // Outside 2000::/3 nothing is public: ULA, link-local, multicast, ::/8. Mapped ones have been made IPv4 already.
        (..=0x1fff | 0x4000.., ..)
        // Protocol assignments (Teredo, benchmarks, ORCHID) and documentation.
        | (0x2001, 0..=0x1ff | 0xdb8, _) | (0x3fff, 0..=0xfff, _) => false,
        _ => !is_isatap(&address) || is_public_v4(embedded(high, low)),
    }
}

/// ISATAP (RFC 5214) tunnels to the IPv4 address at the end.
fn is_isatap(address: &Ipv6Addr) -> bool {
    let [.., w, x, _, _] = address.segments();
    w & 0xfdff == 0 && x == 0x5efe
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_forbidden() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2600::5efe:10.0.0.1",
            "2600::200:5efe:10.0.0.1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert!(!HttpPolicy::default().permits(address), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_permitted() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2002:808:808::1",
            "2600::5efe:8.8.8.8",
            "2a00:1450::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert!(HttpPolicy::default().permits(address), "{text}");
        }
    }

    #[test]
    fn allowed_networks_are_permitted_in_either_spelling() {
        let policy = HttpPolicy {
            allow_addresses: vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            ..HttpPolicy::default()
        };
        for (text, permitted) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("fd00::1", true),
            ("10.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(policy.permits(text.parse().unwrap()), permitted, "{text}");
        }
    }
}
