//! JSON in and out, with what serde_json leaves to its caller: numbers that JSON cannot carry,
//! limits, soundness of what a type does not look at, errors that say where.

#[cfg(feature = "json")]
mod check;
#[cfg(feature = "json")]
mod compound;
#[cfg(feature = "json")]
mod explain;
#[cfg(feature = "json")]
mod keys;
#[cfg(feature = "json")]
mod read;
#[cfg(feature = "json")]
mod scan;
#[cfg(feature = "json")]
mod write;

#[cfg(feature = "json")]
pub(crate) use self::{
    read::{MAX_DEPTH, from_slice, parse, sound},
    write::to_bytes,
};

#[cfg(not(feature = "json"))]
mod absent {
    use bytes::Bytes;
    use serde::{Serialize, de::DeserializeOwned};
    use tidings_transport::EncodeError;

    use crate::event::{DecodeError, DecodeErrorKind};

    const FIX: &str =
        "events have no encoding in this build: turn on the feature `json` of tidings";

    pub(crate) fn to_bytes<T: Serialize + ?Sized>(_: &T) -> Result<Bytes, EncodeError> {
        Err(EncodeError::new(FIX))
    }

    pub(crate) fn from_slice<T: DeserializeOwned>(_: &[u8]) -> Result<T, DecodeError> {
        Err(DecodeError::new(DecodeErrorKind::Unavailable, FIX))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn both_ways_name_the_feature() {
            let error = to_bytes("text")
                .expect_err("the feature is off")
                .to_string();
            assert!(error.contains("`json`"), "{error}");
            let error = from_slice::<u8>(b"1").expect_err("the feature is off");
            assert_eq!(error.kind(), DecodeErrorKind::Unavailable);
            assert!(error.to_string().contains("`json`"), "{error}");
        }
    }
}

#[cfg(not(feature = "json"))]
pub(crate) use absent::{from_slice, to_bytes};
