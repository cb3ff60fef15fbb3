use std::fmt;

use cooper_core::model::ResultId;
use cooper_proto::Digest;
use rand::Rng;

/// Names one immutable layer directory.
///
/// # Shape
/// 32 lower-case hexadecimal characters, chosen at random: it says nothing about the content,
/// and is safe as a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(Box<str>);

impl LayerId {
    /// A new name that no other layer has.
    #[must_use]
    pub fn random() -> Self {
        Self(hex::encode(rand::rng().random::<[u8; 16]>()).into())
    }

    /// Reads a name that [`Self::as_str`] gave.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 32
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of the result that is this chain of layers, the bottom one first.
///
/// Equal chains are one result, whoever makes them; the empty chain is
/// [`ResultId::scratch`].
#[must_use]
pub fn chain_result_id(chain: &[LayerId]) -> ResultId {
    if chain.is_empty() {
        return ResultId::scratch();
    }
    let mut text = String::with_capacity(chain.len() * 33);
    for layer in chain {
        text.push_str(layer.as_str());
        text.push('\n');
    }
    ResultId(Digest::sha256_of(text).hex()[..40].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_layers_is_part_of_a_result_and_no_layers_are_scratch() {
        let (a, b) = (LayerId::random(), LayerId::random());
        assert_ne!(
            chain_result_id(&[a.clone(), b.clone()]),
            chain_result_id(&[b, a.clone()])
        );
        assert_eq!(chain_result_id(&[]), ResultId::scratch());
        assert_eq!(LayerId::parse(a.as_str()), Some(a));
        assert_eq!(LayerId::parse("../../../../../../../etc/passwd0"), None);
    }
}
