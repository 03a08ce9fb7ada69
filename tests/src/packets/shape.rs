//! The properties of random packets: the fuzz counts them, so that a shape that no longer occurs is noticed.

/// One property of a packet or of what was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Untagged,
    OneTag,
    TwoTags,
    ThreeTags,
    OtherEthertype,
    OddAddress,
    V4,
    V4Options,
    V6,
    HopByHop,
    Routing,
    DestinationOptions,
    Mobility,
    Hip,
    Shim6,
    Authentication,
    FragmentHeader,
    SixExtensions,
    SevenExtensions,
    Tcp,
    Udp,
    Bgp,
    BgpAnswer,
    Bfd,
    Vrrp,
    VrrpBehindExtensions,
    OtherProtocol,
    FirstFragment,
    LaterFragment,
    IcmpError,
    Icmpv6Error,
    IcmpQuery,
    QuoteOptions,
    QuoteExtensions,
    QuoteFragment,
    QuoteOther,
    QuoteCutShort,
    LinkPadding,
    Jumbo,
    ShortFirstBuffer,
    Intact,
    Flipped,
    Cut,
    Lied,
    Spliced,
}

impl Shape {
    /// Every shape, in order.
    pub const ALL: [Self; 45] = [
        Self::Untagged,
        Self::OneTag,
        Self::TwoTags,
        Self::ThreeTags,
        Self::OtherEthertype,
        Self::OddAddress,
        Self::V4,
        Self::V4Options,
        Self::V6,
        Self::HopByHop,
        Self::Routing,
        Self::DestinationOptions,
        Self::Mobility,
        Self::Hip,
        Self::Shim6,
        Self::Authentication,
        Self::FragmentHeader,
        Self::SixExtensions,
        Self::SevenExtensions,
        Self::Tcp,
        Self::Udp,
        Self::Bgp,
        Self::BgpAnswer,
        Self::Bfd,
        Self::Vrrp,
        Self::VrrpBehindExtensions,
        Self::OtherProtocol,
        Self::FirstFragment,
        Self::LaterFragment,
        Self::IcmpError,
        Self::Icmpv6Error,
        Self::IcmpQuery,
        Self::QuoteOptions,
        Self::QuoteExtensions,
        Self::QuoteFragment,
        Self::QuoteOther,
        Self::QuoteCutShort,
        Self::LinkPadding,
        Self::Jumbo,
        Self::ShortFirstBuffer,
        Self::Intact,
        Self::Flipped,
        Self::Cut,
        Self::Lied,
        Self::Spliced,
    ];

    /// May a packet of this shape belong to a service and be let through?
    pub fn can_be_served(self) -> bool {
        !matches!(
            self,
            Self::ThreeTags
                | Self::OtherEthertype
                | Self::OddAddress
                | Self::SevenExtensions
                | Self::BgpAnswer
                | Self::Bfd
                | Self::Vrrp
                | Self::VrrpBehindExtensions
                | Self::OtherProtocol
                | Self::LaterFragment
                | Self::IcmpQuery
                | Self::QuoteOther
        )
    }

    /// The shape of an extension header.
    pub(super) fn of_extension(kind: u8) -> Self {
        match kind {
            0 => Self::HopByHop,
            43 => Self::Routing,
            44 => Self::FragmentHeader,
            51 => Self::Authentication,
            135 => Self::Mobility,
            139 => Self::Hip,
            140 => Self::Shim6,
            _ => Self::DestinationOptions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_listed_at_its_own_number() {
        for (place, shape) in Shape::ALL.into_iter().enumerate() {
            assert_eq!(shape as usize, place);
        }
    }
}
