//! The two bits of the IP header by which a router says "congested" without dropping.

/// Explicit congestion notification of one datagram (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotEct,
    /// The sender takes part, in the way of RFC 8311 ("low latency").
    Ect1,
    /// The sender takes part, in the classic way.
    Ect0,
    /// A router on the way was congested.
    Ce,
}

impl Ecn {
    /// From the lowest two bits of the traffic class; higher bits are ignored.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            0b11 => Self::Ce,
            _ => Self::NotEct,
        }
    }

    /// The two bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_rfc_3168() {
        for bits in 0..4 {
            assert_eq!(Ecn::from_bits(bits).bits(), bits);
        }
        assert_eq!((Ecn::from_bits(2), Ecn::from_bits(3)), (Ecn::Ect0, Ecn::Ce));
    }
}
