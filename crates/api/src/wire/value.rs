//! Plain values, between the model's types and the wire's.

use std::str::FromStr;

use atoll_net::{Family, Prefix};
use atoll_shapes::ec2::{AttributeBooleanValue, AttributeValue};

use crate::error::ApiError;

/// The value of a parameter that is one of the model's types, such as an enum or an address.
/// `expected` is a sentence: what would be right.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn value<T: FromStr>(parameter: &str, text: &str, expected: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid_parameter(parameter, text, expected))
}

/// The block in a parameter, in its canonical form whatever its host bits: EC2 takes
/// `100.68.0.18/18` as `100.68.0.0/18` (semantics 32).
///
/// # Errors
/// `InvalidParameterValue` for another family or what is no block.
pub fn cidr(parameter: &str, text: &str, family: Family) -> Result<Prefix, ApiError> {
    match Prefix::parse_canonical(text) {
        Ok(prefix) if prefix.family() == family => Ok(prefix),
        _ => {
            let expected = match family {
                Family::V4 => "This is not a valid CIDR block, such as 10.0.0.0/16.",
                Family::V6 => "This is not a valid IPv6 CIDR block, such as 2001:db8::/56.",
            };
            Err(ApiError::invalid_parameter(parameter, text, expected))
        }
    }
}

/// A moment as answers have it.
pub fn time(time: atoll_model::Timestamp) -> atoll_shapes::Timestamp {
    atoll_shapes::Timestamp(i64::try_from(time.0).unwrap_or(i64::MAX))
}

/// A flag as the attribute operations answer it.
pub fn flag(value: bool) -> Option<AttributeBooleanValue> {
    Some(AttributeBooleanValue { value: Some(value) })
}

/// A text as the attribute operations answer it.
pub fn text(value: impl Into<String>) -> Option<AttributeValue> {
    Some(AttributeValue {
        value: Some(value.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_canonical_and_of_the_family_that_was_asked_for() {
        // semantics 32
        let block = cidr("CidrBlock", "100.68.0.18/18", Family::V4).unwrap();
        assert_eq!(block.to_string(), "100.68.0.0/18");
        for wrong in ["10.0.0.0", "10.0.0.0/33", "2001:db8::/56", "", "ten/8"] {
            let error = cidr("CidrBlock", wrong, Family::V4).unwrap_err();
            assert_eq!(
                error.message,
                format!(
                    "Value ({wrong}) for parameter CidrBlock is invalid. \
                     This is not a valid CIDR block, such as 10.0.0.0/16."
                )
            );
        }
    }

    #[test]
    fn moments_are_written_alike_in_model_and_shapes() {
        let moment = atoll_model::Timestamp(1_769_851_800_123);
        assert_eq!(time(moment).to_string(), moment.to_iso8601());
    }
}
