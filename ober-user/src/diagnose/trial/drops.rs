//! TCP segments that the kernel threw away before a socket could see them: the only sign of a neighbour that is too far away
//! for `ttl_security`, or that signs with another password.

use crate::system::file;

/// Counters of this network namespace (`TcpExt` of `/proc/net/netstat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Packets from further away than a socket allows (RFC 5082).
    pub far: u64,
    /// Packets without the signature that is wanted, with one that is not, or with a wrong one (RFC 2385).
    pub unsigned: u64,
    pub unexpectedly_signed: u64,
    pub wrongly_signed: u64,
}

impl Drops {
    /// The present counters; zero where the kernel does not have one.
    pub fn now() -> Self {
        let text = file::kernel_text("/proc/thread-self/net/netstat");
        Self::read(&text.unwrap_or_default())
    }

    /// A line of names is followed by a line of numbers.
    fn read(text: &str) -> Self {
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt: "));
        let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else {
            return Self::default();
        };
        let number = |wanted: &str| {
            let place = names.split_whitespace().position(|name| name == wanted)?;
            numbers.split_whitespace().nth(place)?.parse().ok()
        };
        let number = |wanted| number(wanted).unwrap_or(0);
        Self {
            far: number("TCPMinTTLDrop"),
            unsigned: number("TCPMD5NotFound"),
            unexpectedly_signed: number("TCPMD5Unexpected"),
            wrongly_signed: number("TCPMD5Failure"),
        }
    }

    /// The difference to an earlier reading.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            far: self.far.saturating_sub(before.far),
            unsigned: self.unsigned.saturating_sub(before.unsigned),
            unexpectedly_signed: self
                .unexpectedly_signed
                .saturating_sub(before.unexpectedly_signed),
            wrongly_signed: self.wrongly_signed.saturating_sub(before.wrongly_signed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_counters_are_read_by_name_and_absent_ones_are_zero() {
        let text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMinTTLDrop\n\
                    TcpExt: 9 1 2 4\nIpExt: InNoRoutes\nIpExt: 5\n";
        let drops = Drops::read(text);
        assert_eq!(
            drops,
            Drops {
                far: 4,
                unsigned: 1,
                unexpectedly_signed: 2,
                wrongly_signed: 0
            }
        );
        assert_eq!(Drops::read("IpExt: InNoRoutes\n"), Drops::default());
        let before = Drops { far: 1, ..drops };
        assert_eq!(
            drops.since(before),
            Drops {
                far: 3,
                ..Drops::default()
            }
        );
    }
}
