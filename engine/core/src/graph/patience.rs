use std::time::Duration;

use cooper_proto::pb;

use super::OpError;
use crate::model::Patience;

/// Key in an op's description: how long one try may take, in nanoseconds.
pub const TIMEOUT: &str = "cooper.timeout";

/// Key in an op's description: how many tries follow one that failed.
pub const RETRIES: &str = "cooper.retries";

/// What an op's description says of patience. Only steps that run a process have any.
pub(super) fn of(op: &pb::Op, metadata: Option<&pb::OpMetadata>) -> Result<Patience, OpError> {
    let (Some(pb::op::Op::Exec(_)), Some(metadata)) = (op.op.as_ref(), metadata) else {
        return Ok(Patience::default());
    };
    let number = |key: &str| match metadata.description.get(key) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(OpError::Invalid(format!("{key} is no number"))),
        },
    };
    let retries = number(RETRIES)?.unwrap_or(0);
    let retries = u32::try_from(retries)
        .ok()
        .filter(|retries| *retries <= Patience::MOST_RETRIES)
        .ok_or_else(|| {
            let most = Patience::MOST_RETRIES;
            OpError::Invalid(format!("{RETRIES} is {retries}, more than {most}"))
        })?;
    Ok(Patience {
        timeout: number(TIMEOUT)?.map(Duration::from_nanos),
        retries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(pairs: &[(&str, &str)]) -> Result<Patience, OpError> {
        let exec = pb::Op {
            op: Some(pb::op::Op::Exec(pb::ExecOp::default())),
            ..pb::Op::default()
        };
        let pairs = pairs.iter();
        let metadata = pb::OpMetadata {
            description: pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..pb::OpMetadata::default()
        };
        of(&exec, Some(&metadata))
    }

    #[test]
    fn patience_is_read_from_the_description() {
        assert_eq!(described(&[]), Ok(Patience::default()));
        let patience = Patience {
            timeout: Some(Duration::from_millis(1500)),
            retries: 2,
        };
        assert_eq!(
            described(&[(TIMEOUT, "1500000000"), (RETRIES, "2")]),
            Ok(patience)
        );
    }

    #[test]
    fn patience_that_is_none_is_refused() {
        for (key, value) in [
            (TIMEOUT, "-1"),
            (TIMEOUT, "soon"),
            (RETRIES, "101"),
            (RETRIES, ""),
        ] {
            assert!(described(&[(key, value)]).is_err(), "{key}={value}");
        }
    }
}
