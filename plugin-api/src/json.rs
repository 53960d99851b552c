//! JSON written at compile time, so that a manifest can stand in an ELF section.

/// Writes into `N` bytes; with too few it only counts, so a `Writer<0>` measures.
pub struct Writer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Writer<N> {
    /// An empty writer.
    #[allow(clippy::new_without_default, reason = "Default cannot be const")]
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Bytes written so far, also those that found no room.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written; all of it when `N` is the measured length.
    pub const fn finish(self) -> [u8; N] {
        self.bytes
    }

    const fn byte(&mut self, byte: u8) {
        if self.len < N {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }

    /// Text as it is.
    pub const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self.byte(bytes[i]);
            i += 1;
        }
    }

    /// A JSON string.
    pub const fn string(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.byte(b'"');
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                c if c < 0x20 => {
                    self.raw("\\u00");
                    self.byte(HEX[(c >> 4) as usize]);
                    self.byte(HEX[(c & 15) as usize]);
                }
                c => self.byte(c),
            }
            i += 1;
        }
        self.byte(b'"');
    }

    /// A JSON list of strings.
    pub const fn strings(&mut self, texts: &[&str]) {
        self.byte(b'[');
        let mut i = 0;
        while i < texts.len() {
            if i > 0 {
                self.byte(b',');
            }
            self.string(texts[i]);
            i += 1;
        }
        self.byte(b']');
    }

    /// A whole number.
    pub const fn integer(&mut self, value: i64) {
        if value < 0 {
            self.byte(b'-');
        }
        self.digits(value.unsigned_abs());
    }

    const fn digits(&mut self, value: u64) {
        if value >= 10 {
            self.digits(value / 10);
        }
        self.byte(b'0' + (value % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        const TEXT: &str = "a \"quoted\" \\ line\nand a \u{1} bell é";
        const LEN: usize = {
            let mut out = Writer::<0>::new();
            out.string(TEXT);
            out.len()
        };
        const BYTES: [u8; LEN] = {
            let mut out = Writer::<LEN>::new();
            out.string(TEXT);
            out.finish()
        };
        assert_eq!(serde_json::from_slice::<String>(&BYTES).unwrap(), TEXT);
        let mut out = Writer::<64>::new();
        out.integer(i64::MIN);
        assert_eq!(&out.bytes[..out.len], i64::MIN.to_string().as_bytes());
    }
}
