//! From messages to bytes.

use serde::Serialize;
use thiserror::Error;

use super::LONGEST_FRAME;

/// A message that no frame can hold, or that cannot be written as JSON.
#[derive(Debug, Error)]
pub enum FrameTooLarge {
    /// Its JSON is longer than a frame may be.
    #[error("a message of {0} bytes, at most {LONGEST_FRAME} fit into a frame")]
    Bytes(usize),
    /// It has no JSON.
    #[error("a message that cannot be written ({0})")]
    Json(#[from] serde_json::Error),
}

/// Appends `message` as one frame; on failure `out` is as it was.
pub fn write_frame<T: Serialize + ?Sized>(out: &mut Vec<u8>, message: &T) -> Result<(), FrameTooLarge> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let written = serde_json::to_writer(&mut *out, message).map_err(FrameTooLarge::from);
    let length = out.len() - start - 4;
    let fits = written.and_then(|()| match u32::try_from(length) {
        Ok(number) if length <= LONGEST_FRAME => Ok(number),
        _ => Err(FrameTooLarge::Bytes(length)),
    });
    match fits {
        Ok(number) => {
            out[start..start + 4].copy_from_slice(&number.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// `message` as one frame.
pub fn frame<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, FrameTooLarge> {
    let mut out = Vec::with_capacity(256);
    write_frame(&mut out, message)?;
    Ok(out)
}
