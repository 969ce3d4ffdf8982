//! The header `traceparent` of W3C Trace Context.

/// The only version there is; a newer one begins the same way.
pub const VERSION: &str = "00";
/// The flag of a trace that its producer records.
pub const SAMPLED: u8 = 1;
/// What the standard asks everybody to carry of a `tracestate`, in characters.
pub const STATE_CHARS_MAX: usize = 512;

/// `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context), ids that are not all zeros; None for another one, which starts no trace.
#[must_use]
pub fn parsed(text: &str) -> Option<([u8; 16], [u8; 8], bool)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known = version.len() == 2 && version != "ff" && (version != VERSION || parts.next().is_none());
    let hex = data_encoding::HEXLOWER;
    let trace: [u8; 16] = hex.decode(trace.as_bytes()).ok()?.try_into().ok()?;
    let span: [u8; 8] = hex.decode(span.as_bytes()).ok()?.try_into().ok()?;
    let flags: [u8; 1] = hex.decode(flags.as_bytes()).ok()?.try_into().ok()?;
    hex.decode(version.as_bytes()).ok()?;
    let real = trace != [0; 16] && span != [0; 8];
    (known && real).then_some((trace, span, flags[0] & SAMPLED != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_traceparent_is_none() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert!(
            parsed("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some(),
            "a newer version"
        );
    }
}
